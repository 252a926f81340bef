"""Which names are one file: found in a tree, and as a digest, by which a host and its target compare their trees."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ebbtide_agent.twice import found_twice
from ebbtide_agent.walk import ROOT, prefix_of, reached


def digest_of(groups: Iterable[Iterable[bytes]]) -> str:
    """The digest of groups of names, each of at least two, whatever their order."""
    digest = hashlib.sha256()
    for group in sorted(sorted(names) for names in groups):
        # A path holds no NUL, and none is empty.
        digest.update(b"\0".join((*group, b"", b"")))
    return digest.hexdigest()


def find_groups(root: Path) -> Iterable[list[bytes]]:
    """The paths within a tree of each file that has several of them there; the tree lies on one file system.

    Reads the tree's directories twice, looks at no file, and keeps but eight bytes for each.
    """
    several = found_twice(inode for _, inode in _files(root))
    names: dict[int, list[bytes]] = {}
    for path, inode in _files(root):
        if inode in several:
            names.setdefault(inode, []).append(path)
    return names.values()


def _files(root: Path) -> Iterator[tuple[bytes, int]]:
    """Everything below `root` that is no directory, and its inode."""
    base = os.fsencode(root)
    pending = [ROOT]
    while pending:
        directory = pending.pop()
        prefix = prefix_of(directory)
        with reached(base, directory) as where, os.scandir(where) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    yield path, entry.inode()
