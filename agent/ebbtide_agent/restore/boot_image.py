"""Starting a restored tree in a container that cannot change the tree, with its own init if it has one that we know:
to try it, or to have it back.

What is tried has a network of nobody's, and leaves nothing behind. What is to be had again has this machine's, and what
it writes is kept beside the tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.restore.architecture import why_not_here
from ebbtide_agent.restore.compare import shown
from ebbtide_agent.restore.inits import INITS, Course, start_of, why_not_started

PATIENCE_SECONDS = 180.0
# What an image that is to stand has written, beside its tree; never in it.
KEPT = "restored"
WRITTEN = f"{KEPT}/upper"
# What an image says on its console of each step. It is in the layer that is kept, for whichever process boots it next.
_MARK = "ebbtide-step"
# nspawn's exit code when the image has asked for a reboot (EXIT_FORCE_RESTART).
REBOOT = 133
_TRIED = ("--private-network", "--resolv-conf=off")
# Nor may it make packets of its own: they would get to where this machine asks for its role's credentials.
_STANDING = ("--drop-capability=CAP_NET_RAW", "--resolv-conf=replace-host")

# Runs in mount and PID namespaces of its own, so that all of it goes when they go. The tree lies below an overlay
# whose upper layer is memory, or what is `kept` beside the tree; between them lies what its init shall find different,
# which comes as a tar and is kept there as well, as first made: the index, by which a file of several names stays one
# when it is written to, is for this layer and no other. /run is replaced, as nspawn keeps locks there that it cannot
# remove when it is killed.
_STAGE = """
set -eu
tree=$1 kept=$2 group=$3 ready=$4 name=$5
shift 5
cd "$tree"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/ebbtide/lower /run/ebbtide/room /run/ebbtide/restored
mount --bind . /run/ebbtide/lower
[ -z "$kept" ] || { mkdir -p "../$kept" && mount --bind "../$kept" /run/ebbtide/room; }
cd /run/ebbtide/room
mkdir -p upper work
if [ ! -d layer ]; then
    rm -rf layer.part
    mkdir layer.part
    tar --extract --preserve-permissions --xattrs --xattrs-include='*' --directory=layer.part
    mv layer.part layer
fi
mount -t overlay -o lowerdir=layer:/run/ebbtide/lower,upperdir=upper,workdir=work \
    -o index=on overlay /run/ebbtide/restored
cd /
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$group
mkdir "$group"
echo 0 >"$group/cgroup.procs"
exec env NOTIFY_SOCKET="$ready" systemd-nspawn --quiet --register=no --keep-unit --notify-ready=yes \
    --drop-capability=CAP_MKNOD --timezone=off --link-journal=no \
    --machine=restored --hostname="$name" --directory=/run/ebbtide/restored "$@" </dev/null
"""

# A cgroup outlives its processes and can be removed only once they are gone: this waits for both.
_CLEAR = """
set -eu
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$1
tries=0
while [ -d "$group" ]; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && continue
    tries=$((tries + 1))
    [ $tries -le 100 ] || { echo "$group is still in use" >&2; exit 1; }
    sleep 0.1
