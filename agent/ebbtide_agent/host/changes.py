"""What a push has to say: the old index and the new scan, read side by side, as the lists that rsync is given. Pure.

A list names what changed and no more, in the shape that leaves the receiver's tree as a full push would leave an
empty one: what must go first, by its top; then everything new or changed, hard links with all their names.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Callable

from ebbtide_agent.host.index import STAT, Block, Entry, is_settled, walk_key
from ebbtide_agent.twice import found_twice

# From here on a changed file is written in place: what a night dirties on the volume is what a snapshot costs.
LARGE_BYTES = 16 << 20
# Beyond this a full push is quicker, and rewrites less.
MOST_CHANGES = 100_000
# Files that look the same are listed whatever their number, but only about so many at once.
SUSPECTS_OF_A_PART = 100_000

# Names of files by device and inode.
Names = Mapping[tuple[int, int], list[bytes]]
_Pairs = Iterator[tuple["Entry | None", "Entry | None"]]


@dataclass(frozen=True)
class Changes:
    """Paths within the tree, the root's empty, each list without doubles.

    `gone` is deleted first: what is no more, what became another kind, and what is no regular file and would
    otherwise stay linked. `in_place` are large files with one name, before and now. `inodes` are those that the scan
    found at the paths of these two.
    """

    gone: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    in_place: tuple[bytes, ...]
    inodes: Mapping[bytes, int] = field(default_factory=dict, compare=False)

    def and_also(self, more: Changes) -> Changes:
        """Both, where all of `more` is there before and after, and is to be written anew."""
        known, changed = set(self.changed), dict.fromkeys((*self.changed, *more.changed))
        gone = (*self.gone, *(path for path in more.gone if path not in known))
        in_place = tuple(path for path in self.in_place if path not in changed)
        return Changes(gone, tuple(changed), in_place, {**self.inodes, **more.inodes})


@dataclass(frozen=True)
class _Stat:
    kind: int
    links: int
    size: int
    inode: tuple[int, int]


@dataclass
class Turnover:
    """How many regular files of the old index are gone, or have another size or time; and the paths whose group has
    other permissions now: that is what a chmod of something with an ACL comes to. None: too many to list."""

    files: int = 0
    regrouped: list[bytes] | None = field(default_factory=list)

    def watch(self, pairs: _Pairs) -> _Pairs:
        for before, after in pairs:
            self.files += before is not None and _is_another_file(before, after)
            if before and after and self.regrouped is not None and _is_regrouped(before, after):
                self.regrouped.append(after.path)
                if len(self.regrouped) > MOST_CHANGES:
                    self.regrouped = None
            yield before, after


def find_changes(
    old: Iterable[Block],
    new: Iterable[Block],
    names: Names,
    links_agree: bool,
    turnover: Turnover | None = None,
    of_one_night: bool = False,
) -> Changes | None:
    """The changes from `old` to `new`, both in the order of a walk; None when there are too many to list.

    `new` is read to its end whatever comes; only then `names` must hold the names of every file with several links.
    `links_agree`: the receiver's tree has the hard links of `old` and no others. Without that nothing is in place:
    a name that is still linked over there would change with the other. `turnover` counts, however many there are.
    `of_one_night`: what was too young to be sure of at the first of the two scans was pushed since, whatever it was.
    """
    listing = _Listing(links_agree)
    for before, after in (turnover or Turnover()).watch(_side_by_side(_Before(iter(old)), new, of_one_night)):
        if len(listing.gone) + len(listing.changed) <= MOST_CHANGES:
            listing.add(before, after)
    listing.complete_groups(names)
    total = len(listing.gone) + len(listing.changed) + len(listing.in_place)
    return listing.get() if total <= MOST_CHANGES else None


def count_turnover(old: Iterable[Block], new: Iterable[Block]) -> Turnover:
    """What has become of the files of `old`, both in the order of a walk, where no lists are needed."""
    turnover = Turnover()
    for _ in turnover.watch(_side_by_side(_Before(iter(old)), new, of_one_night=True)):
        pass
    return turnover


def distrusted(blocks: Iterable[Block], paths: Collection[bytes]) -> Iterator[Block]:
    """The same blocks, in which these paths, and all below them, look like nothing that can be there.

    So they are pushed anew, and never in place: a name that is still linked over there would change with them.
    """
    parents = {path.rpartition(b"/")[0] for path in paths}
    for block in blocks:
        is_below = _is_one_or_below(block.directory, paths)
        if is_below or block.directory in parents:
            stats = (_unlinked(each.stat) if is_below or each.path in paths else each.stat for each in block.entries())
            yield block._replace(stats=b"".join(stats))
        else:
            yield block


def _is_one_or_below(directory: bytes, paths: Collection[bytes]) -> bool:
    while directory and directory not in paths:
        directory = directory.rpartition(b"/")[0]
    return bool(directory)


def _unlinked(packed: bytes) -> bytes:
    """What is there has at least one name."""
    mode, uid, gid, _, *rest = STAT.unpack(packed)
    return STAT.pack(mode, uid, gid, 0, *rest)


def find_suspects(read: Callable[[], Iterable[Entry]]) -> Iterator[Changes]:
    """What may be linked over there and is not here, to be written anew after a push in full; in parts, to be listed.

    rsync finds a file in order that looks as it should, and so leaves two names linked that here are two files, if
    those look the same; the owner, mode and time of the one are then the other's as well. `read` reads all entries, as
    often as needed. All names of a file are in one part.
    """
    common = found_twice(_once_a_file(read()))
    count = sum(_likeness(entry) in common for entry in read()) if common else 0
    parts = -(-count // SUSPECTS_OF_A_PART)
    for part in range(parts):
        gone, changed = [], []
        for entry in read():
            likeness = _likeness(entry)
            if likeness in common and likeness % parts == part:
                changed.append(entry.path)
                if _read(entry).kind != stat.S_IFREG:
                    gone.append(entry.path)
        yield Changes(tuple(gone), tuple(changed), ())


def find_mount_points(entries: Iterable[Entry]) -> tuple[bytes, ...]:
    """Of the entries of a tree, the root first, the directories that something else is mounted on and is no part of it.

    The root's device is the one that was found with them: mounted anew since, it may have another number, and whatever
    is on the old one would be something else. A mount that only a look into it brings about is found without, and with
    what is in it.
    """
    tree = iter(entries)
    top = next(tree, None)
    points: dict[bytes, None] = {}
    for each in tree:
        points.pop(each.path.rpartition(b"/")[0], None)
        if top and each.device != top.device and _read(each).kind == stat.S_IFDIR:
            points[each.path] = None
    return tuple(points)


def _once_a_file(entries: Iterable[Entry]) -> Iterator[int]:
    """The likeness of each file, whatever number of names it has."""
    met: set[tuple[int, int]] = set()
    for entry in entries:
        read, likeness = _read(entry), _likeness(entry)
        if likeness is None or read.inode in met:
            continue
        if read.links > 1:
            met.add(read.inode)
        yield likeness


def _likeness(entry: Entry) -> int | None:
    """A number that two files share if rsync may take them for the same; None for a directory, which it never does.

    A regular file is another one if its time is. Of a symlink rsync compares where it leads, of the rest the kind.
    """
    kind, size, mtime = _size_and_time(entry)
    if kind == stat.S_IFDIR:
        return None
    looks = {stat.S_IFREG: (size, mtime), stat.S_IFLNK: (size,)}.get(kind, ())
    return hash((kind, *looks)) % 2**64


class _Listing:
    """The lists while they grow."""

    def __init__(self, links_agree: bool) -> None:
        self.gone: dict[bytes, None] = {}
        self.changed: dict[bytes, int] = {}
        self.in_place: dict[bytes, int] = {}
        self._links_agree = links_agree
        self._groups: dict[tuple[int, int], int] = {}
        self._gone_directories: set[bytes] = set()

    def add(self, before: Entry | None, after: Entry | None) -> None:
        old, new = (None if entry is None else _read(entry) for entry in (before, after))
        if before and old and (new is None or _must_go(old, new)):
            self._delete(before.path, old)
        if after is None or new is None:
            return
        path = after.path
        if self._links_agree and old and _may_change_in_place(old, new):
            self.in_place[path] = new.inode[1]
            return
        self.changed[path] = new.inode[1]
        if new.links > 1 and new.kind != stat.S_IFDIR:
            self._groups[new.inode] = new.kind

    def complete_groups(self, names: Names) -> None:
        """A name alone would come out as a file of its own, or leave the others as they were."""
        for inode, kind in self._groups.items():
            for path in names.get(inode, ()):
                if path not in self.changed and kind != stat.S_IFREG:
                    self.gone[path] = None
                self.in_place.pop(path, None)
                self.changed[path] = inode[1]

    def get(self) -> Changes:
        inodes = {**self.changed, **self.in_place}
        return Changes(tuple(self.gone), tuple(self.changed), tuple(self.in_place), inodes)

    def _delete(self, path: bytes, old: _Stat) -> None:
        """Of a subtree only its top: rsync fails over a member that went with it."""
        if path.rpartition(b"/")[0] not in self._gone_directories:
            self.gone[path] = None
        if old.kind == stat.S_IFDIR:
            self._gone_directories.add(path)


def _must_go(old: _Stat, new: _Stat) -> bool:
    """rsync rewrites a changed file and mends a directory; anything else it may leave as it is, linked as it was."""
    return old.kind != new.kind or new.kind not in (stat.S_IFREG, stat.S_IFDIR)


def _is_another_file(before: Entry, after: Entry | None) -> bool:
    was = _size_and_time(before)
    return was[0] == stat.S_IFREG and (after is None or was != _size_and_time(after))


def _is_regrouped(before: Entry, after: Entry) -> bool:
    (was, *_), (mode, *_) = STAT.unpack(before.stat), STAT.unpack(after.stat)
    return bool((was ^ mode) & stat.S_IRWXG)


def _size_and_time(entry: Entry) -> tuple[int, int, int]:
    mode, _, _, _, size, mtime, _, _ = STAT.unpack(entry.stat)
    return stat.S_IFMT(mode), size, mtime


def _may_change_in_place(old: _Stat, new: _Stat) -> bool:
    both = (old, new)
    return new.size >= LARGE_BYTES and all(each.kind == stat.S_IFREG and each.links == 1 for each in both)


def _read(entry: Entry) -> _Stat:
    mode, _, _, links, size, _, _, inode = STAT.unpack(entry.stat)
    return _Stat(stat.S_IFMT(mode), links, size, (entry.device, inode))


class _Before:
    """The old index while it is read: the next block as long as nothing of it was taken, and the next entry."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._entries: deque[Entry] = deque()
        self.block = next(blocks, None)

    def skip_block(self) -> None:
        self.block = next(self._blocks, None)
        self._entries.clear()

    def entry(self) -> Entry | None:
        if not self._entries and self.block:
            self._entries.extend(self.block.entries())
        return self._entries[0] if self._entries else None

    def take(self) -> Entry | None:
        """The entry after this one."""
        self._entries.popleft()
        self.block = None if self._entries else next(self._blocks, None)
        return self.entry()


