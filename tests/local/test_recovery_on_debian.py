"""A recovery's machine as EC2 starts it: a Debian image under its own systemd, and cloud-init that runs the user data.

What comes back is another Debian, with a web server. Its machine's systemd walls it in, and its own boots it in there.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own, wait_until

from chalicelib.core.tags import Role
from chalicelib.core.userdata import render
from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_agent.restore.boot_image import KEPT
from ebbtide_console.sandbox import kernel
from tests.debian import a_machine_image, a_server
from tests.local.booting import (
    AS_A_MACHINE,
    a_control_group,
    an_instance_root,
    as_its_volume,
    asked,
    boot_argv,
    init_of,
)
from tests.local.processes import below
from tests.local.receiver_machine import BUCKET, REGION, VOLUME, Aws, an_aws
from tests.local.test_boot_image import RSYNC
from tools.build_agent import build

# As in the examples of a brief.
NONCE = "00112233445566778899aabbccddeeff"
RECOVERY = "us0a/2026-11-24/1"
BRIEF, REPORT = f"recoveries/{RECOVERY}/brief.json", f"recoveries/{RECOVERY}/{NONCE}/report.json"
STANDING = f"recoveries/{RECOVERY}/{NONCE}/standing.json"
RUN = "main/2026-11-22/1"
MANIFEST = f"manifests/us0a/{RUN}.jsonl.gz"
AGENT_KEY = "agent/ebbtide-agent.pyz"
POWER_OFF_MINUTES = 300
TREE = "hosts/us0a/tree"
# A server needs none of this to come up, and whoever compares it would read all of it.
LEFT_OUT = ("man", "zoneinfo", "locale", "doc", "perl5", "bash-completion")
LABEL = "of-the-machine"
# Root of the server looks for this label at the beginning of each disk that the kernel knows, and says how many it saw.
LOOK_FOR_DISKS = f"""\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir /run/all; mount -t devtmpfs all /run/all; \
    ls /run/all | grep -c ^loop; head -qc 2048 /run/all/loop* | grep -aco {LABEL}'
StandardOutput=file:/srv/found
StandardError=null
[Install]
WantedBy=multi-user.target
"""
# What `systemctl poweroff` sends where there is no bus.
POWER_OFF = signal.SIGRTMIN + 4

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.namespaces,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]


@dataclass(frozen=True)
class Machine:
    """A booted image, and where its agent reports to."""

    nspawn: "subprocess.Popen[bytes]"
    aws: Aws
    console: Path

    def ask(self, *argv: str) -> str:
        """Run a command in the machine, beside its own processes."""
        return asked(self.nspawn.pid, *argv)

    def is_off(self) -> bool:
        return self.nspawn.poll() is not None

    def await_being_off(self) -> None:
        wait_until(self.is_off, f"the machine to power itself off\n{self.log()}")

    def power_its_server_off(self) -> None:
        os.kill(init_of_the_server(self.nspawn.pid), POWER_OFF)

    def log(self) -> str:
        return self.console.read_text(errors="replace")


def init_of_the_server(nspawn: int) -> int:
    """Number 1 of the innermost of the PID namespaces below a machine's nspawn."""
    return max(filter(is_an_init, below(nspawn)), key=lambda pid: len(numbers_of(pid)))


def is_an_init(pid: int) -> bool:
    return numbers_of(pid)[-1] == "1"


