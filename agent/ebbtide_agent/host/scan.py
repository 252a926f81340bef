"""A fast scan of what travels: an lstat for each entry, in the order of a walk."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import compress, starmap
from operator import attrgetter, itemgetter
from stat import S_ISDIR
from typing import Callable
from zlib import crc32

from ebbtide_agent.host.index import DEVICE, MOST_ENTRIES_OF_A_BLOCK, ROOT, STAT, Block, as_young, place_in_walk
from ebbtide_agent.host.look import looking
from ebbtide_agent.host.mounts import kind_at, read_mounts
from ebbtide_agent.host.selection import Selection, Undecidable

# A change in the same tick of the clock leaves no trace, and neither does one through a memory map until the kernel has
# written the page back, half a minute later: what changed within a minute before the scan may look the same next time.
YOUNG_NS = 60 * 10**9

# Where the kernel itself keeps a change time to be trusted. Elsewhere (network, FUSE) every push is a full one.
_TRUSTED = (
    "bcachefs", "btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "proc",
    "ramfs", "reiserfs", "squashfs", "sysfs", "tmpfs", "xfs", "zfs",
)  # fmt: skip
# Small as they are, for instance below /boot/efi, all of them is pushed every night.
_ALWAYS_YOUNG = ("exfat", "msdos", "vfat")
_FOR_EVER_NS = -(1 << 62)

MOST_WALKS = 2
# How many names a path has at most that is shared by itself. Fewer, and one walk waits for the other, whose share comes
# in one piece; more, and both read every directory. With 210,000 entries five and six took least time.
_SHARED_DEPTH = 6

# Of what lstat says that which the index packs, in its order; one of these is when the entry has changed.
_Row = tuple[int, ...]
AS_PACKED: Callable[[os.stat_result], _Row] = attrgetter(
    "st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"
)
_CHANGED = 6
_WHEN: Callable[[_Row], int] = itemgetter(_CHANGED)
_DEVICE: Callable[[os.stat_result], int] = attrgetter("st_dev")


@dataclass(frozen=True)
class Tree:
    """A tree to scan. What changed from `young_ns` on (since 1970) may change again without a trace."""

    root: bytes
    selection: Selection
    one_file_system: bool
    young_ns: int


@dataclass(frozen=True)
class Share:
    """One of `of` shares that together have each directory once.

    A directory's path alone says whose it is: two walks agree without a word, whatever comes and goes meanwhile. What
    is far down is its ancestor's, so that one walk alone reads it.
    """

    number: int
    of: int

    def has(self, directory: bytes) -> bool:
        leading = b"/".join(directory.split(b"/", _SHARED_DEPTH)[:_SHARED_DEPTH])
        return crc32(leading) % self.of == self.number

    def leads_to(self, directory: bytes) -> bool:
        """Whether the share has this directory, or may have some below it."""
        return directory.count(b"/") + 1 < _SHARED_DEPTH or self.has(directory)


ALL = Share(0, 1)


def scan(tree: Tree, share: Share = ALL) -> Iterator[Block]:
    """Every entry that travels of the directories in a share, the root first. What goes away meanwhile is not there.

    Raises Undecidable when only a full push can tell what is in the tree. It goes into each directory, where names are
    quicker to look up: for a process of its own.
    """
    # The root may be a link to the directory that is meant.
    top = os.lstat(tree.root + b"/.")
    walk = _Walk(tree, top.st_dev, share)
    if share.has(ROOT):
        yield walk.block(ROOT, [ROOT], [top])
    while walk.pending:
        yield from walk.blocks_of(walk.pending.pop())


@contextmanager
def scan_beside(tree: Tree) -> Iterator[Iterator[Block]]:
    """The whole scan, by processes of their own: two where there are two cores, each with its share."""
    walks = min(MOST_WALKS, len(os.sched_getaffinity(0)))
    with ExitStack() as under_way:
        parts = [
            under_way.enter_context(looking("the scan", partial(scan, tree, Share(number, walks))))
            for number in range(walks)
        ]
        yield as_one(parts)


def as_one(shares: Iterable[Iterator[Block]]) -> Iterator[Block]:
    """Shares of one tree as a single walk would have it: no directory's contents without the directory before them.

    A directory's own entry is of the share that has its parent; what is in it may be of another, which looked a moment
    earlier or later. Contents of what was no directory, or not there, when its entry was due are left to the next
    night. An index that had them would say that they are over there, though they went with what is deleted tonight.
    """
    awaited = [place_in_walk(ROOT)]
    for block in heapq.merge(*shares, key=attrgetter("key")):
        place = place_in_walk(block.directory)
        while awaited and awaited[0] < place:
            heapq.heappop(awaited)
        if awaited and awaited[0] == place:
            for directory in block.leads_to:
                heapq.heappush(awaited, place_in_walk(directory))
            yield block


class _Walk:
    """Goes from directory to directory; those that are still to be visited are pending, the next one last.

    Of a directory that is not in its share it only reads which directories are in there.
    """

    def __init__(self, tree: Tree, top_device: int, share: Share) -> None:
        self.pending = [ROOT]
        self._tree = tree
        self._top_device = top_device
        self._share = share
        self._ages = _Ages(tree.young_ns)

    def blocks_of(self, directory: bytes) -> Iterator[Block]:
        prefix = directory + b"/" if directory else b""
        within: list[bytes] = []
        ours = self._share.has(directory)
        for part in _in_parts(_go_into(self._tree.root + b"/" + directory, _names if ours else _directories)):
            names, stats = self._look(directory, prefix, part)
            directories = [(name, entry) for name, entry in zip(names, stats) if S_ISDIR(entry.st_mode)]
            inside = [prefix + name for name, entry in directories if not self._is_outside(entry.st_dev)]
            if names and ours:
                yield self.block(directory, names, stats, inside)
            within += filter(self._share.leads_to, inside)
        within.reverse()
        self.pending += within

    def _look(self, directory: bytes, prefix: bytes, names: list[bytes]) -> tuple[list[bytes], list[os.stat_result]]:
        """Of these names in the directory that we are in those that are there and travel; what lstat says of each."""
        try:
            stats = list(map(os.lstat, names))
        except OSError:
            names, stats = self._look_at_each(prefix, names)
        if not self._tree.selection.speaks_of(directory):
            return names, stats
        takes = self._tree.selection.takes
        travels = [takes(prefix + name, S_ISDIR(entry.st_mode)) for name, entry in zip(names, stats)]
        return list(compress(names, travels)), list(compress(stats, travels))

    def _look_at_each(self, prefix: bytes, names: list[bytes]) -> tuple[list[bytes], list[os.stat_result]]:
        there, stats = [], []
        for name in names:
            try:
                stats.append(os.lstat(name))
                there.append(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                path, takes = prefix + name, self._tree.selection.takes
                if takes(path, True) or takes(path, False):
                    where = os.fsdecode(self._tree.root + b"/" + path)
                    raise Undecidable(f"{where} cannot be looked at: {error.strerror}") from error
        return there, stats

    def _is_outside(self, device: int) -> bool:
        return self._tree.one_file_system and device != self._top_device

    def block(
        self, directory: bytes, names: list[bytes], stats: list[os.stat_result], leads_to: Iterable[bytes] = ()
    ) -> Block:
        """What the index keeps of these entries, and where the walk goes from them."""
        rows = list(map(AS_PACKED, stats))
        devices = list(map(_DEVICE, stats))
        prefix = directory + b"/" if directory else b""
        young = {device: self._young_ns(device, prefix + name) for device, name in dict(zip(devices, names)).items()}
        settled = max(map(_WHEN, rows)) < min(young.values())
        if not settled:
            rows = [_unsettled_from(young[device], row) for row, device in zip(rows, devices)]
        return Block(
            directory,
            names=b"\0".join(names),
            stats=b"".join(starmap(STAT.pack, rows)),
            devices=b"".join(map(DEVICE.pack, young if len(young) == 1 else devices)),
            settled=settled,
            leads_to=tuple(leads_to),
        )

    def _young_ns(self, device: int, path: bytes) -> int:
        """What is mounted here and does not travel may be of any age."""
        if self._is_outside(device):
            return _FOR_EVER_NS
        return self._ages.young_ns(device, self._tree.root + b"/" + path)


def is_trusted(kind: str) -> bool:
    """Whether a file system of this kind can be scanned."""
    return kind in (*_TRUSTED, *_ALWAYS_YOUNG)


def _unsettled_from(young_ns: int, row: _Row) -> _Row:
    return row if _WHEN(row) < young_ns else (*row[:_CHANGED], as_young(_WHEN(row)), *row[_CHANGED + 1 :])


def _in_parts(names: list[bytes]) -> Iterator[list[bytes]]:
    return (names[at : at + MOST_ENTRIES_OF_A_BLOCK] for at in range(0, len(names), MOST_ENTRIES_OF_A_BLOCK))


def _names() -> list[bytes]:
    return os.listdir(b".")  # noqa: PTH208 - names are bytes, and no object for each


def _directories() -> list[bytes]:
    with os.scandir(b".") as found:
        return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]


def _go_into(where: bytes, read: Callable[[], list[bytes]]) -> list[bytes]:
    """Make this the working directory, and have the names that are read there, in order; none if it is gone."""
    try:
        os.chdir(where)
        names = read()
        names.sort()
        return names
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
        if not is_trusted(kind):
            raise Undecidable(f"{os.fsdecode(where)} is on {kind}, whose change times are not to be trusted")
        return self._young_ns