def _side_by_side(old: _Before, new: Iterable[Block], of_one_night: bool) -> _Pairs:
    """Each entry that is not the same in both: what it was, and what it is."""
    for block in new:
        if old.block and block.is_as(old.block):
            old.skip_block()
            continue
        for after in block.entries():
            before = old.entry()
            while before and before.path != after.path and walk_key(before.path) < walk_key(after.path):
                yield before, None
                before = old.take()
            if before is None or before.path != after.path:
                yield None, after
                continue
            if before.stat != after.stat or not (of_one_night or is_settled(after.stat)):
                yield before, after
            old.take()
    while before := old.entry():
        yield before, None
        old.take()


def with_what_leads_to(paths: Iterable[bytes]) -> Iterator[bytes]:
    """The paths and every directory above them but the root, each once and before what is in it.

    Named, a directory comes with the attributes that are to travel; rsync (3.5.0) sends all of them of one that is only
    implied, and over there the kernel's own ACL then takes the place of the one that a restore can read.
    """
    named: set[bytes] = set()
    for path in paths:
        leading = []
        while path and path not in named:
            named.add(path)
            leading.append(path)
            path = path.rpartition(b"/")[0]
        yield from reversed(leading)


def as_list(paths: Iterable[bytes]) -> bytes:
    """Paths as rsync reads them with --from0. The dot has it mend the root, which leads to all of them."""
    return b"".join(b"./" + path + b"\0" for path in paths)
