"""The only place that knows JSON field names: briefs, reports, events and payloads, in and out.

Every shape has an example in `tests/contract/wire/`. What comes in raises PermanentError unless it is whole.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from chalicelib.core import tags
from chalicelib.core.holds import Hold, Target
from chalicelib.core.ids import checked_host_id, host_uid, parse_recovery, parse_run
from chalicelib.core.model import (
    SCHEMA,
    Boot,
    ExpectedHost,
    HostResult,
    HostStatus,
    ProbeAnswer,
    Recovery,
    RecoveryId,
    RecoveryKind,
    RecoveryReport,
    RecoveryState,
    RestorePoint,
    Run,
    RunId,
    RunState,
    Snapshot,
    TreeKind,
)
from chalicelib.core.policy import HostPolicy, ReceiverPolicy
from chalicelib.core.pruning import Fate, PrunePlan, Verdict
from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, checked, moment_text, read, written

# A host may say anything; what we keep of its words is bounded.
MOST_PROBLEMS = 50
LONGEST_PROBLEM = 500

# A function's answer holds 6 MB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html); the ids of
# what is marked and deleted, and what is left alone, need their part of it.
LARGEST_ANSWER = 3_000_000


# -- a run: what the receiver is told, what it and its hosts say -------------------------------------------------------


RUNS = "runs/"


def run_of_key(key: str) -> RunId:
    """The run an archive key belongs to. Raises PermanentError."""
    return parse_run(_owner_of(key))


def brief_key(run: RunId, volume_id: str) -> str:
    """A brief names its volume and is never written over: another volume has another brief."""
    return f"runs/{run}/{volume_id}/brief.json"


_BRIEF = re.compile(r"runs/.+/(?P<volume>vol-[^/]+)/brief\.json")


def briefed_volumes(keys: Iterable[str]) -> frozenset[str]:
    """The volumes that have a brief, from the archive's keys alone."""
    return frozenset(match["volume"] for key in keys if (match := _BRIEF.fullmatch(key)))


def closed_key(run: RunId) -> str:
    return f"runs/{run}/closed.json"


def run_prefix(run: RunId) -> str:
    return f"runs/{run}/"


def report_prefix(run: RunId) -> str:
    return f"reports/{run}/"


def host_key_parameter(receiver: str) -> str:
    """The SSM parameter that holds the ssh host key a receiver keeps through all its machines."""
    return f"/ebbtide/{receiver}/host-key"


def receiver_brief(
    run: Run, receiver: ReceiverPolicy, hosts: Mapping[str, HostPolicy], volume_id: str, grace: timedelta
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
            "volume": {"id": volume_id, "filesystem": receiver.volume.filesystem},
            "host_key_parameter": host_key_parameter(receiver.name),
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
    }


def parse_receiver_brief(body: bytes) -> Run:
    """The run as it was when it was briefed."""
    fields = read("receiver brief", body)
    return Run(
        id=parse_run(fields.text("run")),
        policy_version=fields.text("policy"),
        opened=fields.moment("opened"),
        deadline=fields.moment("deadline"),
        hosts=tuple(
            ExpectedHost(host.text("name"), checked_host_id(host.text("id")), host.text("nonce"))
            for host in fields.parts("hosts")
        ),
    )


@dataclass(frozen=True)
class Report:
    """A host's night as the receiver archived it, and the nonce that proves whose it is."""

    result: HostResult
    nonce: str


def parse_report(body: bytes) -> Report:
    fields = read("report", body)
    received = fields.part("receiver")
    manifest = received.maybe_part("manifest")
    result = HostResult(
        run=parse_run(fields.text("run")),
        name=fields.text("host"),
        id=checked_host_id(fields.text("id")),
        status=_status(fields),
        files=fields.number("files"),
        bytes_sent=fields.number("bytes_sent"),
        seconds=(fields.moment("finished") - fields.moment("started")).total_seconds(),
        tree=received.choice("tree", TreeKind),
        manifest=manifest.text("key") if manifest else None,
        problems=tuple(problem[:LONGEST_PROBLEM] for problem in fields.texts("problems")[:MOST_PROBLEMS]),
    )
    return Report(result, fields.text("nonce"))


def _status(fields: Fields) -> HostStatus:
    """Only what a host can say of itself: that it is expected or missing is ours to say."""
    status = fields.choice("status", HostStatus)
    if status in (HostStatus.EXPECTED, HostStatus.MISSING):
        raise PermanentError(f"{fields.what}: status is {status.value}, expected what became of the host's night")
    return status


