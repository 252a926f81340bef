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
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError, TransientError

OPTION = "prjquota"
# What mkfs.ext4 makes one inode for: whose share of the bytes is a tenth may have a tenth of the inodes.
BYTES_FOR_AN_INODE = 16384
# PATH_MAX is 4096.
_MOST_PARTS = 2048

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

    Raises TransientError when it is `until` on the monotonic clock: the next call goes on with the rest.
    """
    with _files_for_the_deepest():
        for path in _unmarked_from_below(tree, project, until):
            _set_project(path, project)


def limit(place: Path, project: int, most: int | None) -> None:
    """Let a project hold `most` bytes and its share of the inodes, or as much as there is. Raises PermanentError."""
    blocks, inodes = (0, 0) if most is None else (most // _BLOCK, most // BYTES_FOR_AN_INODE)
    _quotactl(_SET, place, project, _Quota(most=blocks, most_inodes=inodes, valid=_LIMITS))


def used(place: Path, project: int) -> int:
    """The bytes that a project holds. Raises PermanentError."""
    quota = _Quota()
    _quotactl(_GET, place, project, quota)
    return int(quota.used)


def _unmarked_from_below(tree: Path, project: int, until: float) -> Iterator[Path]:
    """Directories and files, however deep; what else a tree may have takes no blocks, and cannot be opened.

    A directory comes after all that is in it, so that one which is marked is marked as a whole. No more of the tree is
    held than the way down: how much lies beside it is for its host to say. Raises TransientError when it is `until`.
    """
    way = [(tree, os.scandir(tree))] if _project_of(tree) != project else []
    try:
        while way:
            if time.monotonic() >= until:
                raise TransientError(f"{tree} is not counted as a whole yet: the next night goes on with the rest")
            directory, entries = way[-1]
            entry = next(entries, None)
            if entry is None:
                way.pop()[1].close()
                yield directory
            elif entry.is_dir(follow_symlinks=False):
                if _project_of(path := Path(entry.path)) != project:
                    way.append((path, os.scandir(path)))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
    finally:
        for _, entries in way:
            entries.close()


@contextlib.contextmanager
def _files_for_the_deepest() -> Iterator[None]:
    """Let us have a directory open for each part that a path can have: a service has fewer."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, min(before + _MOST_PARTS, most)), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def _project_of(path: Path) -> int:
    return _attributes(path)[3]


def _set_project(path: Path, project: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        flags, size, extents, _, cow = _read(descriptor)
        inherited = _INHERITED if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0
        fcntl.ioctl(descriptor, _SET_FLAGS, _FSXATTR.pack(flags | inherited, size, extents, project, cow))
    except OSError as error:
        raise PermanentError(f"{path} cannot be made part of project {project}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _attributes(path: Path) -> tuple[int, ...]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


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
