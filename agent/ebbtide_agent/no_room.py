"""How rsync says that there is no room, and for what."""

from __future__ import annotations

OVER_QUOTA, NO_SPACE = "Disk quota exceeded", "No space left on device"


def is_of_an_attribute(problem: str) -> bool:
    """Whether it is an extended attribute that has none: it may be too large for any file system, however much is free.

    What is before the first quote is no path.
    """
    return "xattr" in problem.partition('"')[0]


def is_without_room(problem: str) -> bool:
    """Whether somebody says that there is no room for what is backed up, be it that a quota leaves none."""
    return any(words in problem for words in (OVER_QUOTA, NO_SPACE)) and not is_of_an_attribute(problem)


def is_full(problem: str) -> bool:
    """Whether that is what rsync found: a script of the host's own may say the same of another disk."""
    return problem.startswith("rsync: ") and is_without_room(problem)