_NOTICE = re.compile(r"runs/.+/(?P<what>ready|released)/(?P<attempt>[1-9][0-9]{0,8})\.json")


def notice_attempts(keys: Iterable[str], what: str) -> frozenset[int]:
    """The attempts whose receiver said `what` ("ready" or "released"), from the archive's keys alone."""
    matches = (_NOTICE.fullmatch(key) for key in keys)
    return frozenset(int(match["attempt"]) for match in matches if match and match["what"] == what)


@dataclass(frozen=True)
class Notice:
    """A receiver's word on itself: it stands ready, or it has let go of its volume."""

    run: RunId
    attempt: int
    at: datetime
    clean: bool


def parse_notice(body: bytes) -> Notice:
    """Whoever stands ready has nothing to let go of, and is not clean."""
    fields = read("receiver notice", body)
    is_clean = "clean" in fields.values and fields.flag("clean")
    return Notice(parse_run(fields.text("run")), fields.number("attempt"), fields.moment("at"), is_clean)


def released_key(run: RunId, attempt: int) -> str:
    return f"runs/{run}/released/{attempt}.json"


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


# -- a recovery: what its machine is told, and what it found -----------------------------------------------------------


RECOVERIES = "recoveries/"


def recoveries_prefix(host_id: str, day: date) -> str:
    return f"{RECOVERIES}{host_id}/{day.isoformat()}/"


def recovery_prefix(recovery: RecoveryId) -> str:
    return f"{RECOVERIES}{recovery}/"


def recovery_of_key(key: str) -> RecoveryId:
    """The recovery an archive key belongs to. Raises PermanentError."""
    return parse_recovery(_owner_of(key))


def _owner_of(key: str) -> str:
    """The id inside a key: its three parts after the first."""
    return "/".join(key.split("/")[1:4])


def recovery_brief_key(recovery: RecoveryId) -> str:
    return f"recoveries/{recovery}/brief.json"


def recovery_report_key(recovery: RecoveryId) -> str:
    return f"recoveries/{recovery}/report.json"


def recovery_closed_key(recovery: RecoveryId) -> str:
    return f"recoveries/{recovery}/closed.json"


def recovery_brief(recovery: Recovery, volume_id: str) -> bytes:
    """What a recovery's machine has to know, and all that `rebuild` needs to know of the recovery."""
    return written(
        {
            "recovery": str(recovery.id),
            "kind": recovery.kind.value,
            "host": recovery.host,
            "id": recovery.id.host_id,
            "run": str(recovery.point.run),
            "snapshot": recovery.point.snapshot_id,
            "at": moment_text(recovery.point.at),
            "volume": {"id": volume_id},
            "tree": recovery.point.tree.value,
            "manifest": recovery.point.manifest,
            "probe": recovery.probe,
            "opened": moment_text(recovery.opened),
            "deadline": moment_text(recovery.deadline),
        }
    )


def parse_recovery_brief(body: bytes) -> Recovery:
    """The recovery as it was when it was briefed."""
    fields = read("recovery brief", body)
    recovery_id = parse_recovery(fields.text("recovery"))
    return Recovery(
        id=recovery_id,
        kind=fields.choice("kind", RecoveryKind),
        host=fields.text("host"),
        point=RestorePoint(
            host_id=recovery_id.host_id,
            at=fields.moment("at"),
            snapshot_id=fields.text("snapshot"),
            run=parse_run(fields.text("run")),
            tree=fields.choice("tree", TreeKind),
            manifest=fields.maybe_text("manifest"),
        ),
        probe=fields.maybe_text("probe"),
        opened=fields.moment("opened"),
        deadline=fields.moment("deadline"),
    )


def parse_recovery_report(body: bytes) -> RecoveryReport:
    fields = read("recovery report", body)
    compared, boot, probe = fields.part("compared"), fields.part("boot"), fields.maybe_part("probe")
    timings = fields.part("timings")
    return RecoveryReport(
        recovery=parse_recovery(fields.text("recovery")),
        host_id=checked_host_id(fields.text("id")),
        verdict=fields.text("verdict"),
        entries=compared.number("entries"),
        missing=compared.number("missing"),
        extra=compared.number("extra"),
        different=compared.number("different"),
        unhashed=compared.number("unhashed"),
        findings=tuple(finding[:LONGEST_PROBLEM] for finding in fields.texts("findings")[:MOST_PROBLEMS]),
        boot=Boot(boot.text("state") == "booted", boot.maybe_text("why"), boot.real("seconds")),
        probe=ProbeAnswer(probe.text("target"), probe.text("answer"), probe.flag("ok")) if probe else None,
        found=fields.maybe_text("found"),
        timings={name: timings.real(name) for name in timings.values},
        finished=fields.moment("finished"),
    )


