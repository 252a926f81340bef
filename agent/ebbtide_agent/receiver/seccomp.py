"""A filter for the system calls that rsync never needs and an attacker inside it would want, as classic BPF."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ebbtide_agent.errors import PermanentError

_ALLOW, _KILL_PROCESS, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 24, (32, 36)
# Every CLONE_NEW… flag: a namespace of one's own is the way to more capabilities.
_NEW_NAMESPACE = 0x7E020080
# The one family of sockets whose pairs anybody within needs: rsync's own processes talk to each other through one.
_AF_UNIX = 1
# F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW: a lock of a part of a file is memory that the kernel counts for nobody.
_LOCKS = (6, 7, 37, 38)
# What changes whose quota something counts for: all ioctls of btrfs (a subvolume of one's own), FS_IOC_FSSETXATTR (the
# project), FS_IOC_SETFLAGS (whether what is made in a directory belongs to it). From within a user namespace the kernel
# itself refuses the last two.
_BTRFS, _ATTRIBUTES = 0x9400, (0x401C5820, 0x40086602)
_X32 = 0x40000000


@dataclass(frozen=True)
class _Machine:
    """An architecture: its audit number and the numbers of its system calls (asm/unistd.h)."""

    audit: int
    clone: int
    socketpair: int
    fcntl: int
    prlimit64: int
    ioctl: int
    denied: tuple[int, ...]


# The same on every architecture: io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd,
# mount_setattr, quotactl_fd, memfd_secret, open_tree_attr, file_setattr.
_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 447, 467, 469)
_CLONE3 = 435
_MACHINES = {
    # ptrace mount umount2 pivot_root acct swapon reboot init_module delete_module quotactl kexec_load add_key
    # request_key keyctl unshare perf_event_open open_by_handle_at setns process_vm_readv process_vm_writev finit_module
    # kexec_file_load bpf userfaultfd; syslog; socket connect bind listen: vsock knows no network namespace;
    # mknodat mknod: what fake super keeps of a device, a pipe or a socket is a plain file; memfd_create shmget msgget
    # semget mq_open: memory that stays when nobody has it mapped; setrlimit: a lower limit may be a weaker one
    "x86_64": _Machine(0xC000003E, 56, 53, 72, 302, 16, (
        101, 165, 166, 155, 163, 167, 169, 175, 176, 179, 246, 248, 249, 250, 272, 298, 304, 308, 310, 311, 313, 320,
        321, 323, 103, 41, 42, 49, 50, 259, 133, 319, 29, 68, 64, 240, 160,
    )),
    "aarch64": _Machine(0xC00000B7, 220, 199, 25, 261, 29, (
        117, 40, 39, 41, 89, 224, 142, 105, 106, 60, 104, 217, 218, 219, 97, 241, 265, 268, 270, 271, 273, 294, 280,
        282, 116, 198, 203, 200, 201, 33, 279, 194, 186, 190, 180, 164,
    )),
}  # fmt: skip


def program(machine: str) -> bytes:
    """The filter for `platform.machine()`. Raises PermanentError for an architecture whose numbers we do not have."""
    if machine not in _MACHINES:
        known = " and ".join(_MACHINES)
        raise PermanentError(f"the numbers of system calls on {machine} are not known, only those on {known}")
    numbers = _MACHINES[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, numbers.audit, 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL_PROCESS)]
    steps += _unless_one_of((*numbers.denied, *_COMMON))
    # clone3 hides its flags in memory; without it the C library falls back to clone.
    steps += [_step(_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _ENOSYS)]
    steps += _of(numbers.clone, _FIRST_ARGUMENT, _step(_ANY_BIT, _NEW_NAMESPACE, 0, 1), _step(_RETURN, _EPERM))
    steps += _of(numbers.socketpair, _FIRST_ARGUMENT, _step(_EQUAL, _AF_UNIX, 1, 0), _step(_RETURN, _EPERM))
    steps += _of(numbers.fcntl, _SECOND_ARGUMENT, *_unless_one_of(_LOCKS))
    for half in _THIRD_ARGUMENT:
        # Where the new limit lies: nowhere, for who only asks.
        steps += _of(numbers.prlimit64, half, _step(_EQUAL, 0, 1, 0), _step(_RETURN, _EPERM))
    steps += _of(numbers.ioctl, _SECOND_ARGUMENT, *_unless_it_changes_a_quota())
    steps += [_step(_RETURN, _ALLOW)]
    return b"".join(steps)


def _of(call: int, argument: int, *steps: bytes) -> list[bytes]:
    """What one system call alone goes through, with that argument to look at."""
    within = [_step(_LOAD, argument), *steps, _step(_LOAD, _NUMBER)]
    return [_step(_EQUAL, call, 0, len(within)), *within]


def _unless_it_changes_a_quota() -> list[bytes]:
    return [*_unless_one_of(_ATTRIBUTES), _step(_AND, 0xFF00), *_unless_one_of((_BTRFS,))]


def _unless_one_of(denied: tuple[int, ...]) -> list[bytes]:
    return [step for each in denied for step in (_step(_EQUAL, each, 0, 1), _step(_RETURN, _EPERM))]


def _step(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, when_true, when_false, value)
