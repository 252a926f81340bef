"""Values for tests: each builder gives a plausible whole, and the test names only what it is about."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.alarms import Facts, Night
from chalicelib.core.model import (
    Disk,
    ExpectedHost,
    HostResult,
    HostStatus,
    Machine,
    Recovery,
    RecoveryId,
    RecoveryKind,
    RestorePoint,
    Run,
    RunId,
    RunState,
    Snapshot,
    TreeKind,
    Volume,
)
from chalicelib.core.policy import HostPolicy, Policy, ReceiverPolicy, VolumePolicy
from chalicelib.core.preflight import Preflight
from chalicelib.core.retention import Rules

A_DAY = date(2026, 11, 23)
A_NONCE = "5eed" * 8
A_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} root@us0"
ANOTHER_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'B' * 43} root@eu0"
A_READERS_KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'C' * 43} ada@laptop"


def a_moment(hour: int = 2, minute: int = 0, day: int = 23) -> datetime:
    """A time in UTC on a day of November 2026."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def a_run_id(day: int = 23, attempt: int = 1, receiver: str = "main") -> RunId:
    return RunId(receiver, date(2026, 11, day), attempt)


def a_recovery_id(host_id: str = "us0a", day: int = 23, attempt: int = 1) -> RecoveryId:
    return RecoveryId(host_id, date(2026, 11, day), attempt)


def an_expected_host(name: str = "us0") -> ExpectedHost:
    return ExpectedHost(name, f"{name}a", f"{name:0<32}")


def a_run(
    run_id: RunId | None = None,
    hosts: tuple[str, ...] = ("us0", "eu0"),
    state: RunState = RunState.OPEN,
    snapshot_id: str | None = None,
    policy_version: str = "000001",
) -> Run:
    run_id = run_id or a_run_id()
    opened = datetime.combine(run_id.day, time(2), UTC)
    return Run(
        id=run_id,
        policy_version=policy_version,
        opened=opened,
        deadline=opened + timedelta(hours=4),
        hosts=tuple(an_expected_host(name) for name in hosts),
        state=state,
        snapshot_id=snapshot_id,
        closed=opened + timedelta(hours=1) if state.is_final else None,
        nonce=A_NONCE,
    )


def what_was_briefed(run: Run) -> dict[str, bytes]:
    """Its brief, as the archive has it."""
    brief = json.loads((Path(__file__).parent / "contract/wire/brief-receiver.json").read_text())
    return {wire.brief_key(run.id, "vol-1"): json.dumps({**brief, "run": str(run.id), "nonce": run.nonce}).encode()}


def a_disk(used_gib: float = 20, size_gib: float = 80) -> Disk:
    """Inodes are no trouble."""
    size, used = int(size_gib * 2**30), int(used_gib * 2**30)
    return Disk(size, used, size - used, inodes=1_000_000, inodes_used=1000)


def a_result(host: str = "us0", run_id: RunId | None = None, status: HostStatus = HostStatus.COMPLETE) -> HostResult:
    run_id = run_id or a_run_id()
    return HostResult(
        run=run_id,
        name=host,
        id=f"{host}a",
        status=status,
        files=10,
        bytes_sent=1000,
        seconds=60.0,
        tree=TreeKind.FAKE_SUPER,
        manifest=f"manifests/{host}a/{run_id}.jsonl.gz",
    )


def a_machine(machine_id: str = "i-1", state: str = "running", tagged: dict[str, str] | None = None) -> Machine:
    return Machine(machine_id, state, "10.0.0.1", "zone-a", a_moment(), tagged or {})


def a_volume(volume_id: str = "vol-1", attached_to: str | None = None, state: str | None = None) -> Volume:
    return Volume(volume_id, state or ("in-use" if attached_to else "available"), "zone-a", 80, attached_to)


def a_snapshot(
    snapshot_id: str = "snap-1",
    run_id: RunId | None = None,
    complete: tuple[str, ...] = ("us0a", "eu0a"),
    state: str = "completed",
    extra: dict[str, str] | None = None,
) -> Snapshot:
    """A backup snapshot of a run, taken at three on its day; `extra` tags come on top."""
    run_id = run_id or a_run_id()
    tagged = tags.snapshot_tags(run_id, complete, TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)
    started = datetime.combine(run_id.day, time(3), UTC)
    return Snapshot(snapshot_id, state, started, "vol-1", 80, 100, {**tagged, **(extra or {})})


