"""An opening: how it is asked for and ended, and how it stands."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from chalicelib.core.model import SCHEMA, Recovery, RecoveryId, RecoveryKind
from chalicelib.core.opening import LONGEST, SHORTEST, USUAL, OpeningRequest
from chalicelib.core.recovery_times import rpo, rto
from chalicelib.core.steps import told_step
from chalicelib.errors import PermanentError
from chalicelib.fields import checked, moment_text

_A_MINUTE = timedelta(minutes=1)


def parse_opening_request(payload: Mapping[str, Any]) -> OpeningRequest:
    fields = checked("payload", payload)
    minutes = fields.maybe_number("minutes")
    lasts = USUAL if minutes is None else minutes * _A_MINUTE
    if not SHORTEST <= lasts <= LONGEST:
        within = f"from {SHORTEST // _A_MINUTE} to {LONGEST // _A_MINUTE}"
        raise PermanentError(f"payload: minutes is {minutes}, expected {within}")
    return OpeningRequest(fields.text("host"), fields.maybe_moment("at"), lasts)


def parse_closing(payload: Mapping[str, Any]) -> str | None:
    """A host by its name or id, or one opening or restore by its id; None of whoever only asks what stands: by null,
    not by leaving it out."""
    fields = checked("payload", payload)
    return fields.maybe_text("of") if "of" in payload else fields.text("of")


def closing(recoveries: Iterable[RecoveryId]) -> dict[str, Any]:
    return {"schema": SCHEMA, "recoveries": [str(recovery) for recovery in recoveries]}


def all_standing(recoveries: Iterable[Recovery]) -> dict[str, Any]:
    """Each as it is written down: nobody has looked."""
    return {"schema": SCHEMA, "standing": [standing(recovery) for recovery in recoveries]}


def opening(recovery: Recovery, is_new: bool) -> dict[str, Any]:
    """How what was asked for stands: what was under way already is others' to close."""
    return {**standing(recovery), "is_new": is_new}


def standing(recovery: Recovery, waiting: Iterable[str] = (), runs: bool | None = None) -> dict[str, Any]:
    """How a recovery stands now, what it waits for, and whether a restored server runs, None where nobody has looked;
    the step that it is at, since when, until its verdict is known; RTO, RPO and its steps in seconds, of what is no
    opening."""
    after = rto(recovery)
    return {
        "schema": SCHEMA,
        "recovery": str(recovery.id),
        "kind": recovery.kind.value,
        "host": recovery.host,
        "at": moment_text(recovery.point.at),
        "state": recovery.state.value,
        "probe": recovery.probe,
        "verdict": recovery.verdict,
        "findings": list(recovery.findings),
        "address": recovery.address,
        "runs": runs,
        "zone": recovery.zone,
        "until": moment_text(recovery.deadline),
        "waiting": list(waiting),
        "step": told_step(recovery.step.name) if recovery.step else None,
        "since": moment_text(recovery.step.since) if recovery.step else None,
        "rto": None if after is None else after.total_seconds(),
        "rpo": None if recovery.kind is RecoveryKind.OPENING else rpo(recovery).total_seconds(),
        "steps": dict(recovery.times.steps) if recovery.times else {},
    }
