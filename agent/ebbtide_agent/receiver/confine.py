"""The walls around a host's rsync: its own user id, nothing of the machine but rsync and its view, no network.

rsync's own options are not the boundary; the operating system is. Three kinds, the strongest that works is used:
"separate" (a user id for each host), "own" (the same walls, as the one user we are) and "munged" (no walls but
rsync's daemon: for a machine that refuses namespaces; symlink targets are then stored with a prefix).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.points import TREE
from ebbtide_agent.receiver import orphans, seccomp
from ebbtide_agent.receiver.view import Readable, View

SEPARATE = "separate"
OWN = "own"
MUNGED = "munged"

# 33 vulnerabilities ended with 3.5.0, one of them a way out of the module.
OLDEST_RSYNC = (3, 5, 0)
# What the walls are made of, beside the kernel's part.
PROGRAMS = ("prlimit", "choom", "setpriv", "bwrap")
# A fork bomb ends here. A session takes half a dozen, and a host that reads its past may have several at once.
MOST_PROCESSES = 128
MOST_OPEN_FILES = 256
# Who tries whether the walls stand, before there is a host.
_NOBODY = 65534
LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/usr/local/lib")

# No network, no processes, no environment; the chroot is what makes rsync's path look-ups cheap.
_NAMESPACES = (
    "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-add", "CAP_SYS_CHROOT",
)  # fmt: skip
_TREE_PLACE = Path("/tree")
# What no agent asks for: a batch in the place of a push, and places beside the one that a file is for. A daemon refuses
# of itself what would write a log or a device.
_REFUSED = "write-batch only-write-batch read-batch backup-dir temp-dir compare-dest copy-dest link-dest"
_ANY_MODULE = ("fake super = yes", "list = no")


@dataclass(frozen=True)
class Files:
    """What a confined rsync reads, opened by us beforehand: its configuration and the system-call filter."""

    config: Path
    descriptors: tuple[int, ...] = ()


def choose(as_root: bool) -> str:
    """The strongest kind that works on this machine. As root anything less than separate user ids is an error."""
    check_rsync()
    kind = SEPARATE if as_root else OWN
    why = _why_not(kind)
    if why is None:
        return kind
    if as_root:
        raise PermanentError(f"a host's rsync cannot be confined on this machine: {why}")
    return MUNGED


def sentence(kind: str) -> str:
    """What the receiver's log says of it."""
    return {
        SEPARATE: "each host's rsync runs as a user of its own, in namespaces that hold nothing but its tree",
        OWN: "not root: each host's rsync runs as this user, in namespaces that hold nothing but its tree",
        MUNGED: "not root, and no namespaces here: rsync's daemon is the only wall between the hosts' trees",
    }[kind]


def check_rsync() -> str:
    """The version of this machine's rsync. Raises PermanentError when it is missing or too old to face a host."""
    ended = procs.run((_program("rsync"), "--version"))
    match = re.match(rb"rsync\s+version\s+v?(([0-9]+)\.([0-9]+)\.([0-9]+)\S*)", ended.out)
    if not match:
        raise PermanentError(f"rsync --version: {ended.why}")
    if tuple(map(int, match.groups()[1:])) < OLDEST_RSYNC:
        raise PermanentError(f"rsync {match[1].decode()} is too old for a receiver; it takes 3.5.0 or newer")
    return match[1].decode("ascii", "replace")


def rsyncd_conf(kind: str, view: View) -> str:
    """The daemon's configuration: a module for each part of a view, owners and devices in extended attributes."""
    walls = ("use chroot = no", "munge symlinks = yes") if kind == MUNGED else ("use chroot = yes",)
    lines = ["log file = /dev/null", "numeric ids = yes", "reverse lookup = no", f"refuse options = {_REFUSED}", *walls]
    if view.tree:
        place = view.tree if kind == MUNGED else _TREE_PLACE
        lines += [f"[{TREE}]", f"path = {place}", "read only = no", "write only = yes", *_ANY_MODULE]
    for point in view.points:
        place = point.place if kind == MUNGED else _point_place(point)
        munged = "yes" if point.munged else "no"
        lines += [f"[{point.name}]", f"path = {place}", "read only = yes", f"munge symlinks = {munged}", *_ANY_MODULE]
    return "\n".join((*lines, ""))