def a_point(
    host_id: str = "us0a", snapshot_id: str = "snap-1", run_id: RunId | None = None, proven: datetime | None = None
) -> RestorePoint:
    run_id = run_id or a_run_id()
    return RestorePoint(
        host_id=host_id,
        at=datetime.combine(run_id.day, time(3), UTC),
        snapshot_id=snapshot_id,
        run=run_id,
        tree=TreeKind.FAKE_SUPER,
        manifest=f"manifests/{host_id}/{run_id}.jsonl.gz",
        proven=proven,
    )


def a_recovery(
    kind: RecoveryKind = RecoveryKind.DRILL, recovery_id: RecoveryId | None = None, point: RestorePoint | None = None
) -> Recovery:
    return Recovery(
        id=recovery_id or a_recovery_id(),
        kind=kind,
        host="us0",
        name="restored-us0a",
        point=point or a_point(),
        probe="http://127.0.0.1/",
        policy_version="000001",
        opened=a_moment(9),
        deadline=a_moment(11),
    )


def a_receiver(name: str = "main", hosts: tuple[str, ...] = ("us0", "eu0")) -> ReceiverPolicy:
    return ReceiverPolicy(
        name=name,
        start=time(2),
        end=time(6),
        timezone="UTC",
        address_name="backup.example.org",
        address_kind="route53",
        allow=("198.51.100.0/24",),
        instances=("t4g.small", "t4g.medium"),
        volume=VolumePolicy(80),
        hosts=hosts,
    )


def a_policy(version: str = "000001", hosts: tuple[str, ...] = ("us0", "eu0"), daily: int = 7) -> Policy:
    return Policy(
        version=version,
        receivers={"main": a_receiver(hosts=hosts)},
        hosts={name: HostPolicy(name, f"{name}a", (A_KEY,), probe="http://127.0.0.1/") for name in hosts},
        retention=Rules(daily=daily),
    )


def a_night(day: int = 23, state: RunState = RunState.DONE, attempt: int = 1, **statuses: HostStatus) -> Night:
    """A closed run and how its hosts' nights went; the smallest night is a good one of us0 and eu0."""
    run_id = a_run_id(day, attempt)
    went = statuses or {"us0": HostStatus.COMPLETE, "eu0": HostStatus.COMPLETE}
    reported = {name: status for name, status in went.items() if status is not HostStatus.MISSING}
    results = tuple(a_result(name, run_id, status) for name, status in reported.items())
    return Night(a_run(run_id, tuple(went), state), results)


def some_facts(*nights: Night, **changes: Any) -> Facts:
    """The facts of these nights of the receiver `main`, in whatever order, under a policy of us0 and eu0."""
    newest_first = tuple(sorted(nights, key=lambda night: night.run.id, reverse=True))
    facts = Facts(
        policy=a_policy(), nights={"main": newest_first}, points=(), preflight=Preflight(a_moment(12, day=22))
    )
    return replace(facts, **changes)


A_POLICY_TEXT = f"""\
schema = 1

[receiver.main]
window   = "02:00-06:00"
timezone = "UTC"
name     = "backup.example.org"
allow    = ["198.51.100.0/24"]
instance = ["t4g.small", "t4g.medium"]
volume   = {{ size = "80GiB" }}
hosts    = ["us0", "eu0"]

[host.us0]
id    = "us0a"
keys  = ["{A_KEY}"]
probe = "http://127.0.0.1/"

[host.eu0]
id    = "eu0a"
keys  = ["{ANOTHER_KEY}"]

[retention]
daily = 7
"""


def a_word_of_readiness(volume_id: str, attempt: int = 1) -> bytes:
    """A receiver's word that it stands ready with a volume."""
    about = json.loads(a_word_without_a_volume(attempt))
    return json.dumps({**about, "volume": {"id": volume_id}}).encode()


def a_word_without_a_volume(attempt: int = 1) -> bytes:
    """What an older agent says when it stands ready."""
    about = {"schema": 1, "run": str(a_run_id()), "attempt": attempt, "at": "2026-11-23T02:03:00Z"}
    return json.dumps(about).encode()


def a_release(
    run_id: RunId | None = None,
    attempt: int = 1,
    clean: bool = True,
    disk: Disk | None = None,
    read_only: bool = False,
) -> bytes:
    """A receiver's word that it has let go of its volume."""
    about = {"schema": 1, "run": str(run_id or a_run_id()), "attempt": attempt, "at": "2026-11-23T02:40:00Z"}
    return json.dumps({**about, "clean": clean, "read_only": read_only, "disk": vars(disk) if disk else None}).encode()
