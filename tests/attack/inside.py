"""What somebody tries who has broken into a host's rsync: started in its place, within the walls, with nothing else.

Given what is outside as JSON, it says of each attempt what came of it, a line each: the attempt's name and the error
that ended it, or REACHED; at last that all are tried, and stays until it is told no more. It is read by whatever Python
the walls can show it.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

OUTSIDE = json.loads(sys.argv[2])
X86 = platform.machine() == "x86_64"
# Numbers of system calls (asm/unistd.h): on x86_64, and on aarch64.
CALLS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "file_setattr": (469, 469),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mknod": (133, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "semget": (64, 190),
    "setns": (308, 268),
    "setrlimit": (160, 164),
    "shmget": (29, 194),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
NEW_USER, NEW_NET = 0x10000000, 0x40000000
SUBVOLUME_CREATE = 0x5000940E
GET_PROJECT, SET_PROJECT, SET_FLAGS = 0x801C581F, 0x401C5820, 0x40086602
AF_TIPC = 30
AT_FDCWD = -100
TIOCSTI = 0x5412
NO_NEW_PRIVILEGES = 39
MOST_CHILDREN = 2000
LARGE = 1 << 29
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(4096)


def call(name, *arguments):
    """A system call by its number; OSError as the kernel said it."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    answer = libc.syscall(ctypes.c_long(CALLS[name][0 if X86 else 1]), *words)
    if name == "clone" and answer == 0:
        os._exit(0)
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    return answer


def read(path):
    with open(path, "rb") as file:
        return file.read(100)


def plant(directory):
    Path(directory, OUTSIDE["planted"]).write_text("by us0")


def reach(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as there:
        there.settimeout(5)
        there.connect(address)


def connect_what_was_a_pair():
    """A pair of sockets can be had without asking for a socket."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect("\0" + OUTSIDE["abstract"])


def change_project():
    tree = os.open("/tree", os.O_RDONLY)
    try:
        flags, size, extents, _, cow = struct.unpack("=5I8x", fcntl.ioctl(tree, GET_PROJECT, bytes(28)))
    except OSError as error:  # this file system knows of no projects
        if error.errno != errno.ENOTTY:
            raise
        flags = size = extents = cow = 0
    fcntl.ioctl(tree, SET_PROJECT, struct.pack("=5I8x", flags, size, extents, 1, cow))


def ioctl_on_streams():
    for descriptor in (0, 1, 2):
        fcntl.ioctl(descriptor, TIOCSTI, b"x")


def leave_the_chroot():
    """The classic: keep a directory open, change the root below it, and climb from the one that is open."""
    outside = os.open("/", os.O_RDONLY)
    Path("/tree/root").mkdir(exist_ok=True)
    os.chroot("/tree/root")
    os.fchdir(outside)
    for _ in range(100):
        os.chdir("..")
    os.chroot(".")
    read(OUTSIDE["secret"])


def execute_foreign_code(code):
    """Machine code, as it is: the way to system calls of another architecture."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def call_as_x32():
    libc.syscall(ctypes.c_long(0x40000000 | 39))


def bomb():
    """As many processes as there may be; they end with us."""
    ours, theirs = os.pipe()
    for _ in range(MOST_CHILDREN):
        if os.fork() == 0:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)


def raise_limits():
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
        try:
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError:
            raise PermissionError(errno.EPERM, "setrlimit") from None