def serve(kind: str, view: View, config: Path) -> int:
    """Let a host's rsync talk to a daemon within the walls that sees this view and nothing else; its exit code."""
    files = open_files(kind, view, config)
    return orphans.run_to_the_last(command(kind, view, files), files.descriptors)


def command(kind: str, view: View, files: Files) -> tuple[str, ...]:
    """The rsync daemon on standard input and output, within the walls of this kind."""
    rsync = _program("rsync")
    if kind == MUNGED:
        return (rsync, "--server", "--daemon", f"--config={files.config}", ".")
    return (*_walled(kind, view, files), rsync, "--server", "--daemon", "--config=/rsyncd.conf", ".")


def _why_not(kind: str) -> str | None:
    """What keeps walls of this kind from standing on this machine: they are put up around nothing, to see."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"{' and '.join(missing)} not installed"
    view = View(_NOBODY)
    try:
        files = _files_within(kind, view)
    except PermanentError as error:
        return str(error)
    try:
        trial = procs.run((*_walled(kind, view, files), _program("rsync"), "--version"), files=files.descriptors)
    finally:
        for descriptor in files.descriptors:
            os.close(descriptor)
    return None if trial.exit_code == 0 else trial.why


def _walled(kind: str, view: View, files: Files) -> tuple[str, ...]:
    """What a program is started with to have it run within the walls; its own words follow.

    Nothing is there to write to but the tree: what a host could put elsewhere would be this machine's memory.
    """
    rsync = _program("rsync")
    config, filtering = map(str, files.descriptors)
    become = _become(view.uid) if kind == SEPARATE else ()
    walls = (_program("bwrap"), *_NAMESPACES, "--seccomp", filtering, *_libraries(), "--ro-bind", rsync, rsync)
    inside = ("--dev-bind", os.devnull, os.devnull, *_places(view), "--ro-bind-data", config, "/rsyncd.conf")
    return (*_limits(kind), *become, *walls, *inside, "--remount-ro", "/", "--chdir", "/", "--")


def _places(view: View) -> tuple[str, ...]:
    tree = ("--bind", str(view.tree), str(_TREE_PLACE)) if view.tree else ()
    points = (("--ro-bind", str(point.place), str(_point_place(point))) for point in view.points)
    return (*tree, *(word for words in points for word in words))


def _point_place(point: Readable) -> Path:
    return Path("/points") / point.name


def open_files(kind: str, view: View, config: Path) -> Files:
    """Write what the confined rsync reads: its configuration by name, or both into files that only we have open."""
    if kind == MUNGED:
        write_whole(config, rsyncd_conf(kind, view).encode())
        return Files(config)
    return _files_within(kind, view)


def _files_within(kind: str, view: View) -> Files:
    """Both in memory, and nothing written anywhere."""
    bodies = (rsyncd_conf(kind, view).encode(), seccomp.program(platform.machine()))
    return Files(Path("/rsyncd.conf"), tuple(map(_nameless, bodies)))


def _become(uid: int) -> tuple[str, ...]:
    ids = ("--reuid", str(uid), "--regid", str(uid), "--clear-groups")
    return (_program("setpriv"), *ids, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--")


def _limits(kind: str) -> tuple[str, ...]:
    """No dump of a core, few files, and when memory is short the first one to go.

    With a limit of 0 a program that core_pattern names would read the dump all the same, outside and as root (core(5)).
    Processes are counted for each user id: without one of its own a host's could not be told from everybody's.
    """
    limits = ["--core=1", f"--nofile={MOST_OPEN_FILES}"]
    if kind == SEPARATE:
        limits.append(f"--nproc={MOST_PROCESSES}")
    return (_program("prlimit"), *limits, _program("choom"), "--adjust", "1000", "--")


def _libraries() -> tuple[str, ...]:
    """The machine's libraries, read only; where /lib is a link to usr/lib it is one inside as well."""
    words: list[str] = []
    for place in map(Path, LIBRARIES):
        if place.is_symlink():
            words += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    return tuple(words)


def _program(name: str) -> str:
    """Where a program really is: inside the walls there is no PATH and no link to follow."""
    found = shutil.which(name)
    return os.path.realpath(found) if found else name


def _nameless(body: bytes) -> int:
    descriptor = os.memfd_create("ebbtide")
    os.write(descriptor, body)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
