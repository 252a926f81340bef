"""A machine that loses its power has written less than it has said: what it took is compared, whatever it looks like.

Shown on a copy of the disk as it was below the machine's cache, with all that its journal tells: that of a file's size
and time is in it five seconds later, and its content after thirty.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.host import night
from ebbtide_agent.host.link import World
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import Report
from tests.local.enclosed import in_an_enclosure
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, Receiver, a_receiver, an_aws

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.fault("R7"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
# From 16 MiB on a file is changed in place.
LARGE_BYTES = 17 << 20


class Lost(Exception):
    """The host, too, has no power any more."""


@dataclass
class Host:
    """us0, whose receiver may lose its power when a push is through, and not on record yet."""

    receiver: Receiver
    place: Path
    disk: Path
    is_to_be_lost: bool = False
    is_lost_as_well: bool = False
    believed: list[Path] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.place / "tree"

    def back_up(self, lost: bool = False) -> Report:
        self.is_to_be_lost = lost
        paths = self.receiver.configure("us0", self.tree, self.place / "etc", WHOLE_SYSTEM="no")
        return night.run(night.Night(paths, World(lambda: datetime.now(UTC), say=self._say), os.environ))

    def wrong(self) -> list[Path]:
        return [path for path in self._files() if read(self.tree / path) != read(self.receiver.tree("us0") / path)]

    def _say(self, line: str) -> None:
        if line.startswith("push: complete") and self.is_to_be_lost:
            self.is_to_be_lost = False
            self._lose_power()
            if self.is_lost_as_well:
                raise Lost

    def _lose_power(self) -> None:
        receiver, copy = self.receiver, self.disk.with_suffix(".copy")
        commit(receiver.store)
        shutil.copyfile(self.disk, copy)
        os.killpg(receiver.process.pid, signal.SIGKILL)
        receiver.process.wait(PATIENCE_SECONDS)
        subprocess.run(["umount", str(receiver.store)], check=True)
        subprocess.run(["mount", "-o", "loop", str(copy), str(receiver.store)], check=True)
        there = receiver.tree("us0")
        self.believed = [path for path in self.wrong() if looks(self.tree / path) == looks(there / path)]
        boot_anew(self.place)
        shutil.rmtree(receiver.root / "run")
        receiver.process = receiver.start()
        receiver.wait_until_ready()

    def _files(self) -> list[Path]:
        return [path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file()]


@contextmanager
def a_host(place: Path) -> Iterator[Host]:
    disk = place / "disk"
    subprocess.run(["mkfs.ext4", "-q", "-I", "256", str(disk), "96M"], check=True)
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, ("us0",), disk=disk) as receiver:
        host = Host(receiver, place, disk)
        for number in range(100):
            write(host.tree / f"srv/{number}", os.urandom(2000))
        write(host.tree / "large", os.urandom(LARGE_BYTES))
        yield host


def write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def looks(path: Path) -> tuple[int, int] | None:
    """All that a push by size and time sees of a file."""
    found = path.stat() if path.exists() else None
    return (found.st_size, found.st_mtime_ns) if found else None


def commit(place: Path) -> None:
    """Have the journal tell of all that was done by now."""
    with (place / "new").open("wb") as file:
        os.fsync(file.fileno())


def boot_anew(place: Path) -> None:
    """For as long as this mount namespace lasts."""
    (place / "boot_id").write_text("00000000-0000-4000-8000-000000000000\n")
    subprocess.run(["mount", "--bind", str(place / "boot_id"), "/proc/sys/kernel/random/boot_id"], check=True)


@in_an_enclosure
def test_a_first_push_into_a_machine_that_is_lost_is_whole_once_its_successor_has_taken_it(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        report = host.back_up(lost=True)

        assert host.believed
        assert (report.status, host.wrong()) == ("complete", [])


@in_an_enclosure
def test_what_was_changed_in_place_on_a_machine_that_is_lost_is_so_on_its_successor(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.back_up()
        host.receiver.next_night("main/2026-11-24/1")
        with (host.tree / "large").open("r+b") as file:
            file.write(b"changed")

        report = host.back_up(lost=True)

        assert host.believed == [Path("large")]
        assert (report.status, host.wrong()) == ("complete", [])


@in_an_enclosure
def test_a_new_file_that_ends_in_a_hole_is_whole_after_its_machine_is_lost(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.back_up()
        host.receiver.next_night("main/2026-11-24/1")
        write(host.tree / "disk.img", os.urandom(100_000) + bytes(100_000))

        report = host.back_up(lost=True)

        assert host.believed == [Path("disk.img")]
        assert (report.status, host.wrong()) == ("complete", [])


@in_an_enclosure
def test_a_host_that_is_lost_with_its_machine_has_it_compared_when_it_comes_again(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.is_lost_as_well = True
        with pytest.raises(Lost):
            host.back_up(lost=True)
        host.receiver.process.send_signal(signal.SIGTERM)
        host.receiver.next_night("main/2026-11-24/1")

        report = host.back_up()

        assert host.believed
        assert (report.status, host.wrong()) == ("complete", [])
