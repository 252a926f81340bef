"""The manifest of what landed: every entry of a host's tree, with a hash for every file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.entry import Entry, Header, real_entry
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import fake_entry
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.lost import is_to_be_compared
from ebbtide_agent.manifest_file import DAMAGE, LARGEST, read_manifest, sha256_of, write_manifest
from ebbtide_agent.printable import printable
from ebbtide_agent.walk import Found, walk


class Unreadable(PermanentError):
    """An entry that the store holds and cannot give back: the notes beside it are no rsync's, or the disk says no."""


@dataclass(frozen=True)
class Before:
    """What the manifest before held, counted likewise; `kept` of its files are still there with the same content.

    `damage` says why no more of it could be read, if it is not whole. `run` is the night that it is of.
    """

    entries: int
    files: int
    size: int
    kept: int
    damage: str = ""
    run: str = ""


@dataclass(frozen=True)
class ManifestSummary:
    """What a manifest says in numbers. `entries` counts names, `size` the bytes of all regular files by name.

    `content` is the digest of the entries alone, whatever the run, and `links` that of the hard links.
    """

    sha256: str
    content: str
    entries: int
    files: int
    size: int
    hashed: int
    carried: int
    unhashed: int
    links: str
    before: Before


def write(
    tree: Path,
    kind: str,
    previous: Path | None,
    out: Path,
    header: Header,
    most: int = LARGEST,
    uncompared: int = 0,
) -> ManifestSummary:
    """Write the manifest of `tree` (kind "fake-super" or "real") to `out`, atomically.

    A file that the manifest `previous` knows with the same inode, change time, size and mtime keeps its hash; every
    other is read. The tree must be quiet. Raises OSError when something cannot be read, except for a file that this
    user may not open: that one stays without a hash, and counts as unhashed; PermanentError when an entry is too large
    for a manifest, or all of them for one of `most` bytes, or a file has the time of those that are `uncompared`; and
    Unreadable when one cannot be read back for what it stands for.
    """
    tally: Counter[str] = Counter()
    earlier = _Earlier(previous)
    hashes = _Hashes(earlier, tally)
    groups: dict[bytes, list[bytes]] = {}
    entries = _entries(tree, kind == "fake-super", header.munged, hashes, tally, uncompared)
    content = write_manifest(out, header, _grouped(entries, groups), most)
    return ManifestSummary(
        sha256_of(out),
        content,
        tally["entries"],
        tally["files"],
        tally["size"],
        tally["hashed"],
        tally["carried"],
        tally["unhashed"],
        digest_of(groups.values()),
        earlier.counted(tally["kept"]),
    )


def _grouped(entries: Iterator[Entry], groups: dict[bytes, list[bytes]]) -> Iterator[Entry]:
    """The entries as they come, the names of each hard-linked one gathered on the way."""
    for entry in entries:
        if entry.group is not None:
            groups.setdefault(entry.group, []).append(entry.path)
        yield entry


def _entries(
    tree: Path, fake: bool, munged: bool, hashes: _Hashes, tally: Counter[str], uncompared: int
) -> Iterator[Entry]:
    for found in _walked(tree):
        if is_to_be_compared(found, uncompared):
            raise PermanentError(
                f"{printable(found.path)} was written by a machine that was lost, and not compared since: the next push"
                " does that"
            )
        entry = _read_back(found, fake, munged)
        tally["entries"] += 1
        if entry.kind == "f":
            tally["files"] += 1
            tally["size"] += entry.size
            entry = replace(entry, store=(found.stat.st_ino, found.stat.st_ctime_ns))
            entry = replace(entry, sha256=hashes.of(entry, found.where))
            tally["unhashed"] += entry.sha256 is None
        yield entry


def _walked(tree: Path) -> Iterator[Found]:
    try:
        yield from walk(tree)
    except OSError as fault:
        where = os.fsencode(fault.filename or "").removeprefix(os.fsencode(tree)).lstrip(b"/")
        raise Unreadable(
            f"what was pushed cannot be read back: {fault.strerror}: {printable(where or b'.')}"
        ) from fault


def _read_back(found: Found, fake: bool, munged: bool) -> Entry:
    try:
        return fake_entry(found, munged) if fake else real_entry(found)
    except (OSError, ValueError) as fault:
        raise Unreadable(f"{printable(found.path)} cannot be read back: {fault}") from fault


class _Earlier:
    """The manifest before, looked up in the order of the paths; what it goes past is counted."""

    def __init__(self, previous: Path | None) -> None:
        self._damage = ""
        self._run = ""
        self._passed: Counter[str] = Counter()
        self._rest = self._entries_of(previous)
        self._next = next(self._rest, None)

    def find(self, path: bytes) -> Entry | None:
        while self._next is not None and self._next.path < path:
            self._pass(self._next)
        return self._next if self._next is not None and self._next.path == path else None

    def counted(self, kept: int) -> Before:
        """All of it, with what nobody has looked up."""
        while self._next is not None:
            self._pass(self._next)
        passed = self._passed
        return Before(passed["entries"], passed["files"], passed["size"], kept, self._damage, self._run)

    def _pass(self, entry: Entry) -> None:
        self._passed["entries"] += 1
        if entry.kind == "f":
            self._passed["files"] += 1
            self._passed["size"] += entry.size
        self._next = next(self._rest, None)

    def _entries_of(self, previous: Path | None) -> Iterator[Entry]:
        """Where it is missing there is nothing; where it is damaged it ends, and the rest of the tree is read again."""
        if previous is None:
            return
        try:
            with open(previous, "rb") as file:
                header, entries = read_manifest(file)
                self._run = header.run
                yield from entries
        except FileNotFoundError:
            return
        except DAMAGE as fault:
            self._damage = str(fault)


class _Hashes:
    """Finds the hash of each file with the least reading. To be asked in the order of the paths."""

    def __init__(self, earlier: _Earlier, tally: Counter[str]) -> None:
        self._earlier = earlier
        self._tally = tally
        self._of_group: dict[bytes, str | None] = {}

    def of(self, entry: Entry, where: bytes) -> str | None:
        earlier = self._earlier.find(entry.path)
        digest = self._digest(entry, where, earlier)
        self._tally["kept"] += earlier is not None and earlier.kind == "f" and earlier.sha256 == digest
        return digest

    def _digest(self, entry: Entry, where: bytes, earlier: Entry | None) -> str | None:
        if entry.group is None:
            return self._carried(entry, earlier) or self._read(where, entry.path)
        if entry.group not in self._of_group:
            self._of_group[entry.group] = self._carried(entry, earlier) or self._read(where, entry.path)
        return self._of_group[entry.group]

    def _carried(self, entry: Entry, earlier: Entry | None) -> str | None:
        if earlier is None or not _same_content(earlier, entry):
            return None
        self._tally["carried"] += earlier.sha256 is not None
        return earlier.sha256

    def _read(self, where: bytes, path: bytes) -> str | None:
        try:
            digest = sha256_of(where)
        except PermissionError:
            return None
        except OSError as fault:
            raise Unreadable(f"{printable(path)} cannot be read back: {fault}") from fault
        self._tally["hashed"] += 1
        return digest


def _same_content(earlier: Entry, entry: Entry) -> bool:
    """The change time is the kernel's own: nobody who could only write to the tree can have set it back."""
    return (earlier.store, earlier.size, earlier.mtime_ns) == (entry.store, entry.size, entry.mtime_ns)
