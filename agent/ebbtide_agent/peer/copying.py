"""A copy of a fake-super tree that shares no inode with it: linked to the copy before, where nothing has changed.

What has changed is told by the manifests of the two: where an entry is the same in every respect, content too, the
copy before has it already. So no file of the tree is looked at that did not change, and none is ever shared.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from ebbtide_agent.entry import Entry, Header
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.manifest_file import DAMAGE, read_manifest
from ebbtide_agent.walk import ROOT, reached


@dataclass(frozen=True)
class Copy:
    """A tree, and the manifest that describes it."""

    tree: Path
    manifest: Path


@dataclass(frozen=True)
class Copied:
    """How many names were linked to the copy before, and how many files were written, with how many bytes."""

    linked: int
    written: int
    bytes: int


def copy(source: Copy, into: Path, before: Copy | None, is_over: Callable[[], bool]) -> Copied:
    """Make `into` such a copy of a tree that is quiet and is what its manifest says.

    Raises PermanentError or OSError when it cannot be made, TransientError when `is_over` says so meanwhile.
    """
    with source.manifest.open("rb") as file:
        header, entries = read_manifest(file)
        earlier = _Earlier(before, header)
        making = _Making(os.fsencode(source.tree), os.fsencode(into))
        for entry in entries:
            if is_over():
                raise TransientError("told to stop")
            making.add(entry, earlier.find_same(entry))
        making.finish()
    return Copied(making.linked, making.written, making.bytes)


def _told(before: Copy, munged: bool) -> Iterator[Entry]:
    """What the manifest of the copy before says; where it is missing or damaged it ends, and the rest is written.

    With symlinks' targets written down in another way nothing in it is the same.
    """
    try:
        with before.manifest.open("rb") as file:
            header, entries = read_manifest(file)
            if header.munged == munged:
                yield from entries
    except DAMAGE:
        return


class _Earlier:
    """The copy before, asked in the order of the paths."""

    def __init__(self, before: Copy | None, header: Header) -> None:
        self._entries: Iterator[Entry] = iter(())
        if before is not None:
            self._base = os.fsencode(before.tree)
            self._entries = _told(before, header.munged)
        self._next = next(self._entries, None)

    def find_same(self, entry: Entry) -> bytes | None:
        """The tree of it, if that has this entry, the same in every respect."""
        while self._next is not None and self._next.path < entry.path:
            self._next = next(self._entries, None)
        if self._next is None or replace(self._next, store=None) != replace(entry, store=None):
            return None
        # Nobody can vouch for the content of a file without a hash.
        return None if entry.kind == "f" and entry.sha256 is None else self._base


class _Making:
    """The copy as it grows. Directories get their attributes last: some may not be written to, and times change."""

    def __init__(self, source: bytes, into: bytes) -> None:
        self._source, self._into = source, into
        self._directories: list[bytes] = []
        self.linked = self.written = self.bytes = 0
        os.mkdir(into, 0o700)  # noqa: PTH102 - paths are bytes

    def add(self, entry: Entry, same: bytes | None) -> None:
        if entry.path == ROOT:
            self._directories.append(ROOT)
            return
        with reached(self._into, entry.path) as where:
            if entry.kind == "d":
                self._directories.append(entry.path)
                os.mkdir(where, 0o700)  # noqa: PTH102 - paths are bytes
            elif entry.group not in (None, entry.path):
                with reached(self._into, entry.group or b"") as first:
                    os.link(first, where, follow_symlinks=False)
            elif same is not None and _is_linked(same, entry.path, where):
                self.linked += 1
            else:
                with reached(self._source, entry.path) as source:
                    self.bytes += _copy_file(source, where)
                self.written += 1

    def finish(self) -> None:
        for path in reversed(self._directories):
            with reached(self._source, path) as source, reached(self._into, path) as where:
                _give(source, os.lstat(source), where)


def _is_linked(same: bytes, path: bytes, where: bytes) -> bool:
    """False where it cannot be: it has too many names, or somebody has removed it."""
    try:
        with reached(same, path) as before:
            os.link(before, where, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EMLINK, errno.ENOENT):
            return False
        raise
    return True


def _copy_file(source: bytes, where: bytes) -> int:
    """A file of its own with the same content, holes and attributes; its size. Blocks may be shared, if they can be."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(reading)
        if not stat.S_ISREG(found.st_mode):
            raise PermanentError(f"{os.fsdecode(source)} is no file, and no rsync with fake super leaves anything else")
        writing = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(writing, found.st_size)
            for start, end in _data(reading, found.st_size):
                _copy_range(reading, writing, start, end)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    _give(source, found, where)
    return found.st_size


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """From where to where there is data, and no hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    while start < end:
        length = os.copy_file_range(reading, writing, end - start, start, start)
        if length == 0:
            raise PermanentError("a file became shorter while it was copied: something else writes to the tree")
        start += length


def _give(source: bytes, found: os.stat_result, where: bytes) -> None:
    if os.geteuid() == 0:
        os.chown(where, found.st_uid, found.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(where, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.chmod(where, stat.S_IMODE(found.st_mode))  # noqa: PTH101 - paths are bytes
    os.utime(where, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
