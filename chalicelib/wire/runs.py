"""A run: what the receiver is told, what it and its hosts say, how it closed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.ids import checked_host_id, host_uid, parse_run
from chalicelib.core.model import (
    Disk,
    ExpectedHost,
    HostResult,
    HostStatus,
    Run,
    RunId,
    RunState,
    TreeKind,
)
from chalicelib.core.policy import HostPolicy, ReceiverPolicy
from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, moment_text, read, read_disk, read_quota, written
from chalicelib.wire.shared import MOST_PROBLEMS, as_line, bounded, owner_of

RUNS = "runs/"

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_LONGEST_KEY = 1024


def run_of_key(key: str) -> RunId:
    """The run an archive key belongs to. Raises PermanentError."""
    return parse_run(owner_of(key))


def brief_key(run: RunId, volume_id: str) -> str:
    """A brief names its volume and is never written over: another volume has another brief."""
    return f"runs/{run}/{volume_id}/brief.json"


# Exactly so: deeper below a run machines of an earlier version could write whatever they liked.
_BRIEF = re.compile(r"runs(/[^/]+){3}/((?P<volume>vol-[^/]+)/)?brief\.json")


def briefs_among(keys: Iterable[str]) -> list[str]:
    """The keys of briefs among these: a receiver's name a volume, a run of a host's own volume has one by itself."""
    return [key for key in keys if _BRIEF.fullmatch(key)]


def briefed_volumes(keys: Iterable[str]) -> frozenset[str]:
    """The volumes that have a brief, from the archive's keys alone."""
    matches = (_BRIEF.fullmatch(key) for key in keys)
    return frozenset(match["volume"] for match in matches if match and match["volume"])


def closed_key(run: RunId) -> str:
    return f"runs/{run}/closed.json"


def run_prefix(run: RunId) -> str:
    return f"runs/{run}/"


def host_key_parameter(receiver: str) -> str:
    """The SSM parameter that holds the ssh host key a receiver keeps through all its machines."""
    return f"/ebbtide/{receiver}/host-key"


