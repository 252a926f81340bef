"""A fast scan of what travels: one lstat for each entry, in the order of a walk, and what it amounts to."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from itertools import starmap
from operator import attrgetter
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import Callable

from ebbtide_agent.beside import beside
from ebbtide_agent.host.index import DEVICE, MOST_ENTRIES_OF_A_BLOCK, ROOT, STAT, TOO_YOUNG, Block
from ebbtide_agent.host.mounts import kind_at, read_mounts
from ebbtide_agent.host.selection import Selection, Undecidable

# A change in the same tick of the clock leaves no trace, and neither does one through a memory map until the kernel has
# written the page back, half a minute later: what changed within a minute before the scan may look the same next time.
YOUNG_NS = 60 * 10**9
# The names of hard links are what the scan keeps in memory.
MOST_LINKED_NAMES = 200_000

# Where the kernel itself keeps a change time to be trusted. Elsewhere (network, FUSE) every push is a full one.
_TRUSTED = (
    "bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "proc",
    "ramfs", "reiserfs", "squashfs", "sysfs", "tmpfs", "xfs", "zfs",
)  # fmt: skip
# Small as they are, for instance below /boot/efi, all of them is pushed every night.
_ALWAYS_YOUNG = ("exfat", "msdos", "vfat")
_FOR_EVER_NS = -(1 << 62)

# A name in a directory, and what lstat says of it.
_Found = tuple[bytes, os.stat_result]
# Of that what the index packs, in its order; one of these is when the entry has changed.
_Row = tuple[int, ...]
_AS_PACKED: Callable[[os.stat_result], _Row] = attrgetter(
    "st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"
)
_CHANGED = 6


@dataclass
class Tally:
    """What a scan has met: counts, and for each file with several names those that travel."""

    entries: int = 0
    files: int = 0
    size: int = 0
    linked_names: int = 0
    names: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def add(self, prefix: bytes, found: Collection[_Found]) -> None:
        """Count entries of one directory. Raises Undecidable when there are too many names to keep."""
        self.entries += len(found)
        for name, entry in found:
            kind = S_IFMT(entry.st_mode)
            if kind == S_IFDIR:
                continue
            if kind == S_IFREG:
                self.files += 1
                self.size += entry.st_size
            elif kind == S_IFLNK:
                self.size += entry.st_size
            if entry.st_nlink > 1:
                self._add_name(prefix + name, entry)

    def _add_name(self, path: bytes, entry: os.stat_result) -> None:
        self.linked_names += 1
        if self.linked_names > MOST_LINKED_NAMES:
            raise Undecidable(f"the tree has more than {MOST_LINKED_NAMES} names of hard links")
        self.names.setdefault((entry.st_dev, entry.st_ino), []).append(path)

    def take_over(self, other: Tally) -> None:
        """Be what another one is, whose names are none of this one's."""
        self.names.update(other.names)
        self.entries, self.files, self.size = other.entries, other.files, other.size
        self.linked_names = other.linked_names

    def groups(self) -> Iterator[list[bytes]]:
        """The names of each file that has several of them in the tree."""
        return (names for names in self.names.values() if len(names) > 1)


@dataclass(frozen=True)
class Tree:
    """A tree to scan. What changed from `young_ns` on (since 1970) may change again without a trace."""

    root: bytes
    selection: Selection
    one_file_system: bool
    young_ns: int


def scan(tree: Tree, tally: Tally) -> Iterator[Block]:
    """Every entry that travels, the root first. What goes away meanwhile is not there.

    Raises Undecidable when only a full push can tell what is in the tree.
    """
    # The root may be a link to the directory that is meant.
    top = os.lstat(tree.root + b"/.")
    walk = _Walk(tree, tally, top.st_dev)
    yield walk.block(ROOT, [(ROOT, top)])
    while walk.pending:
        yield from walk.blocks_of(walk.pending.pop())


def scan_beside(tree: Tree, tally: Tally) -> Generator[Block, None, None]:
    """The same, by a process of its own; the tally is complete when the last block has come."""

    def met() -> Iterator[Block | Tally]:
        counted = Tally()
        yield from scan(tree, counted)
        yield counted

    with beside("the scan", met) as found:
        for each in found:
            if isinstance(each, Tally):
                tally.take_over(each)
            else:
                yield each


