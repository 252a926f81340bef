"""A machine that loses its power has written less than it has said: what it took is compared, whatever it looks like.

Shown on a copy of the disk as it was below the machine's cache, with all that its journal tells: that of a file's size
and time is in it five seconds later, and its content after thirty.
"""

import functools
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host import destination, night
from ebbtide_agent.host.link import World
from ebbtide_agent.paths import OwnVolumePaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.durable import NOT_KEPT, find_why_lost
from ebbtide_agent.receiver.status import forget_tree
from ebbtide_agent.report import Report
from tests.local.enclosed import in_an_enclosure
from tests.local.peers import servers
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, Receiver, a_receiver, an_aws
from tests.local.test_broken_volumes import find_an_error_on, without_room_below
from tests.local.test_to_volume import OwnVolume
from tests.loops import a_loop_device
from tests.patience import for_make_long
from tests.unit.agent.guests import Taking

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
# From 16 MiB on a file is changed in place.
LARGE_BYTES = 17 << 20


class AllWritten(Exception):
    """Nothing was lost: as any test beside this one may, somebody had this machine write all that was in its memory."""


def tried_again(test: Callable[[Path], None]) -> Callable[[Path], None]:
    """Run a test anew, as long as nothing was lost in it."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        for attempt in range(5):
            place = tmp_path / str(attempt)
            place.mkdir()
            with suppress(AllWritten):
                return test(place)
        pytest.skip("all was written before it could be lost, five times: somebody syncs this machine all the time")

    return run


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

    def back_up(self, lost: bool = False, **settings: str) -> Report:
        self.is_to_be_lost = lost
        paths = self.receiver.configure("us0", self.tree, self.place / "etc", **{"WHOLE_SYSTEM": "no", **settings})
        return night.run(night.Night(paths, World(lambda: datetime.now(UTC), say=self._say), os.environ))

    def wrong(self) -> list[Path]:
        return [path for path in self._files() if read(self.tree / path) != read(self.receiver.tree("us0") / path)]

    def _say(self, line: str) -> None:
        if line.startswith("push: complete") and self.is_to_be_lost:
            self.is_to_be_lost = False
            self.lose_power()
            if self.is_lost_as_well:
                raise Lost

    def lose_power(self) -> None:
        receiver = self.receiver
        with lost_power(self.disk, receiver.store):
            os.killpg(receiver.process.pid, signal.SIGKILL)
            receiver.process.wait(PATIENCE_SECONDS)
        there = receiver.tree("us0")
        self.believed = [path for path in self.wrong() if looks(self.tree / path) == looks(there / path)]
        if not self.believed:
            raise AllWritten
        boot_anew(self.place)
        shutil.rmtree(receiver.root / "run")
        receiver.process = receiver.start()
        receiver.wait_until_ready()

    def _files(self) -> list[Path]:
        return [path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file()]


@contextmanager
def a_host(place: Path) -> Iterator[Host]:
    disk = a_disk(place)
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, ("us0",), disk=disk) as receiver:
        host = Host(receiver, place, disk)
        for number in range(100):
            write(host.tree / f"srv/{number}", os.urandom(2000))
        write(host.tree / "large", os.urandom(LARGE_BYTES))
        yield host


def a_disk(place: Path) -> Path:
    disk = place / "disk"
    # Tables that the kernel makes later it makes by taking room from below, whenever it likes.
    made = ["mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-E", "lazy_itable_init=0", str(disk), "96M"]
    subprocess.run(made, check=True)
    return disk


def a_thin_disk(place: Path) -> Path:
    """One that may be left without room below."""
    thin = place / "thin"
    thin.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(thin)], check=True)
    return a_disk(thin)


def lose(file: Path, disk: Path) -> None:
    """Have a disk without room below not keep a file, nobody told who syncs the file system, and room again for all
    else."""
    with file.open("rb") as opened, pytest.raises(OSError):
        os.fsync(opened.fileno())
    (disk.parent / "rest").unlink()


def mount(disk: Path, place: Path) -> None:
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True)


@contextmanager
def lost_power(disk: Path, place: Path) -> Iterator[None]:
    """Have at a place what was on its disk, once the block has ended whoever writes there."""
    copy = disk.with_suffix(".copy")
    commit(place)
    shutil.copyfile(disk, copy)
    yield
    subprocess.run(["umount", str(place)], check=True)
    mount(copy, place)


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
    (place / "boot_id").write_text(f"{uuid.uuid4()}\n")
    subprocess.run(["mount", "--bind", str(place / "boot_id"), "/proc/sys/kernel/random/boot_id"], check=True)


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_a_first_push_into_a_machine_that_is_lost_is_whole_once_its_successor_has_taken_it(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        report = host.back_up(lost=True)

        assert (report.status, host.wrong()) == ("complete", [])


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_what_was_changed_in_place_on_a_machine_that_is_lost_is_so_on_its_successor(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.back_up()
        host.receiver.next_night("main/2026-11-24/1")
        with (host.tree / "large").open("r+b") as file:
            file.write(b"changed")

        report = host.back_up(lost=True)

        assert host.believed == [Path("large")]
        assert (report.status, host.wrong()) == ("complete", [])


@for_make_long
@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_a_new_file_that_ends_in_a_hole_is_whole_after_its_machine_is_lost(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.back_up()
        host.receiver.next_night("main/2026-11-24/1")
        write(host.tree / "disk.img", os.urandom(100_000) + bytes(100_000))

        report = host.back_up(lost=True)

        assert host.believed == [Path("disk.img")]
        assert (report.status, host.wrong()) == ("complete", [])


@for_make_long
@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_a_host_that_is_lost_with_its_machine_has_it_compared_when_it_comes_again(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.is_lost_as_well = True
        with pytest.raises(Lost):
            host.back_up(lost=True)
        host.receiver.process.send_signal(signal.SIGTERM)
        host.receiver.next_night("main/2026-11-24/1")

        report = host.back_up()

        assert (report.status, host.wrong()) == ("complete", [])


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_what_no_push_has_compared_since_its_machine_was_lost_is_in_no_complete_night(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        receiver = host.receiver
        write(host.tree / "disk.img", os.urandom(100_000) + bytes(100_000))
        receiver.rsync("us0", "-aS", "--modify-window=-1", f"{host.tree}/", "127.0.0.1::tree/")
        host.lose_power()
        write(host.tree / "new", b"new")
        # The difference to what it has pushed, as it has not noticed that this is another machine.
        receiver.rsync("us0", "-aS", str(host.tree / "new"), "127.0.0.1::tree/")

        receiver.report_complete("us0")

        report = receiver.report("us0")
        assert report and (report["status"], host.wrong() != []) == ("partial", True)
        assert "was written by a machine that was lost" in report["problems"][0]


@pytest.mark.fault("R7")
@in_an_enclosure
def test_what_lies_below_something_that_does_not_travel_goes_where_everything_is_to_be_compared(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        write(host.tree / "mnt/data/file", b"of before something was mounted there")
        host.back_up(ONE_FILE_SYSTEM="yes")
        host.receiver.next_night("main/2026-11-24/1")
        there = host.receiver.tree("us0")
        # As when fsck has mended.
        forget_tree(there.parent / "status.json")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(host.tree / "mnt/data")], check=True)
        write(host.tree / "mnt/data/file", b"of what is mounted")

        report = host.back_up(ONE_FILE_SYSTEM="yes")

        assert (report.status, report.problems) == ("complete", ())
        assert [path.name for path in there.glob("mnt/**/*")] == ["data"]
        assert (there / "srv/1").read_bytes() == (host.tree / "srv/1").read_bytes()


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_what_a_peer_took_before_it_was_lost_is_pushed_once_more(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    with servers(confine.SEPARATE, "eu0", "us0") as (eu0, us0):
        store = eu0.store.store
        mount(disk, store)
        eu0.take(us0)
        eu0.serve()
        write(us0.tree / "disk.img", os.urandom(100_000) + bytes(100_000))
        believed = []

        def lose(line: str) -> None:
            if line.startswith("push: complete") and not believed:
                with lost_power(disk, store):
                    os.killpg(eu0.process.pid, signal.SIGKILL)
                    eu0.process.wait(PATIENCE_SECONDS)
                there = eu0.store.tree("us0a") / "disk.img"
                if read(there) == read(us0.tree / "disk.img"):
                    raise AllWritten
                believed.append(looks(there) == looks(us0.tree / "disk.img"))
                boot_anew(tmp_path)
                eu0.serve()

        try:
            report = night.run(night.Night(us0.configure(eu0), World(lambda: datetime.now(UTC), say=lose), os.environ))
            (name,) = eu0.await_snapshots(us0)

            assert believed == [True]
            assert report.status == "complete"
            assert read(eu0.snapshot(us0, name) / "disk.img") == read(us0.tree / "disk.img")
        finally:
            eu0.stop()
            subprocess.run(["umount", str(store)], check=True)


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_what_a_host_was_lost_with_on_a_volume_of_its_own_is_compared(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    copy = disk.with_suffix(".copy")
    with an_aws() as aws, pytest.MonkeyPatch.context() as patched:
        for name, value in aws.environment.items():
            patched.setenv(name, value)
        host = OwnVolume(tmp_path, tmp_path / "nothing")
        host.paths.disks.mkdir()
        write(host.tree / "large", os.urandom(LARGE_BYTES))
        with a_loop_device(disk) as device:
            host.attach(device)
            host.back_up()
            write(host.tree / "disk.img", os.urandom(100_000) + bytes(100_000))
            with (host.tree / "large").open("r+b") as file:
                file.write(b"changed")

            def lose(config: object, before: object, choice: object, rewritten: object) -> None:
                commit(host.paths.volume)
                shutil.copyfile(disk, copy)
                raise Lost

            with patched.context() as at_the_end, pytest.raises(Lost):
                at_the_end.setattr(night.guards, "find_rewriting", lose)
                host.back_up()
            volume.unmount(host.paths.volume)
        with a_loop_device(copy) as device:
            host.attach(device)
            boot_anew(tmp_path)
            mount(device, host.paths.volume)
            there = OwnVolumePaths(host.paths.volume, "web1").tree
            lost = [name for name in ("large", "disk.img") if read(there / name) != read(host.tree / name)]
            believed = [name for name in lost if looks(there / name) == looks(host.tree / name)]
            volume.unmount(host.paths.volume)
            if not believed:
                raise AllWritten

            # A night that pushes nothing, because so much is gone.
            aside = (host.tree / "large").rename(tmp_path / "large")
            suspect = host.back_up()
            aside.rename(host.tree / "large")
            host.ahead += timedelta(days=1)
            report = host.back_up()

            mount(device, host.paths.volume)
            is_noted = OwnVolumePaths(host.paths.volume, "web1").pushing.exists()
            wrong = [name for name in ("large", "disk.img") if read(there / name) != read(host.tree / name)]
            volume.unmount(host.paths.volume)
        assert (suspect.status, report.status, wrong, is_noted) == ("suspect", "complete", [], False)


@pytest.mark.fault("R7")
@in_an_enclosure
def test_what_a_restore_calls_finished_outlasts_the_machine(tmp_path: Path) -> None:
    disk, there, tree = a_disk(tmp_path), tmp_path / "there", tmp_path / "tree"
    there.mkdir()
    mount(disk, there)
    write(tree / "file", b"file")
    write(tree / "disk.img", os.urandom(100_000) + bytes(100_000))
    unfinished = there / "restored-us0-2026-11-23.unfinished-12345678"
    destination.make(unfinished, is_new=True)
    subprocess.run(["rsync", "-aS", f"{tree}/", f"{unfinished}/"], check=True)

    finished = destination.finished(unfinished)

    with lost_power(disk, there):
        pass
    found = [read(finished / name) == read(tree / name) for name in ("file", "disk.img")]
    subprocess.run(["umount", str(there)], check=True)
    assert found == [True, True]


@pytest.mark.fault("R4")
@in_an_enclosure
@tried_again
def test_what_was_lost_as_the_disk_of_a_peer_turned_read_only_is_compared_though_the_peer_was_started_anew_alone(
    tmp_path: Path,
) -> None:
    disk = a_disk(tmp_path)
    subprocess.run(["tune2fs", "-e", "remount-ro", str(disk)], check=True, capture_output=True)
    with servers(confine.SEPARATE, "eu0", "us0") as (eu0, us0), ExitStack() as until_its_end:
        store, there = eu0.store.store, eu0.store.tree("us0a") / "disk.img"
        mount(disk, store)
        until_its_end.callback(subprocess.run, ["umount", str(store)], check=True)
        until_its_end.callback(eu0.stop)
        eu0.take(us0)
        eu0.serve()
        write(us0.tree / "disk.img", os.urandom(100_000) + bytes(100_000))

        def break_it(line: str) -> None:
            if line.startswith("push: complete"):
                commit(store)
                find_an_error_on(store)

        with pytest.raises(PermanentError, match="Read-only file system"):
            night.run(night.Night(us0.configure(eu0), World(lambda: datetime.now(UTC), say=break_it), os.environ))
        eu0.stop()
        subprocess.run(["umount", str(store)], check=True)
        subprocess.run(["fsck.ext4", "-p", str(disk)], check=False, capture_output=True)
        mount(disk, store)
        if read(there) == read(us0.tree / "disk.img"):
            raise AllWritten
        believed = looks(there) == looks(us0.tree / "disk.img")
        eu0.serve()
        compared = us0.back_up_to(eu0)

        is_kept = read(there) == read(us0.tree / "disk.img")
        assert (believed, compared.returncode, is_kept) == (True, 0, True), compared.stdout


@pytest.mark.fault("R7")
@in_an_enclosure
def test_what_the_disk_of_a_peer_did_not_keep_is_compared_though_the_peer_was_started_anew_alone(
    tmp_path: Path,
) -> None:
    disk = a_thin_disk(tmp_path)
    with servers(confine.SEPARATE, "eu0", "us0") as (eu0, us0), ExitStack() as until_its_end:
        store, there = eu0.store.store, eu0.store.tree("us0a") / "large"
        mount(disk, store)
        until_its_end.callback(subprocess.run, ["umount", str(store)], check=True)
        until_its_end.callback(eu0.stop)

        def say(line: str) -> None:
            if line.startswith("push: complete"):
                lose(there, disk)

        eu0.take(us0)
        eu0.serve()
        write(us0.tree / "large", os.urandom(LARGE_BYTES))
        us0.complete_night(eu0)
        eu0.stop()
        subprocess.run(["umount", str(store)], check=True)
        without_room_below(disk, 4 << 20, "/hosts/us0a/tree/large")
        mount(disk, store)
        eu0.serve()
        write(us0.tree / "large", os.urandom(LARGE_BYTES))

        lost = night.run(night.Night(us0.configure(eu0), World(lambda: datetime.now(UTC), say=say), os.environ))
        eu0.stop()
        eu0.serve()
        compared = us0.back_up_to(eu0)

        eu0.stop()
        subprocess.run(["umount", str(store)], check=True)
        mount(disk, store)
        assert (lost.status, lost.problems) == ("failed", (NOT_KEPT,))
        assert (compared.returncode, read(there) == read(us0.tree / "large")) == (0, True), compared.stdout


@pytest.mark.fault("R4")
@in_an_enclosure
def test_what_the_kernel_says_of_a_peers_disk_is_known_to_all_its_guests_though_no_guest_has_asked(
    tmp_path: Path,
) -> None:
    disk, store = a_thin_disk(tmp_path), tmp_path / "store"
    store.mkdir()
    mount(disk, store)
    there = Taking(tmp_path)
    of_another = there.paths.hosts / "eu1a"
    write(of_another, os.urandom(8 << 20))
    subprocess.run(["umount", str(store)], check=True)
    without_room_below(disk, 4 << 20, "/hosts/eu1a")
    mount(disk, store)
    there.report(there.say_hello())
    with of_another.open("r+b") as file:
        file.write(os.urandom(8 << 20))
    lose(of_another, disk)

    is_put = there.keeper.shelf.put_once("reports/peer/2026-11-23/1/us0a.json", b"")
    is_made = there.keeper.keep()

    subprocess.run(["umount", str(store)], check=True)
    assert (is_put, is_made) == (True, False)
    assert find_why_lost(there.paths) == NOT_KEPT
    assert NOT_KEPT in (there.keeper.find_trouble() or "")
