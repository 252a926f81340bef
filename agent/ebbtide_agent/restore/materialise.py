"""Turning a fake-super tree into a real one, in place, on a copy that is thrown away afterwards."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ebbtide_agent.beside import beside
from ebbtide_agent.entry import read_xattrs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import REAL_ACL, STAT, Recorded, read_link, real_xattrs, recorded_stat
from ebbtide_agent.walk import ROOT, Found, prefix_of, reached

# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP: bits of the kernel's capability mask.
_NEEDED = sum(1 << capability for capability in (0, 1, 3, 4, 27, 31))
# A chown may take them away.
_SET_ID = stat.S_ISUID | stat.S_ISGID
_WORKSHOP = ".ebbtide-making-real"
# More than a small machine has cores: a volume that is new from its snapshot lets whoever reads it wait.
_AT_ONCE = 4

# For what is shorter there is room, unless there is none at all: nodes of a btrfs have 4 KiB.
_LONG = 3 << 10

# The inode that several names may share, and one of them: its path within the tree.
_Name = tuple[int, bytes]


@dataclass(frozen=True)
class _Directory:
    """A directory as it was found, and what lies in it but for further directories."""

    path: bytes
    stat: os.stat_result
    names: Sequence[bytes]


def is_allowed() -> bool:
    """Whether this process may give files any owner and make devices: real root, not that of a user namespace."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(status["CapEff"], 16)
    own_ids = Path("/proc/self/uid_map").read_text().split()
    return held & _NEEDED == _NEEDED and own_ids == ["0", "0", "4294967295"]


def materialise(tree: Path, munged: bool = False) -> None:
    """Make the tree real. Needs to be allowed to, and a tree that nobody else can write to meanwhile. Raises OSError,
    and PermanentError for a tree that was left half made real: what was in hand then is nowhere any more.

    Several processes do it, each in directories of its own. What has to be made anew is made beside the tree, so that
    no name in it can be in the way; and where that is done lies there until all of it is. Names of one inode come when
    those are done, and the times of directories last, once nothing below them changes any more.
    """
    # Absolute, as the processes go where they work.
    tree = tree.absolute()
    base = os.fsencode(tree)
    directories = list(_directories(base))
    workshop = _workshop(tree)
    with ExitStack() as at_work:
        parts = [
            at_work.enter_context(beside("making the tree real", partial(_make_real, base, share, maker)))
            for share, maker in zip(
                _shares(directories), (_Maker(os.fsencode(f"{workshop}/{n}"), munged) for n in range(_AT_ONCE))
            )
        ]
        linked = [name for part in parts for name in part]
    _make_linked_real(base, linked, _Maker(os.fsencode(f"{workshop}/linked"), munged))
    for each in directories:
        with reached(base, each.path) as where:
            os.utime(where, ns=(each.stat.st_atime_ns, each.stat.st_mtime_ns))
    workshop.rmdir()


def _workshop(tree: Path) -> Path:
    made = tree.parent / _WORKSHOP
    try:
        made.mkdir(mode=0o700)
    except FileExistsError:
        raise PermanentError(
            f"{tree} was being made real, which did not come to its end: take a new volume from the same snapshot"
        ) from None
    return made


def _directories(base: bytes) -> Iterator[_Directory]:
    pending = [ROOT]
    while pending:
        path = pending.pop()
        names = []
        with reached(base, path) as where, os.scandir(where) as entries:
            found = os.lstat(where)
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(prefix_of(path) + entry.name)
                else:
                    names.append(entry.name)
        yield _Directory(path, found, names)


