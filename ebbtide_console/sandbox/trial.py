"""Tries each thing that the full substrate needs of the kernel, in an enclosure; the first refusal is the answer."""

import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from chalicelib.errors import PermanentError
from ebbtide_console.sandbox import kernel
from ebbtide_console.sandbox.disks import Disks
from ebbtide_console.sandbox.network import Network

STORE_BYTES = 320 * 1024**2


def main(_: Sequence[str]) -> None:
    """Print why not, in one line, and exit 1; exit 0 when all of it works."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-trial-") as directory:
        place = Path(directory)
        trials = (
            ("a tmpfs", _try_tmpfs),
            ("an overlay of /", _try_overlay),
            ("device nodes", _try_devices),
            ("control groups (cgroup2)", _try_cgroup),
            ("a private network (bridge, veth)", _try_network),
            ("loop devices with XFS", _try_store),
        )
        refusal = _first_refusal(place, trials)
        with suppress(OSError):
            kernel.detach_mount(place)
    if refusal:
        print(refusal)
        sys.exit(1)


def _first_refusal(place: Path, trials: Iterable[tuple[str, Callable[[Path], None]]]) -> str | None:
    for what, attempt in trials:
        try:
            attempt(place)
        except (OSError, PermanentError) as error:
            return f"this machine refuses {what}: {error}"
    return None


def _try_tmpfs(place: Path) -> None:
    kernel.mount("tmpfs", place, "tmpfs")


def _try_overlay(place: Path) -> None:
    for name in ("upper", "work", "root", "cgroup", "store"):
        (place / name).mkdir()
    kernel.mount(
        "overlay", place / "root", "overlay", options=f"lowerdir=/,upperdir={place / 'upper'},workdir={place / 'work'}"
    )


def _try_devices(place: Path) -> None:
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def _try_cgroup(place: Path) -> None:
    kernel.mount("cgroup2", place / "cgroup", "cgroup2")
    # In an enclosure every process id is small, and control groups are the machine's: two trials may run at once.
    trial = place / "cgroup" / f"ebbtide-trial-{secrets.token_hex(8)}"
    trial.mkdir()
    with suppress(FileNotFoundError):  # a sandbox that starts just now has cleared it away
        trial.rmdir()


def _try_network(_: Path) -> None:
    network = Network()
    network.listen_names().close()
    network.close()


def _try_store(place: Path) -> None:
    Disks(place / "store.img", place / "store", STORE_BYTES).close()
