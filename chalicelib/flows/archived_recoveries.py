"""A recovery as the archive has it: what was asked for, and how it closed."""

from dataclasses import replace

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryId
from chalicelib.flows.objects import find_object
from chalicelib.ports import Archive


def read_recovery(recovery_id: RecoveryId, archive: Archive) -> Recovery | None:
    """As it was asked for, and as it closed, with the ways in and the end that it had last; None of
    one that an older version never came to brief. Raises PermanentError for what cannot be read."""
    asked = _find_asked(recovery_id, archive)
    closing = find_object(wire.recovery_closed_key(recovery_id), archive)
    if asked is None:
        return None
    keys = archive.list(wire.recovery_prefix(recovery_id))
    attempt, nonce = wire.latest_brief_among(keys) or (asked.attempt, asked.nonce)
    recovery = replace(asked, attempt=attempt, nonce=nonce)
    if changes := wire.ways_among(keys):
        ways, deadline = wire.parse_recovery_ways(archive.get(changes[-1]))
        recovery = replace(recovery, ways=ways, deadline=deadline or recovery.deadline)
    if closing is None:
        return recovery
    closed = wire.parse_closed_recovery(closing)
    return replace(
        recovery,
        state=closed.state,
        verdict=closed.verdict,
        findings=closed.findings,
        machine_id=closed.machine_id,
        step=None,
        times=closed.times,
        ended_early=closed.ended_early,
        closed=closed.closed,
    )


def _find_asked(recovery_id: RecoveryId, archive: Archive) -> Recovery | None:
    """An earlier version wrote down what was asked for in its brief alone."""
    keys = (wire.recovery_asked_key(recovery_id), wire.recovery_first_brief_key(recovery_id))
    found = (find_object(key, archive) for key in keys)
    asked = next((body for body in found if body is not None), None)
    return wire.parse_recovery_asked(asked) if asked else None
