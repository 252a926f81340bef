"""A host with a volume of its own, for tests: its policy, its volume, its nights, and what it archives of them."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import own_run
from chalicelib.core.model import ExpectedHost, HostResult, HostStatus, Run, RunId, Snapshot, TreeKind, Volume
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.core.volume_night import OwnReport, VolumeWorld
from chalicelib.fields import moment_text
from chalicelib.flows.apply import apply_policy
from tests.builders import A_POLICY_TEXT, a_machine, a_moment, a_policy
from tests.fakes import FakeWorld, a_world

INSTANCE = "i-0123456789abcdef0"
DONE = a_moment(2, 12)
TAKEN = a_moment(2, 15)
QUIET = timedelta(hours=12)
RUN = own_run("web1", DONE)
A_REPORT = json.loads((Path(__file__).parent / "contract" / "wire" / "host-report.json").read_text())

OWN_HOST = f"""
[restore]
instance = {{ arm64 = "t4g.medium" }}

[host.web1]
id          = "web1"
target      = "volume"
instance_id = "{INSTANCE}"
"""
POLICY_TEXT = f"{A_POLICY_TEXT}{OWN_HOST}"


def a_policy_with_web1() -> Policy:
    policy = a_policy()
    web1 = HostPolicy("web1", "web1", (), target="volume", instance_id=INSTANCE)
    return replace(policy, hosts={**policy.hosts, "web1": web1})


def its_volume(volume_id: str = "vol-web1", attached_to: str | None = INSTANCE) -> Volume:
    tagged = {tags.ROLE: tags.Role.HOST, tags.HOST: "web1"}
    return Volume(volume_id, "in-use" if attached_to else "available", "zone-a", 50, attached_to, tagged)


def a_world_with_web1(text: str = POLICY_TEXT) -> FakeWorld:
    """The policy is in force, and the operator has tagged the volume."""
    world = a_world()
    apply_policy(text, None, world, a_moment(1))
    world.machines.by_id[INSTANCE] = a_machine(INSTANCE)
    world.volumes.volumes["vol-web1"] = its_volume()
    return world


def report(world: FakeWorld, at: datetime = DONE, **changes: Any) -> RunId:
    """Archived by the host; `volume` changes a part, `manifest` is the manifest's key."""
    run_id = own_run("web1", at)
    manifest = changes.pop("manifest", f"manifests/web1/{run_id}.jsonl.gz")
    volume = {
        **A_REPORT["volume"],
        "id": "vol-web1",
        "quiet_until": moment_text(at + QUIET),
        **changes.pop("volume", {}),
    }
    volume["manifest"] = {**A_REPORT["volume"]["manifest"], "key": manifest}
    told = {"run": str(run_id), "started": moment_text(at - timedelta(minutes=5)), "finished": moment_text(at)}
    body = json.dumps({**A_REPORT, **told, "volume": volume, **changes}).encode()
    world.archive.put_once(wire.host_report_key(run_id), body)
    return run_id


# -- for the plan alone ------------------------------------------------------------------------------------------------


def an_own_run(**changes: Any) -> Run:
    run = Run(RUN, "000001", DONE, DONE + QUIET, (ExpectedHost("web1", "web1", ""),))
    return replace(run, **changes)


def an_own_result(status: HostStatus = HostStatus.COMPLETE) -> HostResult:
    return HostResult(RUN, "web1", "web1", status, 10, 1000, 60.0, TreeKind.REAL, f"manifests/web1/{RUN}.jsonl.gz")


def an_own_world(**observed: Any) -> VolumeWorld:
    """The host is complete and has let go of its volume, and nothing was done about it yet."""
    world = VolumeWorld(
        instance_id=INSTANCE,
        volumes=(its_volume(),),
        report=OwnReport("vol-web1", TreeKind.REAL, unmounted=True),
        unreadable=None,
        results=(an_own_result(),),
        snapshots=(),
    )
    return replace(world, **observed)


def an_own_snapshot(snapshot_id: str = "snap-1", state: str = "completed", at: datetime = TAKEN) -> Snapshot:
    tagged = tags.snapshot_tags(RUN, ("web1",), TreeKind.REAL, tags.Consistency.RELEASED)
    return Snapshot(snapshot_id, state, at, "vol-web1", 50, 100, tagged)
