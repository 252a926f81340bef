"""The system calls that the sandbox makes and Python 3.11 does not offer: namespaces, mounts, loop devices."""

import ctypes
import errno
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 16384
MNT_DETACH = 2

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
# struct loop_config: fd, block_size, struct loop_info64 (whose flags lie 52 bytes in, its name 56), 64 reserved bytes.
LOOP_CONFIG = struct.Struct("=II52xI64s64x32x16x64x")
LOOP_MAJOR = 7

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)

T = TypeVar("T")


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); OSError names the target."""
    kind_bytes = kind.encode() or None
    _call(_libc.mount(source.encode(), os.fsencode(target), kind_bytes, flags, options.encode() or None), target)


def bind(source: Path, target: Path, read_only: bool = False) -> None:
    """Show a file or directory at another place, too."""
    mount(str(source), target, flags=MS_BIND)
    if read_only:
        mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def detach_mount(target: Path) -> None:
    """umount2(2), lazily."""
    _call(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def make_root(new_root: Path) -> None:
    """Make a mounted directory the root of this process's mount namespace, the old one out of sight."""
    os.chdir(new_root)
    _call(_libc.pivot_root(b".", b"."), new_root)
    detach_mount(Path())
    os.chdir("/")


def new_network() -> int:
    """A file descriptor of a new network namespace, which lives exactly as long as this, or a process in it."""

    def leave() -> int:
        _call(_libc.unshare(CLONE_NEWNET), Path("/proc/self/ns/net"))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_a_thread(leave)


def enter_network(network: int) -> None:
    """Move this thread, and what it starts, into a network namespace."""
    _call(_libc.setns(network, CLONE_NEWNET), Path("/proc/self/ns/net"))


def within_network(network: int, action: Callable[[], T]) -> T:
    """Do something inside a network namespace: a socket made there belongs to it for good."""

    def act() -> T:
        enter_network(network)
        return action()

    return _in_a_thread(act)


def attach_loop(image: Path) -> tuple[int, int]:
    """Attach a file to a free loop device: (its number, a descriptor that keeps it attached).

    The kernel frees the device by itself once the descriptor and every mount of it are gone, however that came about.
    """
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    config = LOOP_CONFIG.pack(backing, 0, LO_FLAGS_AUTOCLEAR, os.fsencode(image)[-63:])
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, config)
                return number, device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was faster: take the next
                    raise
    finally:
        os.close(control)
        os.close(backing)


def _call(result: int, place: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))


def _in_a_thread(action: Callable[[], T]) -> T:
    """Namespaces belong to threads: what changes them runs in one that ends right after."""
    outcome: list[T] = []
    failure: list[OSError] = []

    def run() -> None:
        try:
            outcome.append(action())
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