@dataclass(frozen=True)
class ClosedRecovery:
    """How a recovery ended, as the archive keeps it."""

    recovery: RecoveryId
    state: RecoveryState
    verdict: str | None
    findings: tuple[str, ...]
    machine_id: str | None
    closed: datetime


def closed_recovery_record(closed: ClosedRecovery) -> bytes:
    return written(
        {
            "recovery": str(closed.recovery),
            "state": closed.state.value,
            "verdict": closed.verdict,
            "findings": list(closed.findings),
            "machine": closed.machine_id,
            "closed": moment_text(closed.closed),
        }
    )


def parse_closed_recovery(body: bytes) -> ClosedRecovery:
    fields = read("closed recovery", body)
    return ClosedRecovery(
        recovery=parse_recovery(fields.text("recovery")),
        state=fields.choice("state", RecoveryState),
        verdict=fields.maybe_text("verdict"),
        findings=fields.texts("findings"),
        machine_id=fields.maybe_text("machine"),
        closed=fields.moment("closed"),
    )


# -- events and payloads: who is woken, and for what -------------------------------------------------------------------


def run_payload(run: RunId) -> dict[str, Any]:
    return {"schema": SCHEMA, "run": str(run)}


def parse_run_payload(payload: Mapping[str, Any]) -> RunId:
    """From an invocation, and from the detail of a receiver's event alike."""
    return parse_run(checked("payload", payload).text("run"))


def recovery_payload(recovery: RecoveryId) -> dict[str, Any]:
    return {"schema": SCHEMA, "recovery": str(recovery)}


def parse_recovery_payload(payload: Mapping[str, Any]) -> RecoveryId:
    return parse_recovery(checked("payload", payload).text("recovery"))


def is_about_a_recovery(payload: Mapping[str, Any]) -> bool:
    return "recovery" in payload


@dataclass(frozen=True)
class ApplyRequest:
    """A policy's text, and the version its writer believes to be in force."""

    text: str
    expected: str | None


def parse_apply(payload: Mapping[str, Any]) -> ApplyRequest:
    fields = checked("payload", payload)
    return ApplyRequest(fields.text("text"), fields.maybe_text("expected"))


def applied(version: str, changes: tuple[str, ...]) -> dict[str, Any]:
    return {"schema": SCHEMA, "version": version, "changes": list(changes)}


def refused_policy(faults: tuple[str, ...]) -> dict[str, Any]:
    return {"schema": SCHEMA, "faults": list(faults)}


def parse_receiver_name(payload: Mapping[str, Any]) -> str:
    return checked("payload", payload).text("receiver")


def prune_payload(dry_run: bool = False, allow: int | None = None) -> dict[str, Any]:
    return {"schema": SCHEMA, "dry_run": dry_run, "allow": allow}


@dataclass(frozen=True)
class PruneRequest:
    """Whether only to say what would be done, and how many deletions an operator has confirmed."""

    dry_run: bool
    allow: int | None


def parse_prune(payload: Mapping[str, Any]) -> PruneRequest:
    fields = checked("payload", payload)
    allow = fields.maybe_number("allow")
    if allow is not None and allow < 0:
        raise PermanentError(f"payload: allow is {allow}, expected a count from 0 up")
    return PruneRequest(fields.flag("dry_run"), allow)


def copy_payload() -> dict[str, Any]:
    """Nothing but the schema: what to copy follows from what is there."""
    return {"schema": SCHEMA}


def telling_payload() -> dict[str, Any]:
    """Nothing but the schema: what to tell follows from what is known."""
    return {"schema": SCHEMA}


def pruned(plan: PrunePlan) -> dict[str, Any]:
    """The plan as it was applied: what was marked and deleted, and every snapshot with the reasons it stays."""
    entries = [_planned(verdict, fate) for verdict, fate in zip(plan.verdicts, plan.fates, strict=True)]
    told = _as_many_as_an_answer_holds(entries)
    return {
        "schema": SCHEMA,
        "marked": list(plan.mark),
        "unmarked": list(plan.unmark),
        "deleted": list(plan.delete),
        "refused": plan.refused,
        "plan": told,
        "untold": len(entries) - len(told),
        "left_alone": [{"snapshot": each.snapshot.id, "why": each.why} for each in plan.left_alone],
    }


