"""Whoever has broken into a host's rsync: a program of ours in its place, within exactly the walls that it has."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.receiver import confine, seccomp
from tests.attack.canaries import ELSEWHERE, PLANTED
from tests.attack.marks import tried
from tests.attack.scene import is_held
from tests.local.processes import below
from tests.local.receiver_machine import MAY_MOUNT, MISSING, as_whom, path_of, unpacked, wait_until
from tools.build_agent import build

HERE = Path(__file__).parent
IS_ROOT = os.geteuid() == 0
# Processes are counted by user: not those of another run of these tests.
UID = 1_000_001 + os.getpid()
# A Python that everybody may start: the one of these tests may lie in root's own home.
OF_THE_SYSTEM = Path("/usr/bin/python3")
PYTHON = OF_THE_SYSTEM.resolve() if IS_ROOT or OF_THE_SYSTEM.exists() else Path(sys.executable).resolve()

needs_root = pytest.mark.skipif(not IS_ROOT, reason="a user id for each host needs root")
needs_mounts = pytest.mark.skipif(
    IS_ROOT and not MAY_MOUNT, reason="being another user for a while needs a mount namespace"
)
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: somebody has to try it within the walls"),
]
KINDS = [
    pytest.param(confine.SEPARATE, marks=needs_root),
    pytest.param(confine.OWN, marks=needs_mounts),
]
each = pytest.mark.parametrize("walls", KINDS, indirect=True)

ATTEMPTS = [
    tried("a file descriptor that was left open", "inherited descriptors", "EBADF", row="X9", outcome="there is none"),
    tried("read the gate's environment", "environment", "ENOENT", row="X9", outcome="there is none"),
    tried("read /etc/passwd", "passwd", "ENOENT", row="X9", outcome="not there"),
    tried("read /etc/shadow", "shadow", "ENOENT", row="X9", outcome="not there"),
    tried("list /proc, for other processes", "proc", "ENOENT", row="X9", outcome="not there"),
    tried("list /sys", "sys", "ENOENT", row="X9", outcome="not there"),
    tried("list root's keys", "root's keys", "ENOENT", row="X9", outcome="not there"),
    tried("list /run, where the receiver keeps its notes", "run", "ENOENT", row="X9", outcome="not there"),
    tried("read another host's tree", "another tree", "ENOENT", row="X9", outcome="not there"),
    tried("read another host's tree by climbing out", "climb", "ENOENT", row="X9", outcome="not there"),
    tried("read the receiver's record of another host", "another record", "ENOENT", row="X9", outcome="not there"),
    tried("read the receiver's record of one's own tree", "own record", "ENOENT", row="X9", outcome="not there"),
    tried("delete that record", "delete own record", "ENOENT", row="X9", outcome="not there"),
    tried("leave a chroot through an open directory", "chroot", "ENOENT", row="X9", outcome="nothing is outside"),
    tried("write to the root, which is memory", "write root", "EROFS", row="X9", outcome="read-only"),
    tried("write to the machine's libraries", "write libraries", "EROFS", row="X9", outcome="read-only"),
    tried("write to shared memory", "write shared memory", "ENOENT", row="X9", outcome="not there"),
    tried("write the daemon's configuration", "write configuration", "EROFS", row="X9", outcome="read-only"),
    tried("write beside the tree", "write beside the tree", "EROFS", row="X9", outcome="read-only"),
    tried("connect to a port of the receiver", "sshd's port", "EPERM", row="X9", outcome="no sockets"),
    tried("ask the metadata service for credentials", "metadata", "EPERM", row="X9", outcome="no sockets"),
    tried("ask a name server", "name servers", "EPERM", row="X9", outcome="no sockets"),
    tried("connect to an abstract socket of the machine", "abstract socket", "EPERM", row="X9", outcome="no sockets"),
    tried("the same with half of a socket pair", "socket pair", "EPERM", row="X9", outcome="no connecting"),
    tried("a pair of sockets that are not local", "pair of another family", "EPERM", row="X9", outcome="filtered"),
    tried("connect to the hypervisor by vsock", "vsock", "EPERM", row="X9", outcome="no sockets"),
    tried("talk to the kernel by netlink", "netlink", "EPERM", row="X9", outcome="no sockets"),
    tried("send packets of one's own making", "packets", "EPERM", row="X9", outcome="no sockets"),
    tried("end a process outside", "kill", "ESRCH", row="X9", outcome="not there"),
    tried("ptrace", "ptrace", "EPERM", row="X9", outcome="filtered"),
    tried("read another process's memory", "process_vm_readv", "EPERM", row="X9", outcome="filtered"),
    tried("take another process's descriptor", "pidfd_getfd", "EPERM", row="X9", outcome="filtered"),
    tried("mount", "mount", "EPERM", row="X9", outcome="filtered"),
    tried("unmount", "umount2", "EPERM", row="X9", outcome="filtered"),
    tried("pivot_root", "pivot_root", "EPERM", row="X9", outcome="filtered"),
    tried("fsopen, the newer mount", "fsopen", "EPERM", row="X9", outcome="filtered"),
    tried("open_tree", "open_tree", "EPERM", row="X9", outcome="filtered"),
    tried("move_mount", "move_mount", "EPERM", row="X9", outcome="filtered"),
    tried("fspick", "fspick", "EPERM", row="X9", outcome="filtered"),
    tried("make a read-only mount writable", "mount_setattr", "EPERM", row="X9", outcome="filtered"),
    tried("a user namespace by unshare, for all capabilities", "unshare user", "EPERM", row="X9", outcome="filtered"),
    tried("a network namespace by unshare", "unshare net", "EPERM", row="X9", outcome="filtered"),
    tried("a user namespace by clone", "clone user", "EPERM", row="X9", outcome="filtered"),
    tried("a namespace by clone3, which hides its flags", "clone3", "ENOSYS", row="X9", outcome="filtered"),
    tried("enter a namespace", "setns", "EPERM", row="X9", outcome="filtered"),
    tried("open a file by its handle", "open_by_handle_at", "EPERM", row="X9", outcome="filtered"),
    tried("io_uring, past the filter", "io_uring", "EPERM", row="X9", outcome="filtered"),
    tried("read a keyring", "keyctl", "EPERM", row="X9", outcome="filtered"),
    tried("fill a keyring", "add_key", "EPERM", row="X9", outcome="filtered"),
    tried("load a BPF program", "bpf", "EPERM", row="X9", outcome="filtered"),
    tried("userfaultfd", "userfaultfd", "EPERM", row="X9", outcome="filtered"),
    tried("performance events", "perf", "EPERM", row="X9", outcome="filtered"),
    tried("read the kernel's log", "kernel log", "EPERM", row="X9", outcome="filtered"),
    tried("load another kernel", "kexec", "EPERM", row="X9", outcome="filtered"),
    tried("load a module", "module", "EPERM", row="X9", outcome="filtered"),
    tried("load a module from a file", "module of a file", "EPERM", row="X9", outcome="filtered"),
    tried("restart the machine", "reboot", "EPERM", row="X9", outcome="filtered"),
    tried("swap onto a file", "swapon", "EPERM", row="X9", outcome="filtered"),
    tried("account processes into a file", "acct", "EPERM", row="X9", outcome="filtered"),
    tried("change a quota", "quotactl", "EPERM", row="X9", outcome="filtered"),
    tried("a btrfs subvolume, outside the quota", "subvolume", "EPERM", row="X9", outcome="filtered"),
    tried("another project for one's tree, outside the quota", "project", "EPERM", row="X9", outcome="filtered"),
    tried("let what is made in one's tree belong to no project", "flags", "EPERM", row="X9", outcome="filtered"),
    tried("both by file_setattr, the newer way", "attributes", "EPERM", row="X9", outcome="filtered"),
    tried("type into an inherited terminal (TIOCSTI)", "terminal", "ENOTTY", row="X9", outcome="no terminal"),
    tried("open the controlling terminal", "controlling terminal", "ENOENT", row="X9", outcome="not there"),
    tried("make a block device", "block device", "EPERM", row="X9", outcome="filtered"),
    tried("make a character device", "character device", "EPERM", row="X9", outcome="filtered"),
    tried("make a pipe, for who reads the tree to wait at", "pipe", "EPERM", row="X9", outcome="filtered"),
    tried("the same by mknod, the older way", "pipe by mknod", "EPERM", row="X9", outcome="filtered"),
    tried("leave a socket's name", "socket's name", "EPERM", row="X9", outcome="filtered"),
    tried("fill a file that has no name", "memory without a name", "EPERM", row="X9", outcome="filtered"),
    tried("the same, hidden from the kernel", "secret memory", "EPERM", row="X9", outcome="filtered"),
    tried("fill shared memory of System V", "shared memory", "EPERM", row="X9", outcome="filtered"),
    tried("fill its queues of messages", "messages", "EPERM", row="X9", outcome="filtered"),
    tried("fill its semaphores", "semaphores", "EPERM", row="X9", outcome="filtered"),
    tried("fill queues of messages of POSIX", "messages by name", "EPERM", row="X9", outcome="filtered"),
    tried("become root", "become root", "EINVAL", row="X9", outcome="no such user here"),
    tried("change groups", "groups", "EPERM", row="X9", outcome="no privilege"),
    tried("gain by a setuid program", "setuid", "EPERM", row="X9", outcome="no new privileges"),
    tried("have a crash read by a program of root's", "crash", "EPERM", row="X9", outcome="it is not started"),
    tried("hold more than the right to chroot", "capabilities", "EPERM", row="X9", outcome="no privilege"),
    tried("raise one's limits", "limits", "EPERM", row="X9", outcome="no privilege"),
    tried("make a limit a weaker one by lowering it", "weaker limits", "EPERM", row="X9", outcome="filtered"),
    tried("lock parts of a file, in memory that nobody is charged for", "locks", "EPERM", row="X9", outcome="filtered"),
    tried("hold a thousand files open", "files", "EMFILE", row="X9", outcome="no more than 256"),
    tried("rename the machine", "host name", "EPERM", row="X9", outcome="no privilege"),
    tried("set the clock", "clock", "EPERM", row="X9", outcome="no privilege"),
    tried("system calls of i386, past the filter", "i386", "SIGSYS", row="X9", outcome="killed"),
    tried("system calls of x32, past the filter", "x32", "SIGSYS", row="X9", outcome="killed"),
]  # fmt: skip


@dataclass(frozen=True)
class Walls:
    """Walls of one kind, around the tree of us0, on a volume where eu0 has one as well."""

    kind: str
    place: Path
    outside: Mapping[str, object]

    @property
    def tree(self) -> Path:
        return self.place / "hosts/us0a/tree"

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """What was said on standard output comes through a pipe, as it does at a gate."""
        become, _ = as_whom(self.kind == confine.SEPARATE, self.place, self.place / "hosts")
        program = [sys.executable, str(self.place / "walled.py"), self.kind, str(UID), str(self.tree)]
        inside = [str(PYTHON), str(self.place / "inside.py"), *words]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(unpacked(build)), "SECRET": "of the gate"}
        return subprocess.Popen(
            [*become, *program, *inside],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    def planted(self) -> list[Path]:
        """What was left where nothing should be."""
        found = [*self.place.rglob(PLANTED), *(Path(place) / PLANTED for place in ELSEWHERE)]
        return [path for path in found if path.exists() and self.tree not in path.parents]


@contextmanager
def a_volume(kind: str) -> Iterator[Walls]:
    with TemporaryDirectory(prefix="ebbtide-walls-") as directory, listening() as (port, abstract):
        place = Path(directory)
        place.chmod(0o755)
        for name in ("inside.py", "walled.py"):
            (place / name).write_bytes((HERE / name).read_bytes())
        for host, uid in (("us0a", UID), ("eu0a", UID + 1)):
            tree = place / "hosts" / host / "tree"
            tree.mkdir(parents=True)
            (tree / "secret").write_text(f"of {host}")
            (place / "hosts" / host / "status.json").write_text("the receiver's own")
            tree.chmod(0o700)
            if kind == confine.SEPARATE:
                os.chown(tree, uid, uid)
        outside = {
            "planted": PLANTED,
            "secret": str(place / "hosts/eu0a/tree/secret"),
            "another's record": str(place / "hosts/eu0a/status.json"),
            "record": str(place / "hosts/us0a/status.json"),
            "port": port,
            "abstract": abstract,
            "process": os.getpid(),
            # As the one user that everybody is, a host's processes cannot be counted.
            "bomb": kind == confine.SEPARATE,
        }
        yield Walls(kind, place, outside)


@contextmanager
def listening() -> Iterator[tuple[int, str]]:
    """A port and an abstract socket of this machine; nobody may have knocked on them in the end."""
    abstract = f"ebbtide-walls-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + abstract)
        local.listen()
        yield port.getsockname()[1], abstract
        for listener in (port, local):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.fixture(scope="module")
def walls(request: pytest.FixtureRequest) -> Iterator[Walls]:
    with a_volume(request.param) as walls:
        yield walls


@pytest.fixture(scope="module")
def answers(walls: Walls) -> Mapping[str, str]:
    """What came of each attempt. All are made at once: it is the walls that take long to put up."""
    with walls.start("try", json.dumps(walls.outside)) as attacker:
        out, err = attacker.communicate(timeout=120)
    assert attacker.returncode == 0, err.decode()
    *lines, last = out.decode().splitlines()
    assert last == "all tried"
    return dict(line.split("\t", 1) for line in lines)


@pytest.mark.fault("X9")
@each
@pytest.mark.parametrize(("attempt", "error"), ATTEMPTS)
def test_whoever_has_broken_into_rsync_gets_no_further(
    walls: Walls, answers: Mapping[str, str], attempt: str, error: str
) -> None:
    if attempt in ("i386", "x32") and platform.machine() != "x86_64":
        pytest.skip("x86_64 alone can be spoken to in three ways")

    assert answers[attempt] == error


@pytest.mark.fault("X9")
@each
def test_nothing_of_it_is_left_anywhere_but_in_the_tree(walls: Walls, answers: Mapping[str, str]) -> None:
    assert {*answers} >= {each.values[0] for each in ATTEMPTS}
    assert walls.planted() == []
    assert (walls.place / "hosts/eu0a/tree/secret").read_text() == "of eu0a"
    assert (walls.place / "hosts/us0a/status.json").read_text() == "the receiver's own"


@pytest.mark.attack("a fork bomb", row="X9", outcome="128 processes at most")
@pytest.mark.fault("X9")
@pytest.mark.parametrize("walls", KINDS[:1], indirect=True)
def test_a_fork_bomb_ends_where_processes_are_counted_for_each_host(walls: Walls, answers: Mapping[str, str]) -> None:
    assert answers["fork bomb"] == "EAGAIN"


@pytest.mark.attack("leave a process behind that outlives the session", row="X9", outcome="ended with it")
@pytest.mark.fault("X9")
@each
def test_whom_it_has_left_behind_ends_with_the_session(walls: Walls) -> None:
    with walls.start("leave", "{}") as attacker:
        out, err = attacker.communicate(timeout=60)

    assert (out, attacker.returncode) == (b"", 0), err.decode()


@pytest.mark.attack("stay when the gate is told to stop, deaf to every signal", row="X9", outcome="gone before it")
@pytest.mark.fault("X9")
@each
def test_a_gate_that_is_told_to_stop_goes_last(walls: Walls) -> None:
    with walls.start("stay", "{}") as gate:
        said = gate.stdout.readline() if gate.stdout else b""
        gate.terminate()
        gate.wait(60)
        is_there = is_held(walls.tree / "held")

    assert (said, gate.returncode, is_there) == (b"staying\n", 128 + signal.SIGTERM, False)


@pytest.mark.attack("stay when the gate is killed, deaf to every signal", row="X9", outcome="killed with it")
@pytest.mark.attack("share a namespace with the machine", row="X9", outcome="it has its own")
@pytest.mark.attack("be spared when memory is short", row="X4", outcome="the first to go")
@pytest.mark.fault("X9")
@each
def test_when_the_gate_is_killed_nobody_stays_within_the_walls(walls: Walls) -> None:
    with walls.start("stay", "{}") as gate:
        try:
            said = gate.stdout.readline() if gate.stdout else b""
            is_there = is_held(walls.tree / "held")
            within = [process for process in below(gate.pid) if not below(process)]
            adjusted = [Path(f"/proc/{process}/oom_score_adj").read_text().strip() for process in within]
            shared = [name for process in within for name in NAMESPACES if namespace(name, process) == namespace(name)]
        finally:
            gate.kill()

        wait_until(lambda: not is_held(walls.tree / "held"), "whoever was within the walls to be gone")
        assert (said, is_there, adjusted, shared) == (b"staying\n", True, ["1000"], [])


NAMESPACES = ("ipc", "mnt", "net", "pid", "user", "uts")


def namespace(name: str, process: int | str = "self") -> Path:
    return Path(f"/proc/{process}/ns/{name}").readlink()


def test_an_architecture_whose_system_calls_are_not_known_has_no_filter_and_says_so() -> None:
    with pytest.raises(PermanentError, match="system calls on riscv64 are not known, only those on x86_64 and aarch64"):
        seccomp.program("riscv64")


@needs_root
def test_as_root_walls_that_do_not_stand_are_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        monkeypatch.setenv("PATH", path_of(confine.MUNGED, Path(place)))

        with pytest.raises(PermanentError, match="cannot be confined on this machine: bwrap: No permissions to create"):
            confine.choose(as_root=True)


@needs_root
def test_as_root_an_unknown_architecture_is_an_error_and_not_walls_without_a_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(PermanentError, match=r"cannot be confined on this machine: .* on riscv64"):
        confine.choose(as_root=True)


def test_a_machine_without_a_part_of_the_walls_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "PROGRAMS", ("bwrap", "not-there"))

    with pytest.raises(PermanentError, match="cannot be confined on this machine: not-there not installed"):
        confine.choose(as_root=True)
