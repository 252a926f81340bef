"""The form in which rsync's fake super keeps a tree, read back as the entries that it stands for."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ebbtide_agent.entry import KINDS, Entry, Hasher, read_xattrs, size_of, with_hash
from ebbtide_agent.walk import Found, walk

PREFIX = "user.rsync."
STAT = PREFIX + "%stat"
ACCESS_ACL = PREFIX + "%aacl"
DEFAULT_ACL = PREFIX + "%dacl"
REAL_ACL = "system.posix_acl_access"
# What only root may write keeps its name behind the prefix; "user.rsync.note" is somebody's own.
_STORED = tuple(PREFIX + namespace for namespace in ("security.", "system.", "trusted."))
MUNGED = b"/rsyncd-munged/"
# The kernel's own: whoever writes a tree past rsync may put anything there.
_LARGEST = 0xFFFFFFFF
_LONGEST_LINK = 4096 + len(MUNGED)

# rsync's own form of an ACL: four u32 (a bit says "absent"), then (id, permissions and whether it is a user) pairs.
_ABSENT = 0x80
_IS_USER = 0x80000000
# The kernel's form: a version, then (tag, permissions, id) sorted by tag and id.
_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
# Of an ACL in that form that says no more than a mode does: a version, and an entry for each of its three parts.
_NO_MORE_THAN_A_MODE = 4 + 3 * 8


@dataclass(frozen=True)
class Recorded:
    """`%stat`: what the entry was where it came from. `mode` holds its type as well."""

    mode: int
    rdev: tuple[int, int]
    uid: int
    gid: int


def read_fake(root: Path, munged: bool = False, hasher: Hasher | None = None) -> Iterator[Entry]:
    """Every entry that a fake-super tree stands for, sorted by path bytes.

    With `munged`, one `/rsyncd-munged/` is taken off each symlink's target: a daemon without a chroot put it there.
    """
    for found in walk(root):
        entry = fake_entry(found, munged)
        yield with_hash(entry, found.where, hasher)


def fake_entry(found: Found, munged: bool = False) -> Entry:
    """The entry that one stored file or directory stands for."""
    stored = read_xattrs(found)
    recorded = recorded_stat(found.stat, stored.get(STAT))
    kind = KINDS[stat.S_IFMT(recorded.mode)]
    link = read_link(found, munged) if kind == "l" else None
    return Entry(
        path=found.path,
        kind=kind,
        mode=stat.S_IMODE(recorded.mode),
        uid=recorded.uid,
        gid=recorded.gid,
        size=size_of(kind, found.stat.st_size, link),
        mtime_ns=found.stat.st_mtime_ns,
        xattrs=real_xattrs(stored, recorded.mode),
        link=link,
        rdev=recorded.rdev if kind in "cb" else None,
        group=found.group,
    )


def recorded_stat(status: os.stat_result, value: bytes | None) -> Recorded:
    """What `%stat` says. rsync leaves it out where the file itself says the same, and then the file is believed.

    So is a directory that claims to be something else, or the reverse: no rsync writes that.
    """
    own = Recorded(status.st_mode, (os.major(status.st_rdev), os.minor(status.st_rdev)), status.st_uid, status.st_gid)
    if value is None:
        return own
    recorded = parse_stat(value)
    if stat.S_IFMT(recorded.mode) not in KINDS or stat.S_ISDIR(recorded.mode) != stat.S_ISDIR(own.mode):
        return own
    return recorded


@lru_cache(maxsize=1024)
def parse_stat(value: bytes) -> Recorded:
    """`104755 0,0 1234:4321`: mode with type in octal, device numbers, owner and group. Raises ValueError."""
    try:
        mode, rdev, owner = value.split()
        major, minor = rdev.split(b",")
        uid, gid = owner.split(b":")
        recorded = Recorded(int(mode, 8), (int(major), int(minor)), int(uid), int(gid))
        if not all(0 <= each <= _LARGEST for each in (recorded.mode, *recorded.rdev, recorded.uid, recorded.gid)):
            raise ValueError
    except ValueError:
        raise ValueError(f"not a %stat of rsync: {value!r:.80}") from None
    return recorded


def real_xattrs(stored: Mapping[str, bytes], mode: int) -> dict[str, bytes]:
    """The extended attributes that the stored ones stand for; those of the store itself are left out.

    So is an access ACL that says no more than the mode: rsync stores one of what had an ACL and has none any more,
    and no kernel keeps it.
    """
    real = {}
    for name, value in stored.items():
        if name == ACCESS_ACL:
            acl = kernel_acl(value, mode)
            if len(acl) > _NO_MORE_THAN_A_MODE:
                real[REAL_ACL] = acl
        elif name == DEFAULT_ACL:
            real["system.posix_acl_default"] = kernel_acl(value)
        elif name.startswith(PREFIX + "%"):
            continue
        elif name.startswith(_STORED):
            real[name[len(PREFIX) :]] = value
        elif name.startswith("user."):
            real[name] = value
    return dict(sorted(real.items()))


def kernel_acl(value: bytes, mode: int | None = None) -> bytes:
    """An ACL in the kernel's form; `mode` is the file's for an access ACL, None for a default one.

    An access ACL shares its owner, mask and other permissions with the mode, and the mode is the one to trust:
    after a chmod rsync leaves the old mask in `%aacl`. Raises ValueError.
    """
    if len(value) < 16 or len(value) % 8:
        raise ValueError(f"not an ACL of rsync: {value!r:.80}")
    owner, group, mask, other = struct.unpack_from("<4I", value)
    named = sorted(struct.iter_unpack("<II", value[16:]))
    users = [(_USER, perms & 7, who) for who, perms in named if perms & _IS_USER]
    groups = [(_GROUP, perms & 7, who) for who, perms in named if not perms & _IS_USER]
    bits = 0 if mode is None else mode
    entries = [(_USER_OBJ, _given(owner, bits >> 6), _NO_ID), *users]
    entries += [(_GROUP_OBJ, _given(group, bits >> 3), _NO_ID), *groups]
    if users or groups or not mask & _ABSENT:
        entries.append((_MASK, _given(mask if mode is None else _ABSENT, bits >> 3), _NO_ID))
    entries.append((_OTHER, _given(other, bits), _NO_ID))
    return struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _given(permissions: int, otherwise: int) -> int:
    return (otherwise if permissions & _ABSENT else permissions) & 7


def read_link(found: Found, munged: bool) -> bytes:
    """A symlink's target, as a link or as the content of the file that stands for it."""
    if stat.S_ISLNK(found.stat.st_mode):
        return os.readlink(found.where)  # noqa: PTH115 - paths are bytes
    with open(found.where, "rb") as file:
        target = file.read(_LONGEST_LINK)
    return target[len(MUNGED) :] if munged and target.startswith(MUNGED) else target
