"""Which step a recovery is at, and since when: by what EC2 has given it and its latest machine has said. Never back."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from chalicelib.core.model import Recovery, RecoveryKind, Step
from chalicelib.core.verdicts import is_down

# Until EC2 has given a machine; and until that says what it does. Nothing but these is known of an opening.
LAUNCH, MACHINE = "launch", "machine"
COMPARE = "compare"
_BEFORE = (LAUNCH, MACHINE)
# What a machine says that it begins; a drill's, in this order.
SAID_BY_MACHINES = ("mount", "materialise", COMPARE, "boot", "probe")
# What stands is compared last, and beside what it does.
_ORDER = {
    RecoveryKind.DRILL: (*_BEFORE, *SAID_BY_MACHINES),
    RecoveryKind.RESTORE: (*_BEFORE, "mount", "materialise", "boot", "probe", COMPARE),
    RecoveryKind.OPENING: _BEFORE,
}
# How they are told, where that is otherwise than their machine does.
_TOLD = {"boot": "image boot"}


def ahead_of(recovery: Recovery) -> tuple[str, ...]:
    """The steps that its latest machine may still come to, in their order; none once its verdict is known."""
    if recovery.verdict is not None:
        return ()
    order = _ORDER[recovery.kind]
    return order[order.index(recovery.step.name) + 1 :] if recovery.step else order


def reached(recovery: Recovery, said: Iterable[Step], now: datetime) -> tuple[Step, ...]:
    """The steps that it has come to since the last look, in their order.

    A machine's clock is its own: none has begun before the one before it, nor later than now.
    """
    begun = {step.name: step.since for step in said}
    since = recovery.step.since if recovery.step else recovery.opened
    steps = []
    for name in ahead_of(recovery):
        if name in begun:
            since = min(max(since, begun[name]), now)
            steps.append(Step(name, since))
    return tuple(steps)


def advanced(recovery: Recovery, step: Step) -> Recovery:
    """At this step, unless it is there already, or further."""
    return replace(recovery, step=step) if step.name in ahead_of(recovery) else recovery


def has_moved(before: Recovery, after: Recovery) -> bool:
    """Whether there is anything new to whoever follows it: a step, where it stands or that it is not up, its verdict,
    its end."""
    return _followed(before) != _followed(after)


def _followed(recovery: Recovery) -> tuple[object, ...]:
    return recovery.attempt, recovery.step, came_up(recovery), recovery.address, recovery.verdict, recovery.state


def came_up(recovery: Recovery) -> bool | None:
    """Whether a restored server has; None while nobody can say, and of what is none."""
    if recovery.kind is not RecoveryKind.RESTORE:
        return None
    return True if recovery.address else False if is_down(recovery.findings) else None


def said_step(recovery: Recovery) -> str | None:
    """The step that its machine has said it is at, as it is told; None while that has said none."""
    return told_step(recovery.step.name) if recovery.step and recovery.step.name not in _BEFORE else None


def told_step(name: str) -> str:
    """A step as it is told, by what its machine calls it."""
    return _TOLD.get(name, name)
