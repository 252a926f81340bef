"""A receiver as EC2 starts it: a Debian image under its own systemd, and cloud-init that runs the user data."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own

from ebbtide_agent.peer import unit
from ebbtide_agent.receiver import confine
from ebbtide_console.sandbox import kernel
from tests.debian import a_machine_image
from tests.local.booting import (
    POWER_OFF_MINUTES,
    a_control_group,
    a_receivers_parts,
    an_instance_root,
    as_its_volume,
    asked,
    boot_argv,
)
from tests.local.receiver_machine import Receiver, an_aws, wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.namespaces,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="systemd-container is not installed"),
]


@dataclass
class Machine:
    """A booted image: the receiver on it as its hosts see it, its root, and the device that is its volume."""

    receiver: Receiver
    root: Path
    volume: Path

    def ask(self, *argv: str) -> str:
        """Run a command in the machine, beside its own processes."""
        return asked(self.receiver.process.pid, *argv)

    def moment(self, unit: str, what: str) -> int:
        """When something last happened to a unit, in microseconds since the boot; 0 if it never did."""
        return int(self.ask("systemctl", "show", "--value", "--property", f"{what}TimestampMonotonic", unit))

    def boot_again(self) -> None:
        self.receiver.process = self.receiver.start()

    def is_off(self) -> bool:
        return self.receiver.process.poll() is not None

    def record(self, what: str) -> dict[str, object] | None:
        return self.receiver.word(what)


@pytest.fixture
def image() -> Path:
    """Made before the test is alone on its loopback, where no mirror is."""
    return a_machine_image()


@contextmanager
def a_machine(image: Path, place: Path, *hosts: str) -> Iterator[Machine]:
    """Launch a receiver for these hosts and wait until it is ready. Whatever it changes is gone with the test."""
    for private in (place, Path("/run")):  # nspawn keeps its locks in /run
        kernel.mount("tmpfs", private, "tmpfs", options="mode=755")
    with an_aws() as aws, a_control_group() as group:
        agent, keys, user_data = a_receivers_parts(aws, place, *hosts)
        root = an_instance_root(image, place, aws, user_data)
        number, attached = kernel.attach_loop(_a_blank_disk(place))
        device = Path(f"/dev/loop{number}")
        argv = boot_argv(group, "receiver", root, as_its_volume(device))

        def start() -> "subprocess.Popen[bytes]":
            with (place / "log").open("ab") as console:
                return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console)

        receiver = Receiver(place, place / "store", 22, "root", aws, keys, start, start(), agent, confine.SEPARATE)
        machine = Machine(receiver, root, device)
        try:
            wait_until(lambda: machine.record("ready") or machine.is_off(), f"the receiver\n{receiver.log()}")
            assert not machine.is_off(), receiver.log()
            yield machine
        finally:
            receiver.process.kill()
            receiver.process.wait()
            os.close(attached)


def _a_blank_disk(place: Path) -> Path:
    disk = place / "volume.img"
    with disk.open("wb") as image:
        image.truncate(1 << 30)
    return disk


def back_up(machine: Machine, host: str, place: Path) -> Path:
    tree = place / f"tree-{host}"
    tree.mkdir()
    (tree / "file").write_text(f"of {host}\n")
    told = machine.receiver.back_up(host, tree, place / f"etc-{host}")
    assert told.returncode == 0, told.stdout + told.stderr + machine.receiver.log()
    return tree


def what_is_on(volume: Path, place: Path) -> Mapping[str, str]:
    """The files of the hosts' trees on a volume that was let go cleanly: nothing to replay, nothing to mend."""
    state = subprocess.run(["dumpe2fs", "-h", str(volume)], capture_output=True, text=True, check=True).stdout
    assert "clean" in next(line for line in state.splitlines() if line.startswith("Filesystem state:"))
    assert "needs_recovery" not in state
    subprocess.run(["e2fsck", "-f", "-n", str(volume)], check=True, capture_output=True)
    store = place / "volume"
    store.mkdir()
    subprocess.run(["mount", "-o", "ro", str(volume), str(store)], check=True)
    try:
        return {str(path.relative_to(store / "hosts")): path.read_text() for path in store.glob("hosts/*/tree/*")}
    finally:
        # Its image lies in the file system that it would be mounted in: each would hold the other for ever.
        subprocess.run(["umount", str(store)], check=True)


@on_a_loopback_of_its_own
def test_cloud_init_makes_a_receiver_whose_timer_powers_it_off_cleanly(image: Path, tmp_path: Path) -> None:
    with a_machine(image, tmp_path, "us0", "eu0") as machine:
        back_up(machine, "us0", tmp_path)
        (timer,) = json.loads(machine.ask("systemctl", "list-timers", "--output=json", "ebbtide-power-off.timer"))
        fires = datetime.fromtimestamp(timer["next"] / 1e6, UTC)
        started = machine.moment("ebbtide.service", "ExecMainStart")
        earlier = {
            unit: machine.moment(unit, "ActiveEnter")
            for unit in ("ebbtide-power-off.timer", "network-online.target", "local-fs.target")
        }
        debians_own_sshd = machine.ask("systemctl", "show", "--value", "--property", "ActiveState", "ssh.service")
        (machine.root / "etc/systemd/system" / unit.SERVICE).write_text(unit.service(("true",), Path("/srv")))
        # One host's session that was killed for want of memory would else be the end of everybody's night.
        without_memory = [
            machine.ask("systemctl", "show", "--value", "--property", "OOMPolicy,DelegateControllers", service).split()
            for service in ("ebbtide.service", unit.SERVICE)
        ]

        machine.ask("systemctl", "start", "--no-block", timer["activates"])
        wait_until(machine.is_off, f"the machine to power itself off\n{machine.receiver.log()}")

        assert abs(fires - datetime.now(UTC) - timedelta(minutes=POWER_OFF_MINUTES)) < timedelta(minutes=5)
        assert all(0 < moment < started for moment in earlier.values()), (earlier, started)
        assert debians_own_sshd == "inactive"
        assert without_memory == [["continue", "cpu", "memory"], ["continue", "cpu", "memory"]]
        assert machine.receiver.process.returncode == 0
        assert (machine.record("released") or {}).get("clean") is True
        assert what_is_on(machine.volume, tmp_path) == {"us0a/tree/file": "of us0\n"}


@on_a_loopback_of_its_own
def test_what_a_machine_is_for_takes_it_along_when_it_is_killed(image: Path, tmp_path: Path) -> None:
    with a_machine(image, tmp_path, "us0") as machine:
        machine.ask("systemctl", "kill", "--signal=KILL", "ebbtide.service")

        wait_until(machine.is_off, f"the machine to power itself off\n{machine.receiver.log()}")

        assert machine.record("released") is None


@on_a_loopback_of_its_own
def test_a_receiver_powers_itself_off_once_all_have_reported_and_whenever_it_is_booted_again(
    image: Path, tmp_path: Path
) -> None:
    with a_machine(image, tmp_path, "us0") as machine:
        back_up(machine, "us0", tmp_path)

        wait_until(machine.is_off, f"the machine to power itself off\n{machine.receiver.log()}")
        machine.boot_again()
        wait_until(machine.is_off, f"the machine to power itself off at once\n{machine.receiver.log()}")

        assert machine.receiver.process.returncode == 0
        assert (machine.record("released") or {}).get("clean") is True
        assert (machine.receiver.report("us0") or {}).get("status") == "complete"
        assert what_is_on(machine.volume, tmp_path) == {"us0a/tree/file": "of us0\n"}
