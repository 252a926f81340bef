"""Look, plan, act, record, and again, until nothing is left but to wait: the way of runs and of recoveries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from chalicelib.core.actions import Wait
from chalicelib.errors import TransientError

# A whole night, or a whole drill, takes about ten passes; more than this is a plan that contradicts itself.
MOST_PASSES = 25

Subject = TypeVar("Subject")
Action = TypeVar("Action")


@dataclass(frozen=True)
class Settled(Generic[Subject]):
    """Where it stands, what was done, and what it waits for now; `overtaken` when someone else won a write."""

    subject: Subject
    steps: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    overtaken: bool = False


def settle(
    what: str,
    subject: Subject,
    next_steps: Callable[[Subject], tuple[Action, ...]],
    act: Callable[[Action, Subject], Subject | None],
) -> Settled[Subject]:
    """`next_steps` observes and plans, nothing for what is closed; `act` does one step and gives back what is stored
    then, or None when someone else won the write.

    Raises TransientError, about `what`, when there is no end to it.
    """
    done: list[str] = []
    last: tuple[Action, ...] = ()
    for _ in range(MOST_PASSES):
        steps = next_steps(subject)
        waiting = tuple(step.why for step in steps if isinstance(step, Wait))
        if len(waiting) == len(steps):
            return Settled(subject, tuple(done), waiting)
        if steps == last:
            return Settled(subject, tuple(done), ("EC2 to show what it was just asked for",))
        last = steps
        for step in steps:
            stored = act(step, subject)
            if stored is None:
                return Settled(subject, tuple(done), overtaken=True)
            subject = stored
            done.append(type(step).__name__)
    raise TransientError(f"{what} does not settle; its last steps were {', '.join(done[-5:])}")