def numbers_of(pid: int) -> list[str]:
    """What a process is known by, from the namespace that we are in to its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]


@pytest.fixture
def image() -> Path:
    """Made before the test is alone on its loopback, where no mirror is."""
    return a_machine_image()


@pytest.fixture
def server() -> Path:
    return a_server()


@contextmanager
def launched(kind: str, image: Path, server: Path, place: Path) -> Iterator[Machine]:
    """The machine of a recovery of this kind. Whatever it changes is gone with the test."""
    for private in (place, Path("/run")):  # nspawn keeps its locks in /run
        kernel.mount("tmpfs", private, "tmpfs", options="mode=755")
    with an_aws() as aws, a_control_group() as group, a_disk(place) as device:
        back_up(server, device, place, aws)
        brief = json.loads(Path("tests/contract/wire/brief-restore.json").read_text())
        brief |= {"recovery": RECOVERY, "kind": kind, "volume": {"id": VOLUME}}
        aws.put(BRIEF, json.dumps(brief).encode())
        build(place / "agent")
        aws.put(AGENT_KEY, (place / "agent").read_bytes())
        user_data = render(
            Role.RECOVERY, RECOVERY, 1, BUCKET, REGION, BRIEF, AGENT_KEY, POWER_OFF_MINUTES, 30, serves=False
        )
        root, console = an_instance_root(image, place, aws, user_data), place / "console"
        argv = boot_argv(group, "machine", root, as_its_volume(device), *AS_A_MACHINE)
        with console.open("wb") as said:
            nspawn = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            yield Machine(nspawn, aws, console)
        finally:
            if nspawn.poll() is None:
                os.kill(int(init_of(nspawn.pid)), signal.SIGKILL)
            nspawn.wait()


@contextmanager
def a_disk(place: Path) -> Iterator[Path]:
    disk = place / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-L", LABEL, "-I", "256", "-O", "ea_inode", str(disk)], check=True)
    number, attached = kernel.attach_loop(disk)
    try:
        yield Path(f"/dev/loop{number}")
    finally:
        os.close(attached)


def back_up(server: Path, device: Path, place: Path, aws: Aws) -> None:
    """What a night leaves of this server, on the disk and in the archive."""
    tree, upper, work, store = (place / name for name in ("server", "upper-of-server", "work-of-server", "store"))
    for directory in (tree, upper, work, store):
        directory.mkdir()
    kernel.mount("overlay", tree, "overlay", options=f"lowerdir={server},upperdir={upper},workdir={work}")
    units = tree / "etc/systemd/system"
    (units / "disks.service").write_text(LOOK_FOR_DISKS)
    (units / "multi-user.target.wants/disks.service").symlink_to("/etc/systemd/system/disks.service")
    left_out = [f"--exclude=/usr/share/{name}" for name in LEFT_OUT]
    subprocess.run(["mount", str(device), str(store)], check=True)
    try:
        (store / TREE).mkdir(parents=True)
        subprocess.run([*RSYNC, "-M--fake-super", *left_out, f"{tree}/", f"{store / TREE}/"], check=True)
        header = Header("us0a", RUN, "fake-super")
        manifest.write(store / TREE, "fake-super", None, place / "manifest", header)
    finally:
        # Its image lies in the file system that it is mounted in: each would hold the other for ever.
        subprocess.run(["umount", str(store)], check=True)
    aws.put(MANIFEST, (place / "manifest").read_bytes())


def outcome(machine: Machine) -> tuple[object, ...]:
    """The verdict, what was found, whether it booted, and what it answered."""
    report = machine.aws.find(REPORT)
    assert report, machine.log()
    return report["verdict"], report["findings"], report["boot"]["state"], report["probe"]["answer"]


@on_a_loopback_of_its_own
def test_a_drills_machine_boots_a_server_within_its_walls_asks_it_and_goes_off(
    image: Path, server: Path, tmp_path: Path
) -> None:
    with launched("drill", image, server, tmp_path) as machine:
        machine.await_being_off()

        assert outcome(machine) == ("proven", [], "booted", "200 OK")
        assert machine.nspawn.returncode == 0


@pytest.mark.attack("the disks of its machine, by a server that stands", row="X8", outcome="the kernel refuses it")
@pytest.mark.fault("X8")
@on_a_loopback_of_its_own
def test_a_server_that_stands_within_its_walls_answers_and_reaches_none_of_its_machines_disks(
    image: Path, server: Path, tmp_path: Path
) -> None:
    with launched("restore", image, server, tmp_path) as machine:
        wait_until(lambda: machine.aws.find(STANDING) or machine.is_off(), "the word that it stands")
        disks, found = machine.ask("cat", f"/srv/ebbtide/{Path(TREE).parent}/{KEPT}/upper/srv/found").split()
        machine.power_its_server_off()
        machine.await_being_off()

        assert outcome(machine) == ("proven", [], "booted", "200 OK")
        assert (int(disks) > 0, found) == (True, "0")
        assert machine.nspawn.returncode == 0
