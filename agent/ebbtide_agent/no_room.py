"""How rsync says that there is no room, and for what."""

from __future__ import annotations

OVER_QUOTA, NO_SPACE = "Disk quota exceeded", "No space left on device"


def is_of_an_attribute(problem: str) -> bool:
    """Whether it is an extended attribute that has none: it may be too large for any file system, however much is free.

    What is before the first quote is no path.
    """
    return "xattr" in problem.partition('"')[0]
