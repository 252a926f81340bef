"""The restore points that a host can get files from now, and the one that is meant. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ebbtide_agent.errors import PermanentError

NEWEST = "newest"
CUT_SHORT = "its push did not come to its end"


@dataclass(frozen=True)
class Restorable:
    """A tree of this host as it was. `doubt` is why it is not whole, or may not be, but a mixture of two nights."""

    name: str
    run: str
    at: datetime | None = None
    entries: int | None = None
    doubt: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.doubt

    def __str__(self) -> str:
        return self.name if self.is_whole else f"{self.name}, which is not whole"


@dataclass(frozen=True)
class AtHand:
    """What can be read now, the oldest first; and what there is to say, above all of what cannot.

    `until` is what the clock there says when it closes, and `left` how long that is.
    """

    points: tuple[Restorable, ...] = ()
    notes: tuple[str, ...] = ()
    until: datetime | None = None
    left: timedelta | None = None


def choose(at_hand: AtHand, wanted: str) -> Restorable:
    """The point of that name, or the newest whole one whose name begins so: a date is enough. Raises PermanentError."""
    points = at_hand.points
    if not points:
        raise PermanentError(
            "\n".join(("there is no restore point that files can be brought back from now", *at_hand.notes))
        )
    named = [point for point in points if point.name == wanted]
    if named:
        return named[-1]
    # What a script has left empty is no way to say the newest.
    found = [point for point in points if wanted == NEWEST or (wanted and point.name.startswith(wanted))]
    if not found:
        there = ", ".join(point.name for point in points)
        raise PermanentError(
            "\n".join((f"there is no restore point {wanted or repr(wanted)}; there are: {there}", *at_hand.notes))
        )
    return _newest_whole(found)


def _newest_whole(points: Sequence[Restorable]) -> Restorable:
    whole = [point for point in points if point.is_whole]
    if not whole:
        name, doubt = points[-1].name, points[-1].doubt
        raise PermanentError(f"{name} is not whole: {doubt}; --at {name} takes it all the same")
    return whole[-1]
