"""Walking a tree: every name in it once, in the order of its path's bytes, with the names that share an inode."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = b"."


@dataclass(frozen=True)
class Found:
    """A name in a tree: its path within it, where that is on this machine, and the first name of its link group."""

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
        where = base if path == ROOT else base + b"/" + path
        yield Found(path, where, os.lstat(where), groups.get(path))


def _gather(base: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    paths = [ROOT]
    names: dict[tuple[int, int], list[bytes]] = {}
    pending = [b""]
    while pending:
        directory = pending.pop()
        with os.scandir(base + b"/" + directory) as entries:
            for entry in entries:
                path = directory + entry.name
                paths.append(path)
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    pending.append(path + b"/")
                elif found.st_nlink > 1:
                    names.setdefault((found.st_dev, found.st_ino), []).append(path)
    return paths, {path: min(group) for group in names.values() if len(group) > 1 for path in group}
