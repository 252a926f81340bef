"""What a drill or restore took, and what it would have lost: RTO and RPO as measured, and where the time went."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from chalicelib.core.model import Recovery, RecoveryKind, RecoveryReport, RestoredServer, Times
from chalicelib.core.steps import COMPARE, LAUNCH, MACHINE, told_step

# What a machine times; `launch` and `machine` come before it can say anything.
_TIMED = ("mount", "materialise", "boot", "probe", COMPARE)
# No step of any takes longer.
_LONGEST = 7 * 86400.0


def rto(recovery: Recovery) -> timedelta | None:
    """The recovery time: `answered - opened`, from when it was asked for until its image answered its probe, or was up
    if it has none. None while it has not. A drill compares first, which no restore waits for: less that.
    """
    times = recovery.times
    if times is None or times.answered is None:
        return None
    waited = (times.answered - recovery.opened).total_seconds()
    before = times.steps.get(COMPARE, 0.0) if recovery.kind is RecoveryKind.DRILL else 0.0
    return timedelta(seconds=max(0.0, waited - before))


def rpo(recovery: Recovery) -> timedelta:
    """The recovery point: `opened - point.at`, how old the data was when it was asked for, by the moment its snapshot
    was taken. What was written in that time is not in it.
    """
    return max(timedelta(0), recovery.opened - recovery.point.at)


def times_of(recovery: Recovery, said: RecoveryReport | RestoredServer) -> Times:
    """What its machine has said of its steps, after what it took until that could say anything. Only steps that are
    known, and within what they can take: what a machine says is kept for good.
    """
    launched = recovery.launched
    before = {
        LAUNCH: _seconds(recovery.opened, launched),
        MACHINE: _seconds(launched or recovery.opened, said.began),
    }
    steps = {told_step(name): said.timings.get(name) for name in _TIMED}
    return Times(said.answered, {name: _within(took) for name, took in {**before, **steps}.items() if took is not None})


def told(answered_after: timedelta | None, lost: timedelta, steps: Mapping[str, float]) -> tuple[str, ...]:
    """RTO, RPO and the steps, a line each, in columns."""
    after = "none" if answered_after is None else spoken(answered_after.total_seconds())
    how = "it has not answered" if answered_after is None else "from when it was asked for until it answered"
    lines = (
        f"RTO    {after:<12} {how}",
        f"RPO    {spoken(lost.total_seconds()):<12} from its restore point until it was asked for",
    )
    took = ", ".join(f"{name} {spoken(seconds)}" for name, seconds in steps.items())
    return (*lines, f"steps  {took}") if took else lines


def told_of(recovery: Recovery) -> tuple[str, ...]:
    """Nothing of one whose machine has not said how far it came."""
    return told(rto(recovery), rpo(recovery), recovery.times.steps) if recovery.times else ()


def spoken(seconds: float) -> str:
    """A length in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if hours < 1:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if days < 2 else f"{days} d {hours % 24} h"


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else (until - since).total_seconds()


def _within(seconds: float) -> float:
    """To the hundredth: a machine may name a number that is too small for DynamoDB."""
    return round(min(max(0.0, seconds), _LONGEST), 2)
