"""The one data volume of a machine: found by its id, made ready for use, and let go again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NoReturn

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError, TransientError

MOUNT_OPTIONS = "noatime,nosuid,nodev,noexec"
PATIENCE_SECONDS = 120.0
_HURRY_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_FSCK_SECONDS = 3600.0
# blkid: nothing was found on the device. fsck, bit by bit: errors were mended; a reboot is due, which is meant for a
# file system in use; errors are left that only a person, or a guess, could mend.
_NOTHING_FOUND = 2
_MENDED, _REBOOT, _DAMAGED = 1, 2, 4
_BTRFS_ERRORS = 1
_FILL_SECONDS = 600.0
_MIB = 1 << 20

# What a file system answers when it cannot make sense of what it has read.
UNREADABLE = (errno.EIO, errno.EUCLEAN)

EXT4, BTRFS = "ext4", "btrfs"
# Inodes of 256 bytes keep fake super's record; in ones of 512 an ACL would have its place, too, but a table twice as
# long is a quarter more that changes in a night, also where each file has a label of its own. ea_inode lets an
# attribute be larger than a block.
# What ext4 finds damaged it is to leave alone from then on: it would go on writing otherwise. And of 100 blocks one is
# root's: no host's tree can take the room of manifests and status.
_RESERVED_PERCENT = "1"
# btrfs writes whatever it changes of a node elsewhere: of nodes of 4 KiB, and not 16, a night writes a third less. An
# attribute has to find room in one.
_NODE_BYTES = "4096"
_MAKE = {
    EXT4: ("mkfs.ext4", "-q", "-m", _RESERVED_PERCENT, "-I", "256", "-e", "remount-ro", "-O", "ea_inode"),
    BTRFS: ("mkfs.btrfs", "-q", "-m", "single", "-n", _NODE_BYTES),
}
_OPTIONS = {EXT4: "errors=remount-ro", BTRFS: "nodiscard,ssd_spread,compress=zstd"}


@dataclass(frozen=True)
class Ready:
    """Which file system a device has, "" for a directory; and whether there was something to mend in it."""

    filesystem: str
    is_mended: bool = False


class Damaged(PermanentError):
    """What is on a device cannot be used as it is, and what it would take to make it usable may cost files."""


@dataclass(frozen=True)
class Usage:
    """How full a file system is: bytes, and inodes, of which some file systems know no limit (0)."""

    size: int
    used: int
    free: int
    inodes: int
    inodes_used: int


def mount(
    device: Path,
    place: Path,
    filesystem: str | None = None,
    patience: float = PATIENCE_SECONDS,
    read_only: bool = False,
) -> bool:
    """Wait for `device` and have its files at `place`; of one that was let go cleanly, `read_only` changes no byte.

    Returns whether there was something to mend in it, beyond the journal: then files may be gone or cut short.

    A directory is used as it is. A blank device gets a new `filesystem`, or is refused if that is None; any other is
    checked first. Raises TransientError when the device does not appear, PermanentError when it cannot be used, and
    Damaged when that is for what is on it.
    """
    await_device(device, patience)
    ready = make_ready(device, place, filesystem, read_only)
    attach(device, place, ready.filesystem, *(("ro",) if read_only else ()))
    return ready.is_mended


def await_device(device: Path, patience: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait for `device` to be there. Raises TransientError when it does not appear, and what `pause` raises."""
    deadline = time.monotonic() + patience
    while not device.exists():
        if time.monotonic() >= deadline:
            raise TransientError(f"{device} did not appear within {patience:.0f} s: is the volume attached?")
        pause(_PAUSE_SECONDS)


def find_filesystem(device: Path) -> str | None:
    """What is on a device, by blkid; "" for a directory, None when nothing was ever written to it.

    Raises Damaged when something was and nobody knows what.
    """
    if device.is_dir():
        return ""
    ended = procs.run(["blkid", "--probe", "--match-tag", "TYPE", "--output", "value", str(device)])
    if ended.exit_code not in (0, _NOTHING_FOUND):
        raise PermanentError(f"{device}: cannot tell what is on it: {ended.why}")
    if found := ended.out.decode().strip():
        return found
    if not _begins_with_zeros(device):
        raise Damaged(f"{device}: no file system is found on it, but it is not new: it needs a person")
    return None


