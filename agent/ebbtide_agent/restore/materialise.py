"""Turning a fake-super tree into a real one, in place, on a copy that is thrown away afterwards."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.entry import Entry, read_xattrs
from ebbtide_agent.fakesuper import fake_entry
from ebbtide_agent.walk import Found, walk

_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO, "s": stat.S_IFSOCK}


# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP: bits of the kernel's capability mask.
_NEEDED = sum(1 << capability for capability in (0, 1, 3, 4, 27, 31))


@dataclass(frozen=True)
class Materialised:
    """How many entries the tree has, and how many of them had to be made anew (symlinks, devices and the like)."""

    entries: int
    remade: int


def is_allowed() -> bool:
    """Whether this process may give files any owner and make devices: real root, not that of a user namespace."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(status["CapEff"], 16)
    own_ids = Path("/proc/self/uid_map").read_text().split()
    return held & _NEEDED == _NEEDED and own_ids == ["0", "0", "4294967295"]


def materialise(tree: Path, munged: bool = False) -> Materialised:
    """Make the tree real. Needs to be allowed to, and a tree that nobody else can write to meanwhile. Raises OSError.

    What has to be made anew is made beside the tree, so that no name in it can be in the way. Directories get their
    times last, once nothing below them changes any more.
    """
    entries = remade = 0
    directories: list[tuple[bytes, int, int]] = []
    with tempfile.TemporaryDirectory(prefix=".ebbtide-", dir=tree.parent) as beside:
        workshop = os.fsencode(beside) + b"/new"
        base = os.fsencode(tree)
        for found in walk(tree):
            entries += 1
            entry = fake_entry(found, munged)
            if entry.kind == "d":
                directories.append((found.where, found.stat.st_atime_ns, found.stat.st_mtime_ns))
            if entry.kind in "fd":
                if entry.group in (None, entry.path):
                    _settle(entry, found)
            elif stat.S_ISREG(found.stat.st_mode):  # a symlink that lies there as one is left alone, never followed
                remade += 1
                _remake(entry, found, base, workshop)
    for where, atime_ns, mtime_ns in reversed(directories):
        os.utime(where, ns=(atime_ns, mtime_ns))
    return Materialised(entries, remade)


def _settle(entry: Entry, found: Found) -> None:
    """A file or directory stays what it is, and gets its owner, mode and attributes."""
    before = read_xattrs(found)
    wanted = {name: value for name, value in entry.xattrs.items() if before.get(name) != value}
    _give(replace(entry, xattrs=wanted), found.where)
    for name in before:
        if name not in entry.xattrs:
            os.removexattr(found.where, name, follow_symlinks=False)
    os.utime(found.where, ns=(found.stat.st_atime_ns, found.stat.st_mtime_ns), follow_symlinks=False)


def _remake(entry: Entry, found: Found, base: bytes, workshop: bytes) -> None:
    """A plain file gives way to the symlink, device, FIFO or socket that it stands for."""
    if entry.group is not None and entry.group != entry.path:
        os.link(base + b"/" + entry.group, workshop, follow_symlinks=False)
    else:
        _make(entry, workshop)
        _give(entry, workshop)
        os.utime(workshop, ns=(found.stat.st_atime_ns, found.stat.st_mtime_ns), follow_symlinks=False)
    os.rename(workshop, found.where)  # noqa: PTH104 - paths are bytes


def _make(entry: Entry, where: bytes) -> None:
    if entry.link is not None:
        os.symlink(entry.link, where)  # noqa: PTH211 - paths are bytes
    else:
        os.mknod(where, _TYPES[entry.kind] | 0o600, os.makedev(*(entry.rdev or (0, 0))))


def _give(entry: Entry, where: bytes) -> None:
    """Owner, then mode, then attributes: a chown takes setuid bits and capabilities away, an ACL needs its mode."""
    os.chown(where, entry.uid, entry.gid, follow_symlinks=False)
    if entry.kind != "l":
        os.chmod(where, entry.mode)  # noqa: PTH101 - paths are bytes
    for name, value in entry.xattrs.items():
        os.setxattr(where, name, value, follow_symlinks=False)
