"""What a host's own volume did not keep of a push, though the host was up all the time: the next night compares it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.host import night
from ebbtide_agent.host.pushing import PushNote
from ebbtide_agent.paths import OwnVolumePaths
from ebbtide_agent.report import Report
from tests.local.enclosed import in_an_enclosure
from tests.local.own_nights import differing, entries
from tests.local.receiver_machine import MISSING, an_aws
from tests.local.test_broken_volumes import find_an_error_on, without_room_below
from tests.local.test_lost_power import AllWritten, a_disk, a_thin_disk, commit, looks, mount, read, tried_again, write
from tests.local.test_to_volume import OwnVolume
from tests.loops import a_loop_device

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@contextmanager
def a_host(place: Path) -> Iterator[OwnVolume]:
    with an_aws() as aws, pytest.MonkeyPatch.context() as patched:
        for name, value in aws.environment.items():
            patched.setenv(name, value)
        host = OwnVolume(place, place / "nothing")
        host.paths.disks.mkdir()
        write(host.tree / "small", b"content")
        yield host


@contextmanager
def seen(disk: Path, place: Path) -> Iterator[Path]:
    """The tree as whoever mounts the disk next will find it, on a copy."""
    copy, there = place / "copy", place / "seen"
    shutil.copyfile(disk, copy)
    subprocess.run(["fsck.ext4", "-p", str(copy)], check=False, capture_output=True)
    there.mkdir(exist_ok=True)
    mount(copy, there)
    yield OwnVolumePaths(there, "web1").tree
    subprocess.run(["umount", str(there)], check=True)


def is_kept(disk: Path, host: OwnVolume, name: str) -> bool:
    """Whether a file is as the host has it."""
    with seen(disk, host.place) as tree:
        return read(tree / name) == read(host.tree / name)


def is_believed(disk: Path, host: OwnVolume, name: str) -> bool:
    """Whether a file that the disk did not keep looks as the host has it. Raises AllWritten if it did."""
    with seen(disk, host.place) as tree:
        if read(tree / name) == read(host.tree / name):
            raise AllWritten
        return looks(tree / name) == looks(host.tree / name)


def back_up_and_then(host: OwnVolume, happens: object) -> Report:
    """A night in which something happens when all is pushed, and nothing is on record."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(night.guards, "find_rewriting", happens)
        return host.back_up()


@pytest.mark.fault("R4")
@in_an_enclosure
@tried_again
def test_what_a_volume_lost_that_turned_read_only_is_compared_by_the_next_night(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    with a_host(tmp_path) as host, a_loop_device(disk) as device:
        host.attach(device)
        host.back_up()
        write(host.tree / "disk.img", os.urandom(100_000) + bytes(100_000))

        def break_it(*_: object) -> None:
            commit(host.paths.volume)
            find_an_error_on(host.paths.volume)

        failed = back_up_and_then(host, break_it)
        believed = is_believed(disk, host, "disk.img")
        report = host.back_up()

        kept = is_kept(disk, host, "disk.img")
        assert (failed.status, believed, report.status, kept) == ("failed", True, "complete", True)


def write_more_than_there_is_room_for(host: OwnVolume, disk: Path) -> None:
    """After a night that is whole."""
    with a_loop_device(disk) as device:
        host.attach(device)
        host.back_up()
    without_room_below(disk, 4 << 20)
    write(host.tree / "file", os.urandom(16 << 20))


@pytest.mark.fault("R7")
@in_an_enclosure
@tried_again
def test_what_the_disk_of_a_hosts_own_volume_did_not_keep_is_compared_by_the_next_night(tmp_path: Path) -> None:
    disk = a_thin_disk(tmp_path)
    with a_host(tmp_path) as host:
        write_more_than_there_is_room_for(host, disk)
        with a_loop_device(disk) as device:
            host.attach(device)
            host.ahead += timedelta(days=1)
            failed = host.back_up()
            (disk.parent / "rest").unlink()
            host.ahead += timedelta(days=1)
            report = host.back_up()

        kept = is_kept(disk, host, "file")
        assert (failed.status, report.status, kept) == ("failed", "complete", True), (failed, report)


def be_killed(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def be_told_to_stop(*_: object) -> NoReturn:
    raise SystemExit(143)


@pytest.mark.fault("R4")
@in_an_enclosure
@tried_again
def test_what_the_disk_did_not_keep_of_a_run_that_was_killed_is_compared_by_the_next_one(tmp_path: Path) -> None:
    disk = a_thin_disk(tmp_path)
    with a_host(tmp_path) as host:
        write_more_than_there_is_room_for(host, disk)
        with a_loop_device(disk) as device:
            host.attach(device)
            killed = get_context("fork").Process(target=back_up_and_then, args=(host, be_killed))
            killed.start()
            killed.join()
            # As the next run does, or a person.
            volume.unmount(host.paths.volume)
            believed = is_believed(disk, host, "file")
            (disk.parent / "rest").unlink()
            host.ahead += timedelta(days=1)
            report = host.back_up()

        kept = is_kept(disk, host, "file")
        assert (killed.exitcode, believed, report.status, kept) == (
            -signal.SIGKILL,
            True,
            "complete-with-warnings",
            True,
        )


@in_an_enclosure
def test_a_run_that_was_told_to_stop_is_gone_on_with_by_size_and_time(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    with a_host(tmp_path) as host, a_loop_device(disk) as device:
        host.attach(device)
        host.back_up()
        write(host.tree / "new", b"new")
        with pytest.raises(SystemExit):
            back_up_and_then(host, be_told_to_stop)
        with seen(disk, tmp_path) as tree:
            pushed = (tree / "new").stat().st_ino

        report = host.back_up()

        with seen(disk, tmp_path) as tree:
            assert (report.is_complete, (tree / "new").stat().st_ino) == (True, pushed)


@pytest.mark.fault("R4")
@in_an_enclosure
def test_everything_is_compared_on_a_volume_that_fsck_has_mended(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    with a_host(tmp_path) as host:
        with a_loop_device(disk) as device:
            host.attach(device)
            host.back_up()
        disk.write_bytes(disk.read_bytes().replace(b"content", b"another"))
        subprocess.run(["debugfs", "-w", "-R", "set_super_value state 2", disk], check=True, capture_output=True)
        with seen(disk, tmp_path) as tree:
            was = read(tree / "small")
        with a_loop_device(disk) as device:
            host.attach(device)
            report = host.back_up()

        with seen(disk, tmp_path) as tree:
            assert (was, report.status, read(tree / "small")) == (b"another", "complete", b"content")


@in_an_enclosure
def test_a_tree_that_is_to_be_compared_is_pushed_to_in_full_though_its_last_night_was_complete(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    with a_host(tmp_path) as host, a_loop_device(disk) as device:
        host.attach(device)
        host.back_up()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(PushNote, "take_off", fail_to_keep)
            host.back_up()

        report = host.back_up()

        with seen(disk, tmp_path) as tree:
            assert (report.status, differing(entries(tree), entries(host.tree))) == ("complete", {})


def fail_to_keep(note: PushNote) -> NoReturn:
    write_whole(note.place, b"")
    raise PermanentError("the disk did not keep what was written to it")