def _shares(directories: Sequence[_Directory]) -> list[list[_Directory]]:
    """What each process has to do: directories that lie together, with as many names as the others, or nearly."""
    shares: list[list[_Directory]] = [[] for _ in range(_AT_ONCE)]
    all_names, before = sum(1 + len(each.names) for each in directories), 0
    for each in directories:
        shares[before * _AT_ONCE // all_names].append(each)
        before += 1 + len(each.names)
    return shares


def _make_real(base: bytes, directories: Sequence[_Directory], maker: _Maker) -> Iterator[_Name]:
    """Make these directories real and what is in them; the names of what has several, which is left as it is.

    It goes into each directory, where names are quicker to look up: for a process of its own.
    """
    for directory in directories:
        with reached(base, directory.path) as where:
            os.chdir(where)
        for name in directory.names:
            found = os.lstat(name)
            if found.st_nlink > 1:
                yield found.st_ino, prefix_of(directory.path) + name
            else:
                maker.make_real(Found(prefix_of(directory.path) + name, name, found, None))
        maker.make_real(Found(directory.path, ROOT, directory.stat, None))


def _make_linked_real(base: bytes, linked: Sequence[_Name], maker: _Maker) -> None:
    names: dict[int, list[bytes]] = {}
    for inode, path in linked:
        names.setdefault(inode, []).append(path)
    for first, *others in names.values():
        with reached(base, first) as where:
            if maker.make_real(Found(first, where, os.lstat(where), None)):
                for other in others:
                    with reached(base, other) as place:
                        maker.link(where, place)


@dataclass(frozen=True)
class _Maker:
    """Makes one name after the other real; what it makes anew is called `workshop` at first."""

    workshop: bytes
    munged: bool

    def make_real(self, found: Found) -> bool:
        """Whether it was made anew. A symlink that lies there as one is left alone, never followed."""
        stored = read_xattrs(found)
        recorded = recorded_stat(found.stat, stored.get(STAT))
        attributes = real_xattrs(stored, recorded.mode)
        if stat.S_IFMT(recorded.mode) in (stat.S_IFREG, stat.S_IFDIR):
            _settle(found, recorded, stored, attributes)
            return False
        if not stat.S_ISREG(found.stat.st_mode):
            return False
        return self._make_anew(found, recorded, attributes)

    def link(self, first: bytes, other: bytes) -> None:
        os.link(first, self.workshop, follow_symlinks=False)
        os.rename(self.workshop, other)  # noqa: PTH104 - paths are bytes

    def _make_anew(self, found: Found, recorded: Recorded, attributes: Mapping[str, bytes]) -> bool:
        """Whether a plain file has given way to the symlink, device, FIFO or socket that it stands for.

        Not to a symlink too long for this file system, as a btrfs with small nodes: whoever compares names it.
        """
        if not stat.S_ISLNK(recorded.mode):
            os.mknod(self.workshop, stat.S_IFMT(recorded.mode) | 0o600, os.makedev(*recorded.rdev))
        elif not _is_linked(self.workshop, read_link(found, self.munged)):
            return False
        _own(self.workshop, recorded)
        if not stat.S_ISLNK(recorded.mode):
            os.chmod(self.workshop, stat.S_IMODE(recorded.mode))  # noqa: PTH101 - paths are bytes
        for name, value in attributes.items():
            _give(self.workshop, recorded, name, value)
        times = (found.stat.st_atime_ns, found.stat.st_mtime_ns)
        os.utime(self.workshop, ns=times, follow_symlinks=False)
        os.rename(self.workshop, found.where)  # noqa: PTH104 - paths are bytes
        return True


def _settle(found: Found, recorded: Recorded, stored: Mapping[str, bytes], attributes: Mapping[str, bytes]) -> None:
    """A file or directory stays what it is, and gets its owner, mode and attributes; none of that changes its times.

    Owner, then mode, then attributes: a chown takes setuid bits and capabilities away, an ACL needs its mode. Those of
    the store go first: there may be no room for one more beside them.
    """
    _own(found.where, recorded)
    mode = stat.S_IMODE(recorded.mode)
    if mode & _SET_ID or mode != stat.S_IMODE(found.stat.st_mode):
        os.chmod(found.where, mode)  # noqa: PTH101 - paths are bytes
    for name in stored:
        if name not in attributes:
            os.removexattr(found.where, name, follow_symlinks=False)
    for name, value in attributes.items():
        if stored.get(name) != value:
            _give(found.where, recorded, name, value)


def _give(where: bytes, recorded: Recorded, name: str, value: bytes) -> None:
    """An attribute, but for one that is too long for this file system: whoever compares names it.

    Without its ACL the group would have what the ACL lets anybody have at most; so it has nothing.
    """
    try:
        os.setxattr(where, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOSPC or len(value) < _LONG:
            raise
        if name == REAL_ACL:
            os.chmod(where, stat.S_IMODE(recorded.mode) & ~stat.S_IRWXG)  # noqa: PTH101 - paths are bytes


def _is_linked(where: bytes, target: bytes) -> bool:
    """Whether there is room for so long a target."""
    try:
        os.symlink(target, where)  # noqa: PTH211 - paths are bytes
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
    return True


def _own(where: bytes, recorded: Recorded) -> None:
    os.chown(where, recorded.uid, recorded.gid, follow_symlinks=False)
