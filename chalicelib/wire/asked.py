"""Events and payloads: who is woken and for what, what operators ask, and what they are answered."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from chalicelib.core import restored, tags
from chalicelib.core.advice import ADVICE
from chalicelib.core.bill import Budget
from chalicelib.core.holds import Hold, Target
from chalicelib.core.ids import checked_host_id, parse_recovery, parse_run
from chalicelib.core.model import (
    SCHEMA,
    RecoveryId,
    RestorePoint,
    RunId,
    Snapshot,
)
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.preflight import Preflight
from chalicelib.core.prices import AS_OF
from chalicelib.core.pruning import Fate, PrunePlan, Verdict
from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, checked, moment_text, read, written

# A function's answer holds 6 MB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html); the ids of
# what is marked and deleted, and what is left alone, need their part of it.
LARGEST_ANSWER = 3_000_000
_LAST_PORT = 65535
_NEWEST = "newest"
_A_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def run_payload(run: RunId) -> dict[str, Any]:
    return {"schema": SCHEMA, "run": str(run)}


def parse_run_payload(payload: Mapping[str, Any]) -> RunId:
    """From an invocation, and from the detail of a receiver's event alike."""
    return parse_run(checked("payload", payload).text("run"))


def recovery_payload(recovery: RecoveryId) -> dict[str, Any]:
    return {"schema": SCHEMA, "recovery": str(recovery)}


def parse_recovery_payload(payload: Mapping[str, Any]) -> RecoveryId:
    return parse_recovery(checked("payload", payload).text("recovery"))


def find_reporter(detail: Mapping[str, Any]) -> str | None:
    """The id of the host whose report a receiver's event tells of; None when it tells of the receiver itself."""
    host_id = checked("event", detail).maybe_text("id")
    return None if host_id is None else checked_host_id(host_id)


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


def preflight_payload() -> dict[str, Any]:
    """Nothing but the schema: what to look at follows from the policy and from what is there."""
    return {"schema": SCHEMA}


def copy_payload() -> dict[str, Any]:
    """Nothing but the schema: what to copy follows from what is there."""
    return {"schema": SCHEMA}


def drills_payload() -> dict[str, Any]:
    """Nothing but the schema: whose turn it is follows from when they were last drilled."""
    return {"schema": SCHEMA}


def telling_payload() -> dict[str, Any]:
    """Nothing but the schema: what to tell follows from what is known."""
    return {"schema": SCHEMA}


def looked(preflight: Preflight) -> dict[str, Any]:
    """What a preflight found, each with what to do about it."""
    found = [
        {
            "kind": trouble.kind.value,
            "what": trouble.what,
            "details": list(trouble.details),
            "since": moment_text(trouble.since),
            "to_do": ADVICE[trouble.kind].to_do,
        }
        for trouble in preflight.troubles
    ]
    return {"schema": SCHEMA, "at": moment_text(preflight.at), "found": found}


def priced(whole: Budget, drills: Budget) -> dict[str, Any]:
    """A month by its parts, the largest first, and what the policy says that it and its drills may cost."""
    parts = whole.cost.parts
    return {
        "schema": SCHEMA,
        "parts": [{"what": part.what, "usd_a_month": round(part.usd, 2), "how": part.how} for part in parts],
        **_beside_its_budget(whole),
        "drills": _beside_its_budget(drills),
        "not_counted": list(whole.cost.not_counted),
        "prices": AS_OF,
    }


def _beside_its_budget(budget: Budget) -> dict[str, Any]:
    may_cost = budget.usd_a_month
    return {
        "usd_a_month": round(budget.cost.usd_a_month, 2),
        "budget": budget.limit,
        "budget_usd_a_month": None if may_cost is None else round(may_cost, 2),
    }


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


def not_pruned(why: str) -> dict[str, Any]:
    """The same answer for a prune that never planned anything."""
    nothing: dict[str, list[Any]] = {"marked": [], "unmarked": [], "deleted": [], "plan": [], "left_alone": []}
    return {"schema": SCHEMA, **nothing, "refused": why, "untold": 0}


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


ENROLLED = "enrolled/"


def enrolled_key(host_id: str) -> str:
    return f"{ENROLLED}{checked_host_id(host_id)}.json"


def enrolled_record(host_id: str, at: datetime) -> bytes:
    return written({"id": host_id, "at": moment_text(at)})


def parse_enrolled(body: bytes) -> datetime:
    return read("enrolment", body).moment("at")


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


def parse_recovery_request(payload: Mapping[str, Any]) -> RecoveryRequest:
    fields = checked("payload", payload)
    at, point = _when(fields)
    return RecoveryRequest(
        host=fields.text("host"),
        at=at,
        point=point,
        mode=fields.choice("mode", Mode) if fields.values.get("mode") is not None else Mode.RESTORE,
        name=fields.maybe_text("name"),
        is_meant="is_meant" in payload and fields.flag("is_meant"),
        lasts=_lasts(fields),
        ports=_ports(fields),
        networks=_networks(fields),
    )


def _when(fields: Fields) -> tuple[datetime | None, str | None]:
    """A time, a day (UTC) that counts to its end, or a restore point by its snapshot or its run."""
    text = fields.maybe_text("at")
    if text is None or text == _NEWEST:
        return None, None
    if text.startswith("snap-") or "/" in text:
        return None, text
    if _A_DAY.fullmatch(text):
        return Fields(fields.what, {"at": f"{text}T23:59:59.999999Z"}).moment("at"), None
    return fields.moment("at"), None


def _lasts(fields: Fields) -> timedelta | None:
    minutes = fields.maybe_number("minutes")
    if minutes is None:
        return None
    lasts = timedelta(minutes=minutes)
    if not restored.USUAL <= lasts <= restored.LONGEST:
        within = f"from {restored.USUAL // timedelta(minutes=1)} to {restored.LONGEST // timedelta(minutes=1)}"
        raise PermanentError(f"{fields.what}: minutes is {minutes}, expected {within}")
    return lasts


def _ports(fields: Fields) -> tuple[int, ...]:
    ports = fields.maybe_numbers("ports")
    for port in ports:
        if not 1 <= port <= _LAST_PORT:
            raise PermanentError(f"{fields.what}: ports has {port}, expected TCP ports like [80, 443]")
    return ports


def _networks(fields: Fields) -> tuple[str, ...]:
    networks = () if fields.values.get("allow") is None else fields.texts("allow")
    try:
        return tuple(str(ip_network(network)) for network in networks)
    except ValueError as fault:
        raise PermanentError(f"{fields.what}: allow: {fault}, expected networks like 198.51.100.0/24") from None


def parse_instance_event(detail: Mapping[str, Any]) -> str:
    """The instance an `EC2 Instance State-change Notification` is about."""
    return Fields("instance event", detail).text("instance-id")


def parse_snapshot_event(detail: Mapping[str, Any]) -> str:
    """The snapshot an `EBS Snapshot Notification` is about: an ARN of two shapes, the id after the last slash."""
    return Fields("snapshot event", detail).text("snapshot_id").rsplit("/", 1)[-1]