class _Walk:
    """Goes from directory to directory; those that are still to be visited are pending, the next one last."""

    def __init__(self, tree: Tree, tally: Tally, top_device: int) -> None:
        self.pending = [ROOT]
        self._tree = tree
        self._tally = tally
        self._top_device = top_device
        self._ages = _Ages(tree.young_ns)

    def blocks_of(self, directory: bytes) -> Iterator[Block]:
        prefix = directory + b"/" if directory else b""
        within: list[bytes] = []
        for names in _in_parts(_names(self._tree.root + b"/" + directory)):
            found = self._find(directory, prefix, names)
            if found:
                yield self.block(directory, found)
            within += [prefix + name for name, entry in found if self._is_to_be_visited(entry)]
        within.reverse()
        self.pending += within

    def _find(self, directory: bytes, prefix: bytes, names: list[bytes]) -> list[_Found]:
        """Of these names those that are there and travel, each with what lstat says of it."""
        start = self._tree.root + b"/" + prefix
        try:
            found = list(zip(names, map(os.lstat, [start + name for name in names])))
        except OSError:
            found = list(self._find_one_by_one(prefix, names))
        if not self._tree.selection.speaks_of(directory):
            return found
        takes = self._tree.selection.takes
        return [each for each in found if takes(prefix + each[0], S_IFMT(each[1].st_mode) == S_IFDIR)]

    def _find_one_by_one(self, prefix: bytes, names: list[bytes]) -> Iterator[_Found]:
        root, takes = self._tree.root + b"/", self._tree.selection.takes
        for name in names:
            path = prefix + name
            try:
                yield name, os.lstat(root + path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if takes(path, True) or takes(path, False):
                    raise Undecidable(f"{os.fsdecode(root + path)} cannot be looked at: {error.strerror}") from error

    def _is_to_be_visited(self, entry: os.stat_result) -> bool:
        return S_IFMT(entry.st_mode) == S_IFDIR and not self._is_outside(entry.st_dev)

    def _is_outside(self, device: int) -> bool:
        return self._tree.one_file_system and device != self._top_device

    def block(self, directory: bytes, found: list[_Found]) -> Block:
        """What the index keeps of these entries, which are counted."""
        prefix = directory + b"/" if directory else b""
        self._tally.add(prefix, found)
        names = [name for name, _ in found]
        devices = [entry.st_dev for _, entry in found]
        young = {device: self._young_ns(device, prefix + name) for device, name in dict(zip(devices, names)).items()}
        rows = [_AS_PACKED(entry) for _, entry in found]
        settled = all(row[_CHANGED] < young[device] for row, device in zip(rows, devices))
        if not settled:
            rows = [_unsettled_from(young[device], row) for row, device in zip(rows, devices)]
        return Block(
            directory,
            names=b"\0".join(names),
            stats=b"".join(starmap(STAT.pack, rows)),
            devices=b"".join(map(DEVICE.pack, young if len(young) == 1 else devices)),
            settled=settled,
        )

    def _young_ns(self, device: int, path: bytes) -> int:
        """What is mounted here and does not travel may be of any age."""
        if self._is_outside(device):
            return _FOR_EVER_NS
        return self._ages.young_ns(device, self._tree.root + b"/" + path)


def _unsettled_from(young_ns: int, row: _Row) -> _Row:
    return row if row[_CHANGED] < young_ns else (*row[:_CHANGED], TOO_YOUNG, *row[_CHANGED + 1 :])


def _in_parts(names: list[bytes]) -> Iterator[list[bytes]]:
    return (names[at : at + MOST_ENTRIES_OF_A_BLOCK] for at in range(0, len(names), MOST_ENTRIES_OF_A_BLOCK))


def _names(where: bytes) -> list[bytes]:
    """The names in a directory, in order."""
    try:
        return sorted(os.listdir(where))  # noqa: PTH208 - names are bytes, and no object for each
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Undecidable(f"{os.fsdecode(where)} cannot be read: {error.strerror}") from error


class _Ages:
    """Knows of each file system from when on a change is too young to be sure of it."""

    def __init__(self, young_ns: int) -> None:
        self._young_ns = young_ns
        self._known: dict[int, int] = {}
        self._mounts = read_mounts()

    def young_ns(self, device: int, where: bytes) -> int:
        """Raises Undecidable on a file system whose change times mean little."""
        if device not in self._known:
            self._known[device] = self._look(os.path.realpath(where))
        return self._known[device]

    def _look(self, where: bytes) -> int:
        kind = kind_at(where, self._mounts)
        if kind in _ALWAYS_YOUNG:
            return _FOR_EVER_NS
        if kind not in _TRUSTED:
            raise Undecidable(f"{os.fsdecode(where)} is on {kind}, whose change times are not to be trusted")
        return self._young_ns
