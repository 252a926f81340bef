"""Walking a tree: every name in it once, in the order of its path's bytes, with the names that share an inode."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = b"."
# What the kernel takes, without the NUL at its end (linux/limits.h).
LONGEST_PATH, _LONGEST_NAME = 4095, 255
# One more name still fits behind it.
_NEAR = LONGEST_PATH - _LONGEST_NAME - 1
_ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True)
class Found:
    """A name in a tree: its path within it, where that is on this machine, and the first name of its link group.

    What lies very deep is only there until the walk goes on.
    """

    path: bytes
    where: bytes
    stat: os.stat_result
    group: bytes | None


def walk(root: Path) -> Iterator[Found]:
    """Every entry below and including `root`, sorted by path bytes; symlinks are never followed.

    Paths are gathered first (sorting by whole paths is not the order of any directory walk), so an entry may be
    replaced while the walk goes on: link groups are those found at its start.
    """
    base = os.fsencode(root)
    paths, groups = _gather(base)
    for path in sorted(paths):
        where = _place(base, path)
        if len(where) <= _NEAR:
            # As below, without what a block costs: there may be millions.
            yield Found(path, where, os.lstat(where), groups.get(path))
        else:
            with reached(base, path) as where:
                yield Found(path, where, os.lstat(where), groups.get(path))


@contextmanager
def reached(base: bytes, path: bytes) -> Iterator[bytes]:
    """Where a path of the tree at `base` is for a block: that takes at least one more name, whatever lies before it.

    A server may have a path as long as the kernel takes one, and here the tree's own comes before it: the rest of it
    then begins at a directory on the way. Raises OSError, also for a path that is too long by itself.
    """
    where = _place(base, path)
    if len(where) <= _NEAR:
        yield where
        return
    if len(path) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), where)
    on_the_way = where.rindex(b"/", 0, _NEAR)
    directory = os.open(where[:on_the_way], _ON_THE_WAY)
    try:
        yield b"/proc/self/fd/%d" % directory + where[on_the_way:]
    finally:
        os.close(directory)


def prefix_of(directory: bytes) -> bytes:
    """What comes before a name in the path of what a directory of a tree has under it."""
    return b"" if directory == ROOT else directory + b"/"


def leading_to(path: bytes) -> Iterator[bytes]:
    """The directories above a path of a tree but for its root, the topmost first."""
    names = path.split(b"/")
    return (b"/".join(names[:depth]) for depth in range(1, len(names)))


def way_to(path: bytes) -> tuple[bytes, ...]:
    """The same and the path itself, the last; of the root, given as no path at all, none."""
    return (*leading_to(path), path) if path else ()


def _place(base: bytes, path: bytes) -> bytes:
    return base if path == ROOT else base + b"/" + path


def _gather(base: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    paths = [ROOT]
    names: dict[tuple[int, int], list[bytes]] = {}
    pending = [ROOT]
    while pending:
        directory = pending.pop()
        prefix = prefix_of(directory)
        with reached(base, directory) as where, os.scandir(where) as entries:
            for entry in entries:
                path = prefix + entry.name
                paths.append(path)
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    pending.append(path)
                elif found.st_nlink > 1:
                    names.setdefault((found.st_dev, found.st_ino), []).append(path)
    return paths, {path: min(group) for group in names.values() if len(group) > 1 for path in group}
