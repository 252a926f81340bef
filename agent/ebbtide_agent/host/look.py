"""Looking where a mount may not answer: beside us, so that who waits there for ever holds up nobody for as long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Callable, TypeVar

from ebbtide_agent.beside import beside, get_beside
from ebbtide_agent.stillness import STILL_SECONDS

Seen = TypeVar("Seen")


# For a first look. A server whose disk is mounted here may start anew meanwhile.
ANSWER_SECONDS = 600.0


def look(what: str, work: Callable[[], Seen]) -> Seen:
    """What the work sees. Raises what the work raises, and Interfered when it did not come to its end."""
    return get_beside(what, work, STILL_SECONDS)


def look_first(what: str, work: Callable[[], Seen]) -> Seen:
    """The same, for what is seen at once or not at all."""
    return get_beside(what, work, ANSWER_SECONDS)


def looking(what: str, work: Callable[[], Iterable[Seen]]) -> AbstractContextManager[Iterator[Seen]]:
    """What the work sees, one by one, for a block; the longest is between one and the next. Raises as `look` does."""
    return beside(what, work, STILL_SECONDS)
