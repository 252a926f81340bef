"""Quotas on ext4: each host's tree is a project, by number, and what is made in it belongs to it as well."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import stat
import struct
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError, TransientError

OPTION = "prjquota"
# What mkfs.ext4 makes one inode for: whose share of the bytes is a tenth may have a tenth of the inodes.
BYTES_FOR_AN_INODE = 16384
# rsync makes nothing deeper: PATH_MAX is 4096, and a part is a letter and a slash. Each takes files and memory of ours.
_DEEPEST = 2048
# No host is let in yet: what is no link now stays none.
_AS_IT_LIES = os.O_RDONLY | os.O_NOFOLLOW

# linux/fs.h: struct fsxattr is flags, two hints, the project, another hint, and padding.
_FSXATTR = struct.Struct("=5I8x")
_GET_FLAGS, _SET_FLAGS, _INHERITED = 0x801C581F, 0x401C5820, 0x200
# linux/quota.h; the system call has this number on every architecture.
_QUOTACTL_FD, _GET, _SET, _OF_A_PROJECT = 443, 0x800007, 0x800008, 2
_BLOCK, _LIMITS = 1024, 0b101


class _Quota(ctypes.Structure):
    """struct if_dqblk: limits in blocks of a KiB and in inodes, 0 for none; what is used in bytes."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("most", "soft", "used", "most_inodes", "soft_inodes", "inodes")),
        *((name, ctypes.c_uint64) for name in ("grace", "inode_grace")),
        ("valid", ctypes.c_uint32),
    )


def enable(device: Path) -> str | None:
    """Let a file system that is not mounted count by project; why it cannot, if it cannot. Once more is success."""
    ended = procs.run(("tune2fs", "-O", "project,quota", "-Q", OPTION, str(device)))
    return None if ended.exit_code == 0 else ended.why


def disable(device: Path) -> None:
    """So that a kernel without quotas mounts it, too. Raises PermanentError."""
    procs.check(("tune2fs", "-O", "^project,^quota", str(device)))


def mark(tree: Path, project: int, until: float) -> None:
    """Make a tree a project, which the kernel keeps it from then on.

    Raises TransientError when it is `until` on the monotonic clock: the next call goes on with the rest. And
    PermanentError where it is deeper than rsync makes one.
    """
    try:
        with _files_for_the_deepest():
            for descriptor in _from_below(tree, project, until):
                if _project_of(descriptor) != project:
                    _set_project(descriptor, project)
    except OSError as error:
        raise PermanentError(f"{tree} cannot be made project {project}: {error}") from error


def limit(place: Path, project: int, most: int | None) -> None:
    """Let a project hold `most` bytes and its share of the inodes, or as much as there is. Raises PermanentError."""
    blocks, inodes = (0, 0) if most is None else (most // _BLOCK, most // BYTES_FOR_AN_INODE)
    _quotactl(_SET, place, project, _Quota(most=blocks, most_inodes=inodes, valid=_LIMITS))


def used(place: Path, project: int) -> int:
    """The bytes that a project holds. Raises PermanentError."""
    quota = _Quota()
    _quotactl(_GET, place, project, quota)
    return int(quota.used)


class _Directory:
    """One on the way down, open, and what in it is still to be looked at: nothing, once it is marked."""

    def __init__(self, descriptor: int, project: int) -> None:
        self.descriptor, self._rest = descriptor, _entries_unless_marked(descriptor, project)

    def find_next(self) -> os.DirEntry[str] | None:
        return next(self._rest, None)

    def open(self, name: str) -> int:
        return os.open(name, _AS_IT_LIES, dir_fd=self.descriptor)

    def close(self) -> None:
        self._rest.close()
        os.close(self.descriptor)


def _entries_unless_marked(descriptor: int, project: int) -> Generator[os.DirEntry[str]]:
    if _project_of(descriptor) != project:
        with os.scandir(descriptor) as entries:
            yield from entries


def _from_below(tree: Path, project: int, until: float) -> Iterator[int]:
    """Directories and files, open; what else a tree may have takes no blocks, and cannot be opened.

    Each is opened by its name in the directory above it: a host may have made a path longer than anybody can say. A
    directory comes after all that is in it, so that one which is marked is marked as a whole. No more of the tree is
    held than the way down: how much lies beside it is for its host to say. Raises TransientError when it is `until`.
    """
    way = [_Directory(os.open(tree, _AS_IT_LIES), project)]
    try:
        while way:
            here = way[-1]
            entry = here.find_next()
            if entry is None:
                yield here.descriptor
                way.pop().close()
            elif time.monotonic() >= until:
                raise TransientError(f"{tree} is not counted as a whole yet: the next night goes on with the rest")
            elif entry.is_dir(follow_symlinks=False):
                if len(way) > _DEEPEST:
                    raise PermanentError(f"{tree} is not counted: it is deeper than rsync makes a tree")
                way.append(_Directory(here.open(entry.name), project))
            elif entry.is_file(follow_symlinks=False):
                with os.fdopen(here.open(entry.name), "rb", buffering=0) as file:
                    yield file.fileno()
    finally:
        for directory in way:
            directory.close()


@contextlib.contextmanager
def _files_for_the_deepest() -> Iterator[None]:
    """Let us have each directory on the way down open, and be looking through it: a service has fewer."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, min(before + 2 * _DEEPEST, most)), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def _project_of(descriptor: int) -> int:
    return _read(descriptor)[3]


def _set_project(descriptor: int, project: int) -> None:
    flags, size, extents, _, cow = _read(descriptor)
    inherited = _INHERITED if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0
    fcntl.ioctl(descriptor, _SET_FLAGS, _FSXATTR.pack(flags | inherited, size, extents, project, cow))


def _read(descriptor: int) -> tuple[int, ...]:
    return _FSXATTR.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FSXATTR.size)))


def _quotactl(command: int, place: Path, project: int, quota: _Quota) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        words = (_QUOTACTL_FD, descriptor, command << 8 | _OF_A_PROJECT, project)
        call = ctypes.CDLL(None, use_errno=True).syscall
        if call(*map(ctypes.c_long, words), ctypes.byref(quota)) != 0:
            why = os.strerror(ctypes.get_errno())
            raise PermanentError(f"the quota of project {project} on {place}: {why}")
    finally:
        os.close(descriptor)