def make_ready(device: Path, place: Path, filesystem: str | None = None, read_only: bool = False) -> Ready:
    """Have a file system on `device` that can be put in its place: what `mount` does first."""
    if device.is_dir():
        return Ready("")
    if place.is_mount():
        raise PermanentError(f"{place} is mounted already")
    found = find_filesystem(device)
    if found is not None:
        # fsck writes even if there is nothing to mend; and what it cannot mend may still be read.
        return Ready(found, is_mended=not read_only and _mend(device, found))
    if filesystem is None:
        raise PermanentError(f"{device} is blank: there is nothing on it to use")
    procs.check([*_MAKE[filesystem], str(device)])
    return Ready(filesystem)


def look_through(device: Path, filesystem: str) -> bool:
    """Check all of a device that is ready, though it says of itself that it is clean; whether there was some to mend.

    Damage that was never met is in no record: `make_ready` passes by it. Raises Damaged, as that does.
    """
    return filesystem == EXT4 and _checked(device, "-f")


def check_unwritten(device: Path, filesystem: str, why: str) -> NoReturn:
    """Raises Damaged if it is what is on a device that keeps it from being used, and PermanentError if not.

    No byte of it changes. `why` is what was said of it.
    """
    if filesystem == BTRFS:
        _check_btrfs(device, why)
    if filesystem == EXT4:
        looked = procs.run(["fsck", "-n", "-f", str(device)], timeout=_FSCK_SECONDS)
        if looked.exit_code & _DAMAGED:
            raise Damaged(f"{device}: its file system is damaged, and needs a person: {why}")
    raise PermanentError(f"{device}: whose it is cannot be seen: {why}")


def keep_a_reserve(device: Path, filesystem: str) -> str | None:
    """Have blocks that are root's on a device which was made without; why not, if not. A btrfs knows no such thing."""
    if filesystem != EXT4:
        return None
    ended = procs.run(["tune2fs", "-m", _RESERVED_PERCENT, str(device)])
    return None if ended.exit_code == 0 else ended.why


def attach(device: Path, place: Path, filesystem: str, *options: str) -> None:
    """Have the files of a device that is ready at `place`, with these options beside those of its file system.

    Raises Damaged when they are what keeps it from that, PermanentError when it is something else.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if device.is_dir():
        _point(place, device.resolve())
        return
    place.mkdir(exist_ok=True)
    ended = try_mount(device, place, filesystem, *options)
    if ended.exit_code == 0:
        return
    why = ended.err.decode("utf-8", "replace").partition("\n")[0]
    if filesystem == BTRFS:
        _check_btrfs(device, why)
    raise PermanentError(f"{device} cannot be mounted with {_options(filesystem, *options)}: {why}")


def try_mount(device: Path, place: Path, filesystem: str, *options: str) -> procs.Ended:
    return procs.run(["mount", "-o", _options(filesystem, *options), str(device), str(place)])


def _options(filesystem: str, *options: str) -> str:
    return ",".join([*options, MOUNT_OPTIONS, *filter(None, [_OPTIONS.get(filesystem)])])


def _check_btrfs(device: Path, why: str) -> None:
    """Whether it is what is on the device that keeps it from being mounted. Raises Damaged if so."""
    looked = procs.run(["btrfs", "check", "--readonly", str(device)], timeout=_FSCK_SECONDS)
    if looked.exit_code == _BTRFS_ERRORS:
        raise Damaged(f"{device}: its file system is damaged, and needs a person: {why}; btrfs check: {looked.why}")


def lift_limits(device: Path, place: Path) -> None:
    """Let what is mounted take all the room there is: on btrfs a tree's limit is on the volume, and holds for root.

    Raises PermanentError, which says so where a machine's image lacks what it takes: a restore cannot fetch it.
    """
    if find_filesystem(device) != BTRFS:
        return
    lifted = procs.run(["btrfs", "quota", "disable", str(place)])
    if lifted.exit_code == procs.NOT_FOUND:
        raise PermanentError(f"{device} has a btrfs, and this machine's image lacks the package btrfs-progs")
    if lifted.exit_code != 0:
        raise PermanentError(f"the limits on {place} cannot be lifted: {lifted.why}")


def unmount(place: Path, patience: float = PATIENCE_SECONDS) -> None:
    """Make what was written durable and let go; not mounted is success. Raises PermanentError while it is in use."""
    os.sync()
    if place.is_symlink():
        place.unlink()
        return
    deadline = time.monotonic() + patience
    while place.is_mount():
        ended = procs.run(["umount", str(place)])
        if ended.exit_code != 0 and time.monotonic() >= deadline:
            raise PermanentError(f"{place} cannot be unmounted: {ended.why}")
        if ended.exit_code != 0:
            time.sleep(_PAUSE_SECONDS)


def let_go(device: Path, place: Path, patience: float = PATIENCE_SECONDS) -> None:
    """Unmount, and see that the file system is mounted nowhere else. Raises PermanentError when it is, or may be.

    Each mount namespace has mounts of its own: who is in one and cannot be ended, as what waits for a disk, keeps the
    file system as it is, though nobody else sees it any more.
    """
    deadline = time.monotonic() + patience
    unmount(place, patience)
    while is_held(device):
        if time.monotonic() >= deadline:
            raise PermanentError(f"{device} is mounted still, where it cannot be unmounted")
        time.sleep(_PAUSE_SECONDS)


def is_held(device: Path) -> bool:
    """By the kernel, which lets nobody else have a device for itself meanwhile. Nobody holds a directory."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise PermanentError(f"{device}: cannot tell whether it is mounted still: {error.strerror}") from error
        return True
    return False


