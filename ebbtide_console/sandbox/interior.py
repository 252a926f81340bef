"""The inside of a machine or host of the full substrate: built in its new namespaces by what then becomes its init.

A machine gets a writable copy of this machine's root that lives in memory: an overlay, with devices, processes, /run,
/tmp and /root of its own. A host gets this machine's root as it is, with /etc, /run and /var/lib/ebbtide of its own.
"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ebbtide_console.sandbox import furnishing, init, kernel

ROOT = Path("/")
POWER_BUTTON = Path("/usr/sbin")
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
VIRTUAL = (
    "autofs bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc pstore"
    " ramfs rpc_pipefs securityfs sysfs tmpfs tracefs binfmt_misc"
)
HOST_FILES = ("backup_config", "backup_include", "backup_exclude", "backupscripts", "ebbtide")


@dataclass(frozen=True)
class Interior:
    """What the builder is told, as words of its command line."""

    kind: str
    name: str
    name_server: str
    scratch: str
    own: str
    endpoint: str
    region: str
    ready: str

    def words(self) -> list[str]:
        return [*vars(self).values()]


def main(words: Sequence[str]) -> None:
    """Build, tell the sandbox our process id, wait for its word, and be the first process."""
    interior = Interior(*words)
    outside = Path("/proc/self").readlink()  # /proc is still the sandbox's: this is our id as the sandbox sees it
    command = build_machine(interior) if interior.kind == "machine" else build_host(interior)
    ready = int(interior.ready)
    os.write(ready, f"{outside}\n".encode())
    os.close(ready)
    init.main(command)


def build_machine(interior: Interior) -> list[str]:
    """Make a machine's root the root of this process, and return the command that runs its user data."""
    scratch = Path(interior.scratch)
    own_paths = [Path(sys.executable).parents[1], Path(sys.base_prefix)]  # -S leaves sys.prefix the base
    kernel.mount("tmpfs", scratch, "tmpfs", options="mode=755")
    root = scratch / "root"
    _overlay(ROOT, root, scratch / "layers")
    for number, place in enumerate(_file_systems_below_root(scratch)):
        try:
            _overlay(place, root / place.relative_to(ROOT), scratch / f"layers{number}")
        except OSError as error:
            print(f"{place} is not in this machine: {error}", flush=True)
    _kernel_views(root)
    _devices(root / "dev")
    for name, mode in (("run", "755"), ("tmp", "1777"), ("root", "700")):
        kernel.mount("tmpfs", root / name, "tmpfs", kernel.MS_NOSUID, f"mode={mode}")
    for path in own_paths:
        _show(path, root)
    (root / "run/sshd").mkdir(mode=0o755)
    (root / "run/lock").mkdir(mode=0o1777)
    _names(root / "etc", interior)
    furnishing.write_aws_config(root / "root", interior.endpoint, interior.region)
    furnishing.write_power_button(root / POWER_BUTTON.relative_to(ROOT), "1", seen_as=POWER_BUTTON)
    shutil.copyfile(interior.own, root / "run/user-data")
    kernel.make_root(root)
    return ["sh", "/run/user-data"]


def build_host(interior: Interior) -> list[str]:
    """Give a host the parts that are its own; nothing runs in it by itself."""
    scratch, own = Path(interior.scratch), Path(interior.own)
    kernel.mount("tmpfs", scratch, "tmpfs", options="mode=755")
    kernel.mount("proc", Path("/proc"), "proc")
    _overlay(Path("/etc"), Path("/etc"), scratch / "etc")
    _overlay(Path("/var/lib"), Path("/var/lib"), scratch / "lib")
    kernel.mount("tmpfs", Path("/run"), "tmpfs", kernel.MS_NOSUID, "mode=755")
    _names(Path("/etc"), interior)
    for name in HOST_FILES:
        _replace_by_link(Path("/etc") / name, own / "etc" / name)
    Path("/var/lib/ebbtide").mkdir(exist_ok=True)
    kernel.bind(own / "var", Path("/var/lib/ebbtide"))
    return []


def _overlay(lower: Path, place: Path, layers: Path) -> None:
    """Show `lower` at `place`, with changes kept in `layers`; its top directory keeps its owner and mode."""
    upper, work = layers / "upper", layers / "work"
    for directory in (upper, work):
        directory.mkdir(parents=True)
    shutil.copystat(lower, upper)
    place.mkdir(parents=True, exist_ok=True)
    kernel.mount("overlay", place, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")


def _file_systems_below_root(scratch: Path) -> Iterator[Path]:
    """Where further file systems with files are mounted: an overlay of / does not show them. Shallow ones first."""
    virtual = VIRTUAL.split()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        place = Path(left.split()[4].encode().decode("unicode_escape"))
        ours = place == scratch or scratch.parent in place.parents
        if place != ROOT and not ours and right.split()[0] not in virtual and place.is_dir():
            yield place


def _kernel_views(root: Path) -> None:
    """Fresh views of this machine's own processes, network and control groups."""
    kernel.mount("proc", root / "proc", "proc")
    kernel.mount("sysfs", root / "sys", "sysfs")
    kernel.mount("cgroup2", root / "sys/fs/cgroup", "cgroup2")


def _devices(dev: Path) -> None:
    """The devices of a machine; its volumes appear as they are attached."""
    kernel.mount("tmpfs", dev, "tmpfs", kernel.MS_NOSUID, "mode=755")
    for name, (major, minor) in DEVICES.items():
        make_node(dev / name, stat.S_IFCHR | 0o666, major, minor)
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)
    for directory in (dev / "pts", dev / "shm", dev.parent / furnishing.BY_ID):
        directory.mkdir(parents=True)
    kernel.mount("devpts", dev / "pts", "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=666,mode=620,gid=5")
    kernel.mount("tmpfs", dev / "shm", "tmpfs", kernel.MS_NOSUID, "mode=1777")


def make_node(path: Path, mode: int, major: int, minor: int) -> None:
    """mknod(2), with this mode whatever the umask."""
    os.mknod(path, mode, os.makedev(major, minor))
    path.chmod(stat.S_IMODE(mode))


def _show(path: Path, root: Path) -> None:
    """Make a directory of the real root visible in the new one, unless it is already."""
    place = root / path.relative_to(ROOT)
    if not place.is_dir():
        place.mkdir(parents=True)
        kernel.bind(path, place, read_only=True)


def _names(etc: Path, interior: Interior) -> None:
    """Its own host name, and the sandbox as its only name server."""
    socket.sethostname(interior.name)
    for name, text in (
        ("hostname", f"{interior.name}\n"),
        ("hosts", f"127.0.0.1 localhost\n127.0.1.1 {interior.name}\n"),
        ("resolv.conf", f"nameserver {interior.name_server}\n"),
    ):
        path = etc / name
        path.unlink(missing_ok=True)  # often a link to a place that is not in here
        path.write_text(text)


def _replace_by_link(path: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    path.symlink_to(target)
