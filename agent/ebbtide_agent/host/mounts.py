"""What is mounted where on this host, as the kernel tells it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Container, Mapping
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# File systems of this host's own disks: what people put their data on, and what stays mounted.
ON_A_DISK = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "reiserfs", "xfs", "zfs")
ON_THE_NETWORK = ("ceph", "cifs", "nfs", "nfs4", "smb3")
# What the kernel makes up as somebody looks: of one moment, without end, and of no use elsewhere.
MADE_UP = (
    "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
    "hugetlbfs", "mqueue", "nfsd", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs",
)  # fmt: skip
# Of these the kernel's id is made of what is written on the file system; of others of a device's number, or of nothing.
_WITH_AN_ID = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "zfs")
# XFS_IOC_FSGEOMETRY_V1 (xfs_fs.h): what an xfs says of itself, among it its UUID.
_GEOMETRY, _GEOMETRY_BYTES, _UUID = 0x80705864, 112, slice(64, 80)
# In place of what is mounted there as soon as somebody looks.
AUTOMOUNT = "autofs"


def read_mounts(table: Path = MOUNTS) -> dict[bytes, str]:
    """The kind of file system by mount point; of several in one place the last one shows."""
    mounts = {}
    with table.open("rb") as file:
        for line in file:
            fields, _, rest = line.partition(b" - ")
            point = fields.split()[4].decode("unicode_escape").encode("latin-1")
            mounts[point] = rest.split()[0].decode()
    return mounts


def read_identities(mounts: Mapping[bytes, str]) -> dict[bytes, str]:
    """By mount point what tells a file system, and which directory of it is mounted, from others; if it has that."""
    found = {}
    for point, kind in mounts.items():
        with contextlib.suppress(OSError):
            if name := _find_name(point, kind):
                found[point] = f"{name}/{os.stat(point).st_ino}"  # noqa: PTH116 - a path of bytes
    return found


def _find_name(point: bytes, kind: str) -> str | None:
    if kind in _WITH_AN_ID:
        return f"{os.statvfs(point).f_fsid:x}"
    return _uuid_of_xfs(point) if kind == "xfs" else None


def _uuid_of_xfs(point: bytes) -> str:
    descriptor = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return fcntl.ioctl(descriptor, _GEOMETRY, bytes(_GEOMETRY_BYTES))[_UUID].hex()
    finally:
        os.close(descriptor)


def mounted_throughout(before: Mapping[bytes, str], after: Mapping[bytes, str]) -> dict[bytes, str]:
    """What was mounted before and is mounted after: what was mounted in between, a scan may have found empty.

    What an automounter mounts comes and goes by itself meanwhile.
    """
    return {
        point: kind
        for point, kind in after.items()
        if point in before and (before[point] == kind or AUTOMOUNT in (before[point], kind))
    }


def as_scanned(at_first: Mapping[bytes, str], by_now: Mapping[bytes, str]) -> dict[bytes, str]:
    """What was mounted when a scan began: in the place of an automounter what it has mounted since."""
    return {point: by_now.get(point, kind) if kind == AUTOMOUNT else kind for point, kind in at_first.items()}


def point_of(where: bytes, mounts: Container[bytes]) -> bytes:
    """Where the file system is mounted that a path, without links in it, is on."""
    while where not in mounts and where != b"/":
        where = where[: where.rindex(b"/")] or b"/"
    return where


def kind_at(where: bytes, mounts: Mapping[bytes, str]) -> str:
    """The kind of file system that a path, without links in it, is on."""
    return mounts.get(point_of(where, mounts), "an unknown file system")