def receiver_brief(
    run: Run,
    receiver: ReceiverPolicy,
    hosts: Mapping[str, HostPolicy],
    volume_id: str,
    grace: timedelta,
    is_distrusted: bool,
) -> bytes:
    """What a receiver has to know of its night, and all that `rebuild` needs to know of the run."""
    return written(
        {
            "run": str(run.id),
            "receiver": receiver.name,
            "policy": run.policy_version,
            "opened": moment_text(run.opened),
            "deadline": moment_text(run.deadline),
            "grace_minutes": int(grace.total_seconds() // 60),
            "volume": {"id": volume_id, "filesystem": receiver.volume.filesystem, "distrusted": is_distrusted},
            "host_key_parameter": host_key_parameter(receiver.name),
            "nonce": run.nonce,
            "hosts": [_briefed_host(host, hosts[host.name]) for host in run.hosts],
        }
    )


def _briefed_host(host: ExpectedHost, policy: HostPolicy) -> dict[str, Any]:
    return {
        "name": host.name,
        "id": host.id,
        "uid": host_uid(host.id),
        "keys": list(policy.keys),
        "nonce": host.nonce,
        "quota_gib": policy.quota_gib,
        "guarded": policy.guard == "on",
    }


def parse_run_brief(body: bytes) -> Run:
    """The run as it was when it was briefed."""
    fields = read("brief of a run", body)
    return Run(
        id=parse_run(fields.text("run")),
        policy_version=fields.text("policy"),
        opened=fields.moment("opened"),
        deadline=fields.moment("deadline"),
        hosts=tuple(
            ExpectedHost(host.text("name"), checked_host_id(host.text("id")), host.text("nonce"))
            for host in fields.parts("hosts")
        ),
        nonce=fields.maybe_text("nonce") or "",
    )


@dataclass(frozen=True)
class Report:
    """A host's night as the receiver archived it, and the nonce that proves whose it is."""

    result: HostResult
    nonce: str


def parse_report(body: bytes) -> Report:
    fields = read("report", body)
    received = fields.part("receiver")
    result = host_result(fields, received.choice("tree", TreeKind), received.maybe_part("manifest"))
    return Report(replace(result, quota=read_quota(received.maybe_part("quota"))), fields.text("nonce"))


def host_result(fields: Fields, tree: TreeKind, manifest: Fields | None) -> HostResult:
    """What every report says of a host's night. Raises PermanentError."""
    return HostResult(
        run=parse_run(fields.text("run")),
        name=fields.text("host"),
        id=checked_host_id(fields.text("id")),
        status=_status(fields),
        files=fields.number("files"),
        bytes_sent=fields.number("bytes_sent"),
        seconds=(fields.moment("finished") - fields.moment("started")).total_seconds(),
        tree=tree,
        manifest=_archive_key(manifest) if manifest else None,
        problems=bounded(fields.texts("problems")),
        warnings=_warnings(fields),
    )


def _warnings(fields: Fields) -> tuple[str, ...]:
    """What a host's disks warn of, each cut short. An older agent says nothing of them."""
    told = fields.parts("health")[:MOST_PROBLEMS] if "health" in fields.values else ()
    wrong = (each for each in told if each.text("state") == "warning")
    return tuple(as_line(f"{each.text('what')}: {each.text('said')}") for each in wrong)


def _archive_key(fields: Fields) -> str:
    """One that S3 would take: longer ones do not fit into the catalogue either."""
    key = fields.text("key")
    if len(key.encode()) > _LONGEST_KEY:
        raise PermanentError(f"{fields.what}: key has {len(key)} characters, expected at most {_LONGEST_KEY} bytes")
    return key


def _status(fields: Fields) -> HostStatus:
    """Only what a host can say of itself: that it is expected or missing is ours to say."""
    status = fields.choice("status", HostStatus)
    if status in (HostStatus.EXPECTED, HostStatus.MISSING):
        raise PermanentError(f"{fields.what}: status is {status.value}, expected what became of the host's night")
    return status


@dataclass(frozen=True)
class Notice:
    """A receiver's word: it stands ready, it has let go of its volume, it has found that damaged, or it lets nobody in.

    `why` is what the machine itself says of the last two, as one line.
    """

    run: RunId
    attempt: int
    at: datetime
    clean: bool
    disk: Disk | None = None
    volume_id: str | None = None
    read_only: bool = False
    why: str | None = None


def parse_notice(body: bytes) -> Notice:
    """Whoever stands ready has nothing to let go of, and is not clean.

    An older receiver says nothing of its disk, or which volume it has, or whether that has turned read-only.
    """
    fields = read("receiver notice", body)
    is_clean = "clean" in fields.values and fields.flag("clean")
    volume, why = fields.maybe_part("volume"), fields.maybe_text("why")
    return Notice(
        run=parse_run(fields.text("run")),
        attempt=fields.number("attempt"),
        at=fields.moment("at"),
        clean=is_clean,
        disk=read_disk(fields.maybe_part("disk")),
        volume_id=volume.text("id") if volume else None,
        read_only="read_only" in fields.values and fields.flag("read_only"),
        why=as_line(why) if why else None,
    )


# Every machine may write below `reports/`, and what is there is never written over. So every key that one writes of a
# run holds the run's nonce, which nobody knows before it is open. A run of an earlier version has none.


def report_prefix(run: Run) -> str:
    return f"reports/{run.id}/{run.nonce}/hosts/" if run.nonce else f"reports/{run.id}/"


def report_key(run: Run, host_id: str) -> str:
    return f"{report_prefix(run)}{host_id}.json"


def words_prefix(run: Run) -> str:
    return f"reports/{run.id}/{run.nonce}/words/" if run.nonce else run_prefix(run.id)


def word_key(run: Run, what: str, attempt: int) -> str:
    """Where the receiver of this attempt says `what`: "ready", "released", "damaged" or "refused"."""
    return f"{words_prefix(run)}{what}/{attempt}.json"


@dataclass(frozen=True)
class ClosedHost:
    name: str
    id: str
    status: HostStatus


@dataclass(frozen=True)
class Closed:
    """How a run ended, as the archive keeps it."""

    run: RunId
    state: RunState
    closed: datetime
    snapshot_id: str | None
    why: str | None
    hosts: tuple[ClosedHost, ...]


def closed_record(closed: Closed) -> bytes:
    return written(
        {
            "run": str(closed.run),
            "state": closed.state.value,
            "closed": moment_text(closed.closed),
            "snapshot": closed.snapshot_id,
            "why": closed.why,
            "hosts": [{"name": host.name, "id": host.id, "status": host.status.value} for host in closed.hosts],
        }
    )


def parse_closed(body: bytes) -> Closed:
    fields = read("closed run", body)
    return Closed(
        run=parse_run(fields.text("run")),
        state=fields.choice("state", RunState),
        closed=fields.moment("closed"),
        snapshot_id=fields.maybe_text("snapshot"),
        why=fields.maybe_text("why"),
        hosts=tuple(
            ClosedHost(host.text("name"), checked_host_id(host.text("id")), host.choice("status", HostStatus))
            for host in fields.parts("hosts")
        ),
    )