done
"""
# The image's root is root of this machine's devices, too: it could mount a file system of them all. What it may open is
# in its control group, where systemd has told the kernel: what a container needs, and no disk. It comes before whatever
# else this machine does, as somebody may be waiting for it.
WALLED = (
    "systemd-run", "--quiet", "--scope", "--collect", "--property=Delegate=yes", "--property=DevicePolicy=closed",
    "--property=DeviceAllow=char-pts rw", "--property=CPUWeight=10000", "--property=IOWeight=10000", "--",
)  # fmt: skip
_SYSTEMD = Path("/run/systemd/system")
# systemd-run knows since version 254 how not to put variables into what it starts, and Debian 13's says that one day it
# will put them in unless it is told. The commands of a policy have variables of their own.
_AS_THEY_ARE = "--expand-environment=no"
_PRIVATE = ("unshare", "--mount", "--propagation", "private")
# Whatever ends this process takes the container along.
_CONTAINED = ("setpriv", "--pdeathsig", "KILL", *_PRIVATE, "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")


@dataclass(frozen=True)
class Boot:
    """How it went. `leader` is the image's init as this machine sees it, while it is up; `why` says why it is not.

    `failures` are what has failed of it that did not keep it from being up.
    """

    leader: int | None
    why: str | None
    seconds: float
    container: procs.Child | None = None
    failures: tuple[str, ...] = ()

    @property
    def is_up(self) -> bool:
        return self.leader is not None

    def wait(self) -> int:
        """Until the image ends by itself; `REBOOT` when it wants to begin again."""
        return self.container.wait() if self.container is not None else 0


@contextmanager
def booted(
    tree: Path,
    name: str,
    patience: float = PATIENCE_SECONDS,
    stands: bool = False,
    commands: Sequence[str] = (),
) -> Iterator[Boot]:
    """Boot `tree` under this name and keep it up within the block; then no process, mount or cgroup of it is left.

    The tree itself is never written to, /etc/hostname included. `commands` start an image that has no init that we
    know, in this order. What keeps it from booting is the Boot's `why`, not an exception. One that `stands` has this
    machine's network, and goes on with what it wrote before.
    """
    reason = why_not_started(tree, commands) or _obstacle(tree)
    if reason is not None:
        yield Boot(None, reason, 0.0)
        return
    group = name_of_its_own()
    start = start_of(tree, name, stands, commands, _MARK)
    course = Course(start)
    with tempfile.TemporaryFile() as layer, _readiness() as (listener, address):
        layer.write(start.layer)
        layer.seek(0)
        started = time.monotonic()
        stage = ["/bin/sh", "-c", _STAGE, "stage", str(tree.resolve()), KEPT if stands else "", group, address, name]
        stage += [*start.options, *(_STANDING if stands else _TRIED), "--", *start.arguments]
        container = procs.start([*walls(), *_CONTAINED, *stage], layer, procs.PIPE, procs.WITH_OUTPUT)
        assert container.stdout
        console = procs.Kept(container.stdout, procs.KEEP_BYTES, course.hear)
        try:
            why = _await(course, listener, container, console, started + patience)
            leader = _leader(container.pid) if why is None else None
            if why is None and leader is None:
                why = "it said that it was ready, and was gone"
            yield Boot(leader, why, time.monotonic() - started, container, course.failures())
        finally:
            _end(container)
            procs.run([*_PRIVATE, "/bin/sh", "-c", _CLEAR, "clear", group], timeout=30)


def name_of_its_own() -> str:
    """What the cgroup and the socket of this process's boot are called: in each pid namespace numbers begin anew."""
    return f"ebbtide-boot-{Path('/proc/self/ns/pid').stat().st_ino}-{os.getpid()}"


def walls(systemd: Path = _SYSTEMD) -> tuple[str, ...]:
    """What keeps the image from this machine's disks, where somebody can: on every machine that EC2 starts."""
    if not systemd.is_dir():
        return ()
    program, *options = WALLED
    known = procs.run([program, "--help"], timeout=30).out.decode()
    return (program, *([_AS_THEY_ARE] if _AS_THEY_ARE.partition("=")[0] in known else []), *options)


def _obstacle(tree: Path) -> str | None:
    """Why there is no point in trying, or None."""
    # Not through a link: what is absolute leads out of the image.
    strange = next(filter(None, (why_not_here(tree / init) for init in INITS if not (tree / init).is_symlink())), None)
    if strange is not None:
        return strange
    if os.geteuid() != 0:
        return "booting needs root"
    missing = [program for program in ("systemd-nspawn", "unshare", "setpriv") if not shutil.which(program)]
    if missing:
        return f"{', '.join(missing)} not installed"
    allowed = procs.run([*_PRIVATE, "--pid", "--fork", "--mount-proc", "true"], timeout=30)
    if allowed.exit_code != 0:
        return f"this machine may not make namespaces: {shown(allowed.why.encode())}"
    return None


@contextmanager
def _readiness() -> Iterator[tuple[socket.socket, str]]:
    """A socket on which the image's init says READY=1, and its abstract address, which no mount can hide."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = name_of_its_own()
        listener.bind("\0" + name)
        listener.settimeout(0.2)
        yield listener, "@" + name


def _await(
    course: Course, listener: socket.socket, container: procs.Child, console: procs.Kept, deadline: float
) -> str | None:
    """None once the image has started, else why it has not."""
    while time.monotonic() < deadline:
        if container.poll() is not None:
            console.get()
            return f"it ended: {course.last_words()}"
        is_ready = _hears_ready(listener)
        if course.is_done() if course.steps else is_ready:
            return None
    return f"not started in time: {course.last_words()}"


def _hears_ready(listener: socket.socket) -> bool:
    """Whether the image's init has just said so; waits for a moment."""
    try:
        return b"READY=1" in listener.recv(4096).split(b"\n")
    except socket.timeout:
        return False


def _end(container: procs.Child) -> None:
    """Kill the first process of the container's PID namespace, and so all of it; its parent buries it."""
    for nspawn in _children(container.pid) or [container.pid]:
        with suppress(ProcessLookupError):
            os.kill(nspawn, signal.SIGKILL)
    container.wait()


def _leader(container: int) -> int | None:
    """The image's init: two below the container's own process, and number 1 in its own PID namespace."""
    for nspawn in _children(container):
        for child in _children(nspawn):
            if _status(child).get("NSpid", "").split()[-1:] == ["1"]:
                return child
    return None


def _children(parent: int) -> list[int]:
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [number for number in numbers if _status(number).get("PPid", "").strip() == str(parent)]


def _status(process: int) -> dict[str, str]:
    """What /proc says of a process; nothing when it has gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":", 1) for line in lines)
