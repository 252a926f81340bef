"""What a scan amounts to: counts, and for each file with several names those that travel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from ebbtide_agent.host.index import LOOK, STAT, Block, Entry
from ebbtide_agent.host.mounts import point_of
from ebbtide_agent.host.selection import Undecidable

# The names of hard links are what a scan keeps in memory.
MOST_LINKED_NAMES = 200_000


@dataclass(frozen=True)
class Counted:
    """What a tree amounts to.

    `files_on` are the files by mount point; none where nobody could tell them apart. `identities` are the file systems'
    own (`read_identities`), of those that were the same from the beginning to the end. `unread` is what could not be
    read and so is not among them, each as rsync says it.
    """

    entries: int
    files: int
    size: int
    files_on: Mapping[bytes, int] = field(default_factory=dict)
    identities: Mapping[bytes, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass
class Tally:
    """Complete when all blocks of a scan of `root`, a path without links in it, have gone by.

    `files_on` has a count for every file system that is mounted: give it zeros.
    """

    root: bytes = b""
    files_on: dict[bytes, int] = field(default_factory=dict)
    identities: dict[bytes, str] = field(default_factory=dict)
    entries: int = 0
    files: int = 0
    size: int = 0
    linked_names: int = 0
    names: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def watch(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks, counted. Raises Undecidable when there are too many names to keep."""
        for block in blocks:
            self._add(block)
            yield block

    def counted(self) -> Counted:
        return Counted(self.entries, self.files, self.size, self.files_on, self.identities)

    def groups(self) -> Iterator[list[bytes]]:
        """The names of each file that has several of them in the tree."""
        return (names for names in self.names.values() if len(names) > 1)

    def _add(self, block: Block) -> None:
        found = [(S_IFMT(mode), links, size) for mode, links, size in LOOK.iter_unpack(block.stats)]
        files = [size for kind, _, size in found if kind == S_IFREG]
        self.entries += len(found)
        self.files += len(files)
        if files and self.files_on:
            self.files_on[point_of(self.root + b"/" + block.directory, self.files_on)] += len(files)
        self.size += sum(files) + sum(size for kind, _, size in found if kind == S_IFLNK)
        if any(links > 1 and kind != S_IFDIR for kind, links, _ in found):
            self.add_names(block.entries())

    def add_names(self, entries: Iterable[Entry]) -> None:
        """Keep the names of those that have several. Raises Undecidable when there are too many."""
        for path, stat, device in entries:
            mode, _, _, links, _, _, _, inode = STAT.unpack(stat)
            if links > 1 and S_IFMT(mode) != S_IFDIR:
                self.linked_names += 1
                self.names.setdefault((device, inode), []).append(path)
            if self.linked_names > MOST_LINKED_NAMES:
                raise Undecidable(f"the tree has more than {MOST_LINKED_NAMES} names of hard links")


def groups_among(entries: Iterable[Entry]) -> list[list[bytes]] | None:
    """The names of each file that has several of them among these entries; None where there are too many to keep."""
    tally = Tally()
    try:
        tally.add_names(entries)
    except Undecidable:
        return None
    return list(tally.groups())