@contextlib.contextmanager
def unmounted_on_failure(place: Path) -> Iterator[None]:
    """Whatever ends the block before its time, what it has mounted there does not stay mounted."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(PermanentError):
            unmount(place, _HURRY_SECONDS)
        raise


def fill(device: Path, place: Path, filesystem: str) -> str | None:
    """Let a mounted file system reach to the end of a device that became larger; why it does not, if it does not.

    One that reaches it already stays as it is. A directory has no end.
    """
    if device.is_dir():
        return None
    by_place = ["btrfs", "filesystem", "resize", "max", str(place)]
    ended = procs.run(by_place if filesystem == BTRFS else ["resize2fs", str(device)], timeout=_FILL_SECONDS)
    return None if ended.exit_code == 0 else ended.why


def measure(place: Path) -> Usage | None:
    """How full the file system there is, with all that was written; None when it cannot tell any more."""
    os.sync()
    try:
        seen = os.statvfs(place)
    except OSError:
        return None
    return Usage(
        size=seen.f_blocks * seen.f_frsize,
        used=(seen.f_blocks - seen.f_bfree) * seen.f_frsize,
        free=seen.f_bavail * seen.f_frsize,
        inodes=seen.f_files,
        inodes_used=seen.f_files - seen.f_ffree,
    )


def has_turned_read_only(place: Path) -> bool:
    """Whether nothing can be written there any more: what a file system does of itself once it has found an error.

    Only trying shows it: Linux 6.13 and later go on calling such an ext4 writable.
    """
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        return error.errno in (errno.EROFS, errno.EIO)
    return False


def _point(place: Path, directory: Path) -> None:
    if place.is_symlink():
        place.unlink()
    elif place.is_dir():
        place.rmdir()
    place.symlink_to(directory)


def _begins_with_zeros(device: Path) -> bool:
    """A new EBS volume is all zeros. What lost its superblock still has its tables within the first 64 MiB."""
    try:
        with device.open("rb", buffering=0) as file:
            pieces = iter(lambda: file.read(_MIB), b"")
            return all(piece.count(0) == len(piece) for piece in itertools.islice(pieces, 64))
    except OSError as error:
        raise PermanentError(f"{device} cannot be read: {error.strerror}") from error


def _mend(device: Path, filesystem: str) -> bool:
    """What a boot would do, and whether there was anything to mend. Raises Damaged when that would take guesses.

    Never with -y: it makes a file system consistent at any price, whole directories among it, and whoever compares
    with a backup afterwards finds files gone that nobody has deleted. There are snapshots for that.

    For btrfs nothing is done: it is as of its last commit, and mount replays its log.
    """
    if filesystem == BTRFS:
        return False
    return _checked(device)


def _checked(device: Path, *options: str) -> bool:
    ended = procs.run(["fsck", "-p", *options, str(device)], timeout=_FSCK_SECONDS)
    if ended.exit_code & ~(_MENDED | _REBOOT) == _DAMAGED:
        raise Damaged(f"{device}: its file system is damaged, and needs a person: {_why_not(ended)}")
    if ended.exit_code & ~(_MENDED | _REBOOT):
        raise PermanentError(f"{device}: its file system could not be checked: {ended.why}")
    return ended.exit_code != 0


def _why_not(ended: procs.Ended) -> str:
    """What fsck would not decide by itself: the last it says before it asks, in its errors, for a person."""
    lines = [line.strip() for line in ended.out.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ended.why
