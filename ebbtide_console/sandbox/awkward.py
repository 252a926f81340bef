"""Entries to back up: few, and awkward in every way that a server's files can be."""

import os
import stat
import struct
from pathlib import Path

NO_ID = 0xFFFFFFFF
OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
CAP_NET_BIND_SERVICE, CAP_NET_RAW = 1 << 10, 1 << 13
A_DAY_NS = 86_400 * 10**9


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL in the kernel's form from (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def capability(permitted: int) -> bytes:
    """`security.capability`, revision 2, effective."""
    return struct.pack("<5I", 0x02000001, permitted, 0, 0, 0)


def grow_plain(root: Path) -> None:
    """What any user may own: odd names and times, modes, links, sparse files, user attributes."""
    base = os.fsencode(root)
    root.mkdir(parents=True, exist_ok=True)
    names = (
        b"new\nline", b"bad\xff\xfeutf8", b"back\\slash", b"\\#012escaped", b" lead trail ", b"-dash", b"%41",
        b'quo"te', "smörgås".encode(), b"a" * 255, b"a.b",
    )  # fmt: skip
    for odd in names:
        _write(base + b"/" + odd, b"content of " + odd)
    _write(root / "empty", b"")
    _write(root / "readonly", b"ro", 0o400)
    for name, mode in (("sticky", 0o1777), ("setgid", 0o2775), ("readonly-dir", 0o555), ("a", 0o755)):
        (root / name).mkdir()
        _write(root / name / "file", name.encode())
        (root / name).chmod(mode)
    (root / "hello").symlink_to("a/file")
    for link, target in (
        (b"absolute", b"/etc/passwd"),
        (b"outward", b"../../../../outside"),
        (b"dangling", b"dang\nling\xff"),
        (b"long", b"t" * 4000),
        (b"munged-looking", b"/rsyncd-munged/x"),
    ):
        os.symlink(target, base + b"/link-" + link)  # noqa: PTH211 - targets that are not UTF-8
    os.utime(root / "link-absolute", ns=(0, 123456789012345678), follow_symlinks=False)
    _write(root / "hard-1", b"hard" * 1000)
    os.link(root / "hard-1", root / "hard-2")
    (root / "z").mkdir()
    os.link(root / "hard-1", root / "z/hard-3")
    os.link(root / "link-absolute", root / "link-hard", follow_symlinks=False)
    with open(root / "sparse", "wb") as file:
        file.seek(20 << 20)
        file.write(b"data" * 5000)
        file.truncate(40 << 20)
    for name, mtime in (
        ("old", -A_DAY_NS + 5),
        ("future", 4102444800 * 10**9 + 999999999),
        ("now", 1700000000123456789),
    ):
        _write(root / name, name.encode())
        os.utime(root / name, ns=(0, mtime))
    os.setxattr(root / "now", "user.note", b"\0binary\xff")
    os.setxattr(root / "now", "user.big", bytes(range(256)) * 8)
    os.setxattr(root / "a", "user.of-a-directory", b"yes")
    os.utime(root / "a", ns=(0, 1234567890987654321))


def grow(root: Path) -> None:
    """All of `grow_plain`, and what only root can make: owners, capabilities, ACLs, devices, sockets."""
    grow_plain(root)
    _write(root / "setuid", b"s", 0o755, (33, 33))
    (root / "setuid").chmod(0o6755)
    _write(root / "setgid-file", b"s", 0o755, (0, 42))
    (root / "setgid-file").chmod(0o2755)
    _write(root / "unreadable", b"mode 0", 0)
    (root / "closed").mkdir()
    _write(root / "closed/file", b"inside", owner=(7, 7))
    (root / "closed").chmod(0)
    _write(root / "capable", b"c", 0o755)
    os.setxattr(root / "capable", "security.capability", capability(CAP_NET_RAW | CAP_NET_BIND_SERVICE))
    _write(root / "capable-owned", b"c", 0o755, (1234, 1234))
    os.setxattr(root / "capable-owned", "security.capability", capability(CAP_NET_RAW))
    os.setxattr(root / "capable-owned", "trusted.note", b"\0\1trusted")
    os.lchown(root / "link-absolute", 11, 12)
    os.setxattr(root / "link-outward", "trusted.on-a-link", b"t", follow_symlinks=False)
    _grow_acls(root)
    _grow_specials(root)


def _grow_acls(root: Path) -> None:
    named = (OWNER, 6, NO_ID), (USER, 6, 1001), (USER, 4, 1002), (OWNING_GROUP, 4, NO_ID), (GROUP, 5, 2001)
    _write(root / "acl", b"acl", 0o640, (1000, 1000))
    os.setxattr(root / "acl", "system.posix_acl_access", acl(*named, (MASK, 7, NO_ID), (OTHER, 0, NO_ID)))
    _write(root / "acl-then-chmod", b"acl", 0o640)
    os.setxattr(root / "acl-then-chmod", "system.posix_acl_access", acl(*named, (MASK, 7, NO_ID), (OTHER, 0, NO_ID)))
    (root / "acl-then-chmod").chmod(0o600)
    mask_alone = acl((OWNER, 6, NO_ID), (OWNING_GROUP, 4, NO_ID), (MASK, 6, NO_ID), (OTHER, 4, NO_ID))
    _write(root / "acl-mask-alone", b"acl")
    os.setxattr(root / "acl-mask-alone", "system.posix_acl_access", mask_alone)
    (root / "acl-dir").mkdir()
    many = [(USER, 5, 1000 + number) for number in range(20)]
    whole = acl((OWNER, 7, NO_ID), *many, (OWNING_GROUP, 7, NO_ID), (MASK, 5, NO_ID), (OTHER, 5, NO_ID))
    os.setxattr(root / "acl-dir", "system.posix_acl_access", whole)
    inherited = acl((OWNER, 7, NO_ID), (USER, 7, 1003), (OWNING_GROUP, 5, NO_ID), (MASK, 7, NO_ID), (OTHER, 5, NO_ID))
    os.setxattr(root / "acl-dir", "system.posix_acl_default", inherited)
    (root / "acl-dir/inherits").mkdir()
    (root / "acl-plain-default").mkdir()
    plain = acl((OWNER, 7, NO_ID), (OWNING_GROUP, 5, NO_ID), (OTHER, 0, NO_ID))
    os.setxattr(root / "acl-plain-default", "system.posix_acl_default", plain)


def _grow_specials(root: Path) -> None:
    (root / "dev").mkdir()
    devices = ((stat.S_IFCHR, 0o666, 1, 3), (stat.S_IFBLK, 0o660, 8, 1), (stat.S_IFCHR, 0o600, 511, 70000))
    for number, (kind, mode, major, minor) in enumerate(devices):
        device = root / "dev" / f"n{number}"
        os.mknod(device, kind | mode, os.makedev(major, minor))
        device.chmod(mode)
        os.chown(device, number, number + 5)
    os.link(root / "dev/n0", root / "dev/n0-hard")
    os.mkfifo(root / "fifo", 0o640)
    os.chown(root / "fifo", 7, 8)
    os.link(root / "fifo", root / "a-fifo-hard")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o755)
    os.chown(root / "socket", 9, 9)


def _write(path: Path | bytes, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    with open(path, "wb") as file:
        file.write(content)
    if owner is not None:
        os.chown(path, *owner)
    os.chmod(path, mode)  # noqa: PTH101 - names that are not UTF-8
