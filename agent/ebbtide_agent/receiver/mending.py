"""Notes of owner, mode and ACL in a tree that are none of rsync's: it would end at the first of them, every night."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import ACCESS_ACL, DEFAULT_ACL, STAT, fake_entry
from ebbtide_agent.walk import Found, walk

_NOTES = (STAT, ACCESS_ACL, DEFAULT_ACL)
# Whatever lies there by now: no link is followed, and nothing waits for a pipe's other end.
_AS_IT_LIES = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def take_off_lost_notes(tree: Path) -> int:
    """Of how many entries they were taken off: the next push writes them anew. What cannot be reached stays."""
    taken = 0
    with suppress(OSError):
        for found in walk(tree):
            if _is_lost(found):
                taken += _take_off(os.fsencode(tree), found.path)
    return taken


def _is_lost(found: Found) -> bool:
    """What cannot be looked at, or is more than a manifest takes, ends no mending of the others."""
    try:
        fake_entry(found)
    except ValueError:
        return True
    except (OSError, PermanentError):
        return False
    return False


def _take_off(tree: bytes, path: bytes) -> bool:
    with suppress(OSError), _opened(tree, path) as entry:
        for name in set(_NOTES).intersection(os.listxattr(entry)):
            os.removexattr(entry, name)
        return True
    return False


@contextmanager
def _opened(tree: bytes, path: bytes) -> Iterator[int]:
    """An entry, gone to step by step, so that nothing outside of the tree is ever reached."""
    entry = os.open(tree, _AS_IT_LIES)
    try:
        for name in path.split(b"/"):
            above, entry = entry, os.open(name, _AS_IT_LIES, dir_fd=entry)
            os.close(above)
        yield entry
    finally:
        os.close(entry)