def _planned(verdict: Verdict, fate: Fate) -> dict[str, Any]:
    return {
        "snapshot": verdict.snapshot.id,
        "at": moment_text(verdict.snapshot.started),
        "size_gib": verdict.snapshot.size_gib,
        "most_usd_a_month": round(verdict.most_usd_a_month, 2),
        "fate": fate.value,
        "reasons": [{"host": reason.host_id, "why": reason.why} for reason in verdict.reasons],
    }


def _as_many_as_an_answer_holds(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In their order; where it is too much, what stays is left out before what goes, and the old before the new."""
    room, told = LARGEST_ANSWER, set()
    for index in sorted(range(len(entries)), key=lambda index: (entries[index]["fate"] == Fate.KEEP, -index)):
        room -= len(json.dumps(entries[index]))
        if room < 0:
            break
        told.add(index)
    return [entry for index, entry in enumerate(entries) if index in told]


@dataclass(frozen=True)
class HoldRequest:
    """What to hold or to release, and whether only to show it."""

    target: Target
    dry_run: bool
    why: str = ""
    by: str = ""


def parse_hold(payload: Mapping[str, Any]) -> HoldRequest:
    fields = checked("payload", payload)
    return HoldRequest(_target(fields), fields.flag("dry_run"), fields.text("why"), fields.text("by"))


def parse_release(payload: Mapping[str, Any]) -> HoldRequest:
    fields = checked("payload", payload)
    return HoldRequest(_target(fields), fields.flag("dry_run"))


def _target(fields: Fields) -> Target:
    target = Target(fields.maybe_text("snapshot"), fields.maybe_text("host"), fields.maybe_moment("at"))
    if (target.snapshot_id is None) == (target.host is None):
        raise PermanentError(f"{fields.what}: expected either a snapshot or a host")
    if target.at is not None and target.host is None:
        raise PermanentError(f"{fields.what}: at is the time of a host's point, and no host is given")
    return target


def held(snapshot: Snapshot, before: Hold | None, after: Hold | None) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "snapshot": snapshot.id,
        "at": moment_text(snapshot.started),
        "run": snapshot.tags.get(tags.RUN),
        "before": _hold(before),
        "after": _hold(after),
    }


def _hold(hold: Hold | None) -> dict[str, Any] | None:
    return None if hold is None else {"why": hold.why, "by": hold.by, "since": hold.since}


FORGOTTEN = "forgotten/"


def forgotten_key(host_id: str) -> str:
    return f"{FORGOTTEN}{checked_host_id(host_id)}.json"


def host_of_forgotten_key(key: str) -> str:
    """Raises PermanentError."""
    return checked_host_id(key.removeprefix(FORGOTTEN).removesuffix(".json"))


def forgotten_record(host_id: str, by: str, at: datetime) -> bytes:
    return written({"id": host_id, "by": by, "at": moment_text(at)})


@dataclass(frozen=True)
class ForgetRequest:
    """A host that left the policy, who asks to forget it, and whether only to show what that means."""

    host: str
    by: str
    dry_run: bool


def parse_forget(payload: Mapping[str, Any]) -> ForgetRequest:
    fields = checked("payload", payload)
    return ForgetRequest(fields.text("host"), fields.text("by"), fields.flag("dry_run"))


def forgot(host_id: str, points: Iterable[RestorePoint], already: bool) -> dict[str, Any]:
    """The points that no longer keep the snapshot they are in."""
    told = [{"at": moment_text(point.at), "snapshot": point.snapshot_id} for point in points]
    return {"schema": SCHEMA, "id": host_id, "already": already, "points": told}


def rebuilt(policy: str | None, counts: Mapping[str, int], faults: tuple[str, ...]) -> dict[str, Any]:
    """What the catalogue holds again, and what could not be read."""
    return {"schema": SCHEMA, "policy": policy, **counts, "faults": list(faults)}


@dataclass(frozen=True)
class RecoveryRequest:
    """A host to bring up, as it was at `at` or before; at its newest when the operator did not say."""

    host: str
    at: datetime | None


def parse_recovery_request(payload: Mapping[str, Any]) -> RecoveryRequest:
    fields = checked("payload", payload)
    return RecoveryRequest(fields.text("host"), fields.maybe_moment("at"))


def parse_instance_event(detail: Mapping[str, Any]) -> str:
    """The instance an `EC2 Instance State-change Notification` is about."""
    return Fields("instance event", detail).text("instance-id")


def parse_snapshot_event(detail: Mapping[str, Any]) -> str:
    """The snapshot an `EBS Snapshot Notification` is about: an ARN of two shapes, the id after the last slash."""
    return Fields("snapshot event", detail).text("snapshot_id").rsplit("/", 1)[-1]
