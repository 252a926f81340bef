"""The manifest of what landed: every entry of a host's tree, with a hash for every file."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.entry import Entry, Header, real_entry
from ebbtide_agent.fakesuper import fake_entry
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.manifest_file import read_manifest, sha256_of, write_manifest
from ebbtide_agent.walk import walk


@dataclass(frozen=True)
class ManifestSummary:
    """What a manifest says in numbers. `entries` counts names, `size` the bytes of all regular files by name.

    `links` is the digest of the hard links.
    """

    sha256: str
    entries: int
    files: int
    size: int
    hashed: int
    carried: int
    unhashed: int
    links: str


def write(tree: Path, kind: str, previous: Path | None, out: Path, header: Header) -> ManifestSummary:
    """Write the manifest of `tree` (kind "fake-super" or "real") to `out`, atomically.

    A file that the manifest `previous` knows with the same inode, change time, size and mtime keeps its hash; every
    other is read. The tree must be quiet. Raises OSError when something cannot be read, except for a file that this
    user may not open: that one stays without a hash, and counts as unhashed.
    """
    tally: Counter[str] = Counter()
    hashes = _Hashes(_earlier(previous), tally)
    groups: dict[bytes, list[bytes]] = {}
    entries = _entries(tree, kind == "fake-super", header.munged, hashes, tally)
    write_manifest(out, header, _grouped(entries, groups))
    return ManifestSummary(
        sha256_of(out),
        tally["entries"],
        tally["files"],
        tally["size"],
        tally["hashed"],
        tally["carried"],
        tally["unhashed"],
        digest_of(groups.values()),
    )


def _grouped(entries: Iterator[Entry], groups: dict[bytes, list[bytes]]) -> Iterator[Entry]:
    """The entries as they come, the names of each hard-linked one gathered on the way."""
    for entry in entries:
        if entry.group is not None:
            groups.setdefault(entry.group, []).append(entry.path)
        yield entry


def _entries(tree: Path, fake: bool, munged: bool, hashes: _Hashes, tally: Counter[str]) -> Iterator[Entry]:
    for found in walk(tree):
        entry = fake_entry(found, munged) if fake else real_entry(found)
        tally["entries"] += 1
        if entry.kind == "f":
            tally["files"] += 1
            tally["size"] += entry.size
            entry = replace(entry, store=(found.stat.st_ino, found.stat.st_ctime_ns))
            entry = replace(entry, sha256=hashes.of(entry, found.where))
            tally["unhashed"] += entry.sha256 is None
        yield entry


class _Hashes:
    """Finds the hash of each file with the least reading. To be asked in the order of the paths."""

    def __init__(self, earlier: Iterator[Entry], tally: Counter[str]) -> None:
        self._earlier = earlier
        self._next = next(earlier, None)
        self._tally = tally
        self._of_group: dict[bytes, str | None] = {}

    def of(self, entry: Entry, where: bytes) -> str | None:
        if entry.group is None:
            return self._carried(entry) or self._read(where)
        if entry.group not in self._of_group:
            self._of_group[entry.group] = self._carried(entry) or self._read(where)
        return self._of_group[entry.group]

    def _carried(self, entry: Entry) -> str | None:
        while self._next is not None and self._next.path < entry.path:
            self._next = next(self._earlier, None)
        if self._next is None or self._next.path != entry.path or not _same_content(self._next, entry):
            return None
        self._tally["carried"] += self._next.sha256 is not None
        return self._next.sha256

    def _read(self, where: bytes) -> str | None:
        try:
            digest = sha256_of(where)
        except PermissionError:
            return None
        self._tally["hashed"] += 1
        return digest


def _same_content(earlier: Entry, entry: Entry) -> bool:
    """The change time is the kernel's own: nobody who could only write to the tree can have set it back."""
    return (earlier.store, earlier.size, earlier.mtime_ns) == (entry.store, entry.size, entry.mtime_ns)


def _earlier(previous: Path | None) -> Iterator[Entry]:
    """The entries of the manifest before; where it is missing or damaged it ends, and the rest is read again."""
    try:
        if previous is not None:
            with open(previous, "rb") as file:
                yield from read_manifest(file)[1]
    except (OSError, EOFError, ValueError, zlib.error):
        return