def lock_parts():
    """Of a file, as its process's own and as the open file's."""
    with open("/tree/locked", "w") as file:
        for lock in (fcntl.F_SETLK, fcntl.F_OFD_SETLK):
            with suppress(PermissionError):
                fcntl.fcntl(file, lock, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
                return
    raise PermissionError(errno.EPERM, "lock")


def weaken_limits():
    """That of dumps, from 1 to 0: only 1 keeps the kernel from starting a program of root's for one."""
    none = bytes(16)
    for words in (("setrlimit", resource.RLIMIT_CORE, none), ("prlimit64", 0, resource.RLIMIT_CORE, none)):
        with suppress(PermissionError):
            call(*words)
            return
    raise PermissionError(errno.EPERM, "setrlimit")


def hold_files():
    """More at once than rsync ever needs."""
    held = []
    try:
        for _ in range(1000):
            held.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in held:
            os.close(descriptor)


def crash_into_a_program():
    """Where core_pattern names a program, root starts that outside whatever the limit is, but for 1 (fs/coredump.c)."""
    if resource.getrlimit(resource.RLIMIT_CORE) == (1, 1):
        raise PermissionError(errno.EPERM, "no program is started")


def gain_by_setuid():
    """A program that belongs to somebody else and says so: nobody becomes anybody."""
    if libc.prctl(NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 1:
        raise PermissionError(errno.EPERM, "no new privileges")


def have_capabilities():
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    libc.capget(header, data)
    effective, permitted, inheritable, *_ = struct.unpack("6I", data.raw)
    if (effective | permitted | inheritable) & ~(1 << 18) == 0:
        raise PermissionError(errno.EPERM, "chroot is all")


def find_descriptors():
    """What was left open by those who started us. To be asked first."""
    found = []
    for descriptor in range(3, 1024):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            found.append(descriptor)
    if not found:
        raise OSError(errno.EBADF, "none")
    return found


def read_environment():
    """Without what is told of the place that we are in, and what Python says to itself."""
    found = {name: value for name, value in os.environ.items() if name not in ("PWD", "LC_CTYPE")}
    if not found:
        raise OSError(errno.ENOENT, "none")
    return found


INHERITED = "inherited descriptors"
ATTEMPTS = {
    INHERITED: find_descriptors,
    "environment": read_environment,
    "passwd": lambda: read("/etc/passwd"),
    "shadow": lambda: read("/etc/shadow"),
    "proc": lambda: list(Path("/proc").iterdir()),
    "sys": lambda: list(Path("/sys").iterdir()),
    "root's keys": lambda: list(Path("/root/.ssh").iterdir()),
    "run": lambda: list(Path("/run").iterdir()),
    "another tree": lambda: read(OUTSIDE["secret"]),
    "another record": lambda: read(OUTSIDE["another's record"]),
    "own record": lambda: read(OUTSIDE["record"]),
    "delete own record": lambda: Path(OUTSIDE["record"]).unlink(),
    "climb": lambda: read("/tree/../../eu0a/tree/secret"),
    "write root": lambda: plant("/"),
    "write libraries": lambda: plant("/usr/lib"),
    "write shared memory": lambda: plant("/dev/shm"),
    "write configuration": lambda: os.open("/rsyncd.conf", os.O_WRONLY),
    "write beside the tree": lambda: plant("/tree/.."),
    "sshd's port": lambda: reach(socket.AF_INET, ("127.0.0.1", OUTSIDE["port"])),
    "metadata": lambda: reach(socket.AF_INET, ("169.254.169.254", 80)),
    "name servers": lambda: reach(socket.AF_INET, ("169.254.169.253", 53), socket.SOCK_DGRAM),
    "abstract socket": lambda: reach(socket.AF_UNIX, "\0" + OUTSIDE["abstract"]),
    "socket pair": connect_what_was_a_pair,
    "pair of another family": lambda: socket.socketpair(AF_TIPC, socket.SOCK_STREAM),
    "vsock": lambda: reach(socket.AF_VSOCK, (2, 1024)),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "kill": lambda: os.kill(OUTSIDE["process"], 0),
    "ptrace": lambda: call("ptrace"),
    "process_vm_readv": lambda: call("process_vm_readv", os.getpid(), room, 0, room, 0),
    "pidfd_getfd": lambda: call("pidfd_getfd", 0, 0),
    "mount": lambda: call("mount", b"none", b"/tree", b"proc"),
    "umount2": lambda: call("umount2", b"/tree", 2),
    "pivot_root": lambda: call("pivot_root", b"/tree", b"/tree"),
    "fsopen": lambda: call("fsopen", b"proc"),
    "open_tree": lambda: call("open_tree", -100, b"/tree", 1),
    "move_mount": lambda: call("move_mount", -100, b"/tree", -100, b"/", 0),
    "fspick": lambda: call("fspick", -100, b"/tree"),
    "mount_setattr": lambda: call("mount_setattr", -100, b"/usr/lib", 0, room, 32),
    "unshare user": lambda: call("unshare", NEW_USER),
    "unshare net": lambda: call("unshare", NEW_NET),
    "clone user": lambda: call("clone", NEW_USER | signal.SIGCHLD),
    "clone3": lambda: call("clone3", room, 88),
    "setns": lambda: call("setns", 0),
    "open_by_handle_at": lambda: call("open_by_handle_at", 0, room),
    "io_uring": lambda: call("io_uring_setup", 1, room),
    "keyctl": lambda: call("keyctl", 0, -1),
    "add_key": lambda: call("add_key", b"user", b"us0", b"x", 1, -1),
    "bpf": lambda: call("bpf", 0, room, 120),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "perf": lambda: call("perf_event_open", room, 0, -1, -1),
    "kernel log": lambda: call("syslog", 3, room, 4096),
    "kexec": lambda: call("kexec_load"),
    "module": lambda: call("init_module", room, 1, b""),
    "module of a file": lambda: call("finit_module", 0, b""),
    "reboot": lambda: call("reboot", 0),
    "swapon": lambda: call("swapon", b"/tree"),
    "acct": lambda: call("acct", b"/tree/acct"),
    "quotactl": lambda: call("quotactl", 0x800002, b"/tree"),
    "subvolume": lambda: call("ioctl", os.open("/tree", os.O_RDONLY), SUBVOLUME_CREATE, room),
    "project": change_project,
    "flags": lambda: fcntl.ioctl(os.open("/tree", os.O_RDONLY), SET_FLAGS, bytes(8)),
    "attributes": lambda: call("file_setattr", AT_FDCWD, b"/tree", room, 24),
    "terminal": ioctl_on_streams,
    "controlling terminal": lambda: os.open("/dev/tty", os.O_RDWR),
    "block device": lambda: os.mknod("/tree/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)),
    "character device": lambda: os.mknod("/tree/memory", stat.S_IFCHR | 0o666, os.makedev(1, 1)),
    "pipe": lambda: os.mkfifo("/tree/pipe"),
    "pipe by mknod": lambda: call("mknod", b"/tree/pipe", stat.S_IFIFO | 0o666) if X86 else os.mkfifo("/tree/pipe"),
    "socket's name": lambda: os.mknod("/tree/socket", stat.S_IFSOCK | 0o666),
    "memory without a name": lambda: call("memfd_create", b"us0", 0),
    "secret memory": lambda: call("memfd_secret", 0),
    "shared memory": lambda: call("shmget", 0, 4096, 0o1600),
    "messages": lambda: call("msgget", 0, 0o1600),
    "semaphores": lambda: call("semget", 0, 1, 0o1600),
    "messages by name": lambda: call("mq_open", b"us0", os.O_CREAT | os.O_RDWR, 0o600, 0),
    "become root": lambda: os.setresuid(0, 0, 0),
    "groups": lambda: os.setgroups([0]),
    "setuid": gain_by_setuid,
    "crash": crash_into_a_program,
    "capabilities": have_capabilities,
    "limits": raise_limits,
    "weaker limits": weaken_limits,
    "locks": lock_parts,
    "files": hold_files,
    "host name": lambda: socket.sethostname("us0"),
    "clock": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
}
# What ends the process that tries it, or takes what all need: each in a process of its own.
ALONE = {
    "chroot": leave_the_chroot,
    "i386": lambda: execute_foreign_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"),
    "x32": call_as_x32,
}


def outcome(attempt):
    try:
        found = attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return f"REACHED {found!r:.60}"


def outcome_apart(attempt):
    """The same, of a child: its last word, or the signal that it died of."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, outcome(attempt).encode())
        os._exit(0)
    os.close(theirs)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return os.read(ours, 100).decode()


def stay(path):
    """Be there, deaf to everybody who asks to stop, and show it: nobody else can lock the file meanwhile.

    Also for a while after being killed: so much memory is not given back at once.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ours = mmap.mmap(-1, LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, LARGE, mmap.PAGESIZE):
        ours[page] = 1
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("staying", flush=True)
        time.sleep(3600)


def leave_somebody_behind(path):
    ready, theirs = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.dup2(theirs, 1)
        stay(path)
    os.read(ready, 1)


def main():
    if sys.argv[1] == "stay":
        stay("/tree/held")
    if sys.argv[1] == "leave":
        leave_somebody_behind("/tree/held")
    if sys.argv[1] == "try":
        for name, attempt in ATTEMPTS.items():
            print(name, outcome(attempt), sep="\t", flush=True)
        for name, attempt in ALONE.items():
            print(name, outcome_apart(attempt), sep="\t", flush=True)
        if OUTSIDE["bomb"]:
            print("fork bomb", outcome_apart(bomb), sep="\t", flush=True)
        print("all tried", flush=True)
        sys.stdin.read()


main()
