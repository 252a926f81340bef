"""Running a command in a booted image, nothing of which runs outside of it.

It is root there, in all of the image's namespaces, below its root, in its control group, and ends with it or before. It
may do what root needs to be any user and read any file; not mount, trace, load into the kernel, or make devices or
packets. The rest is given up before the image can see a process of ours: its root could take hold of it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
from pathlib import Path

from ebbtide_agent import procs

# linux/capability.h: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, ipc_owner,
# sys_resource, audit_write.
POWERS = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 15, 24, 29))
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
_CANNOT_ENTER = 125
# linux/prctl.h, linux/capability.h
_DROP_FROM_BOUNDING_SET = 24
_CAPABILITY_VERSION = 0x20080522
_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: the lower half of each, then the upper ones

# The control group is also what keeps a device node of the image's from being a disk of this machine's.
_JOIN = """
set -eu
leader=$1 package=$2 python=$3
shift 3
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 0 >"/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$leader/cgroup")/cgroup.procs"
exec env -i PYTHONPATH="$package" "$python" -m ebbtide_agent.restore.within "$leader" "$@"
"""


def run_within(leader: int, words: list[str], limit: float) -> procs.Ended:
    """Run a command in the image that has this init, for at most `limit` seconds."""
    package = Path(__file__).parents[2]  # a directory, or the one file that the agent comes in
    join = ("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _JOIN, "join")
    return procs.run([*join, str(leader), str(package), sys.executable, *words], timeout=limit)


def _run(leader: str, words: list[str]) -> int:
    """The command's exit code."""
    try:
        _let_no_program_regain_powers()
        _enter(leader)
        _give_up_powers()
    except OSError as fault:
        print(f"the image cannot be entered: {fault}", file=sys.stderr)
        return _CANNOT_ENTER
    child = os.fork()
    if child == 0:
        os._exit(_become(words))
    return procs.shell_code(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _let_no_program_regain_powers() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in frozenset(range(last + 1)) - POWERS:
        _call("prctl", _DROP_FROM_BOUNDING_SET, ctypes.c_ulong(number), *[ctypes.c_ulong(0)] * 3)


def _enter(leader: str) -> None:
    """Be where the image's init is; the next child is one of its processes. Nothing is imported from then on."""
    namespaces = [os.open(f"/proc/{leader}/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
    root = os.open(f"/proc/{leader}/root", os.O_RDONLY)
    if Path(f"/proc/{leader}/ns/pid").samefile("/proc/self/ns/pid"):
        raise ProcessLookupError(f"process {leader} is none of an image's")
    for namespace in namespaces:
        _call("setns", namespace, 0)
    os.fchdir(root)
    os.chroot(".")
    os.closerange(3, root + 1)
    sys.path.clear()


def _give_up_powers() -> None:
    """All but those of POWERS that there are."""
    ours = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    _call("capget", ours, sets)
    _, permitted, *_ = _SETS.unpack(sets.raw)
    kept = permitted & sum(1 << number for number in POWERS)
    _call("capset", ours, _SETS.pack(kept, kept, 0, 0, 0, 0))


def _become(words: list[str]) -> int:
    """Does not return, but for a command that is not there or cannot be run."""
    program = shutil.which(words[0], path=_PATH)
    if program is None:
        print(f"{words[0]}: not found in the image", file=sys.stderr, flush=True)
        return procs.NOT_FOUND
    try:
        os.execve(program, words, {"HOME": "/root", "PATH": _PATH})
    except OSError as fault:
        print(f"{program}: {fault.strerror}", file=sys.stderr, flush=True)
        return procs.NOT_EXECUTABLE


def _call(name: str, *values: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*values) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1], sys.argv[2:]))
