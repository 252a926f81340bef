"""What keeps an image from the disks of the machine that boots it, where that has systemd, as on EC2.

The machine is a Debian under its own systemd, and has a disk. What is tried root of an image could do.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own, wait_until

from ebbtide_agent.restore.boot_image import WALLED
from ebbtide_console.sandbox import kernel
from tests.debian import a_machine_image
from tests.local.booting import AS_A_MACHINE, a_control_group, asked, boot_argv, init_of

SECRET = "the machine's own"
READ = f"head --bytes={len(SECRET)}"
ATTACKS = {
    "the disk as the machine knows it": f"{READ} /dev/disk/own",
    "a file system of all devices": f"mkdir /run/all; mount -t devtmpfs all /run/all && {READ} /run/all/loop$0",
    "a node of one's own": f"mknod /srv/node b 7 $0 && {READ} /srv/node",
}

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]


@pytest.fixture
def image() -> Path:
    """Made before the test is alone on its loopback, where no mirror is."""
    return a_machine_image()


@contextmanager
def a_machine_with_a_disk(image: Path, place: Path) -> Iterator[tuple[int, int]]:
    """Booted: its process, and the number of its disk."""
    for private in (place, Path("/run")):  # nspawn keeps its locks in /run
        kernel.mount("tmpfs", private, "tmpfs", options="mode=755")
    root, upper, work, disk = (place / name for name in ("root", "upper", "work", "disk"))
    for directory in (root, upper, work):
        directory.mkdir()
    kernel.mount("overlay", root, "overlay", options=f"lowerdir={image},upperdir={upper},workdir={work}")
    disk.write_bytes(SECRET.encode().ljust(1 << 20))
    number, attached = kernel.attach_loop(disk)
    bound = f"--bind=/dev/loop{number}:/dev/disk/own"
    try:
        with a_control_group() as group, (place / "log").open("wb") as log:
            nspawn = subprocess.Popen(
                boot_argv(group, "machine", root, bound, *AS_A_MACHINE),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                wait_until(lambda: Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text(), "its init")
                wait_until(lambda: is_up(nspawn.pid), "the machine")
                yield nspawn.pid, number
            finally:
                os.kill(int(init_of(nspawn.pid)), signal.SIGKILL)
                nspawn.wait()
    finally:
        os.close(attached)


def is_up(nspawn: int) -> bool:
    return asked(nspawn, "systemctl", "is-system-running", check=False) in ("running", "degraded")


@pytest.mark.attack("read the disks of the machine that boots an image", row="X8", outcome="the kernel refuses it")
@pytest.mark.fault("X8")
@on_a_loopback_of_its_own
def test_root_of_an_image_reaches_none_of_its_machines_disks(image: Path, tmp_path: Path) -> None:
    with a_machine_with_a_disk(image, tmp_path) as (nspawn, number):
        without = {
            what: asked(
                nspawn, "sh", "-c", f"{how}; umount /run/all; rm -rf /run/all /srv/node", str(number), check=False
            )
            for what, how in ATTACKS.items()
        }
        within = {
            what: asked(nspawn, *WALLED, "sh", "-c", how, str(number), check=False) for what, how in ATTACKS.items()
        }
        allowed = asked(nspawn, *WALLED, "sh", "-c", "head --bytes=9 /dev/zero | wc --bytes >/dev/null && echo yes")

    assert without == dict.fromkeys(ATTACKS, SECRET)
    assert within == dict.fromkeys(ATTACKS, "")
    assert allowed == "yes"
