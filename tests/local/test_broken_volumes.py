"""A receiver's volume with a file system that breaks: what is recorded of the night, and how the next one begins."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chalicelib import wire
from chalicelib.core.model import HostStatus
from ebbtide_agent import volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.instance import Instance
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import boot, confine, sshd
from ebbtide_agent.receiver.brief import Brief, parse_brief
from ebbtide_agent.receiver.durable import NOT_KEPT, READ_ONLY
from ebbtide_agent.receiver.history import Held
from ebbtide_agent.receiver.places import make_places
from ebbtide_agent.receiver.station import Station
from ebbtide_agent.receiver.status import Status, read_status, write_status
from tests.local.enclosed import in_an_enclosure
from tests.local.ports import a_free_port
from tests.local.receiver_machine import (
    BUCKET,
    MISSING,
    NONCE,
    PATIENCE_SECONDS,
    REGION,
    RUN,
    VOLUME,
    Receiver,
    a_brief,
    a_receiver,
    an_aws,
    word_key,
)
from tests.loops import a_loop_device

EXAMPLES = Path(__file__).parents[1] / "contract/wire"

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def a_disk(image: Path) -> Path:
    """With a file system as a receiver makes it."""
    image.touch()
    os.truncate(image, 64 << 20)
    with a_loop_device(image) as device:
        volume.mount(device, image.with_suffix(".made"), "ext4")
        volume.unmount(image.with_suffix(".made"))
    return image


def find_an_error_on(place: Path) -> None:
    """What the kernel does when it finds an ext4 damaged; and what it was going to write is lost."""
    mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    device = next(words[0] for words in mounted if words[1] == str(place))
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("of a test")


@pytest.mark.fault("R4")
@in_an_enclosure
def test_once_the_volume_has_turned_read_only_every_report_is_a_failure_and_the_next_start_mends_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    disk = a_disk(tmp_path / "disk")
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        receiver.bring("us0", tmp_path / "tree")
        find_an_error_on(receiver.store)
        after = receiver.back_up("eu0", tmp_path / "tree", tmp_path / "etc2")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        reported, failed, released = (
            receiver.report("us0"),
            receiver.report("eu0"),
            receiver.word("released"),
        )
        assert (after.returncode, exit_code) == (1, 0), after.stderr + receiver.log()
        assert READ_ONLY in after.stdout + after.stderr
        assert reported and reported["status"] == "complete"
        assert failed and (failed["status"], failed["problems"][0]) == ("failed", READ_ONLY)
        assert failed["receiver"]["manifest"] is None
        assert released and (released["read_only"], released["clean"]) == (True, True)
        assert "Traceback" not in receiver.log() + after.stderr
        told = [event["detail"].get("status") for event in aws.events()]
        assert told == ["complete", "failed", None]

    seen = tmp_path / "seen"
    with a_loop_device(disk) as device:
        volume.mount(device, seen, "ext4")
        is_read_only, content = volume.has_turned_read_only(seen), (seen / "hosts/us0a/tree/file").read_text()
        volume.unmount(seen)
    assert (is_read_only, content) == (False, "content")


def without_room_below(disk: Path, most: int, file: str | None = None) -> None:
    """Let a disk, in a file system of its own, have room for what is on it, and for so many bytes more.

    What is on it of `file` finds room as what is new does.
    """
    below = disk.parent
    # What ext4 writes zeros to once it is mounted is punched out, and makes room.
    subprocess.run(["tune2fs", "-E", "mount_opts=noinit_itable", str(disk)], check=True, capture_output=True)
    told = _told(["dumpe2fs", str(disk)])
    block = int(re.findall(r"^Block size: +(\d+)", told, re.MULTILINE)[0])
    free = [each for line in re.findall(r"^  Free blocks: (\d.*)", told, re.MULTILINE) for each in line.split(", ")]
    ranges = [(int(each.split("-")[0]), int(each.split("-")[-1])) for each in free]
    if file:
        extents = _told(["debugfs", "-R", f"ex -l {file}", str(disk)])
        ranges += [(int(first), int(last)) for first, last in re.findall(r" (\d+) - +(\d+) +\d+ *$", extents, re.M)]
    subprocess.run(["fallocate", "--length", str(disk.stat().st_size), str(disk)], check=True)
    for first, last in ranges:
        where = ("--offset", str(first * block), "--length", str((last - first + 1) * block))
        subprocess.run(["fallocate", "--punch-hole", *where, str(disk)], check=True)
    rest = os.statvfs(below).f_bfree * os.statvfs(below).f_frsize - most
    subprocess.run(["fallocate", "--length", str(rest), str(below / "rest")], check=True)


def _told(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def a_disk_without_room(place: Path) -> Path:
    """A receiver's, that keeps one MiB more than what it holds."""
    thin = place / "thin"
    thin.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(thin)], check=True)
    disk = a_disk(thin / "disk")
    without_room_below(disk, 1 << 20)
    return disk


def push_to_directories_that_are_kept(receiver: Receiver, tree: Path) -> None:
    """Or there is no room for them, and the file system turns read-only; as for a file too large for its inode."""
    tree.mkdir()
    (tree / "file").write_text("small")
    for host in ("us0", "eu0"):
        receiver.push(host, tree)
    subprocess.run(["sync", "-f", receiver.store], check=True)


@pytest.mark.fault("R4")
@in_an_enclosure
def test_what_the_disk_does_not_keep_is_nobodys_backup_whoever_has_the_kernel_say_so(tmp_path: Path) -> None:
    disk, tree = a_disk_without_room(tmp_path), tmp_path / "tree"
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        push_to_directories_that_are_kept(receiver, tree)
        (tree / "file").write_bytes(os.urandom(4 << 20))
        receiver.push("us0", tree)
        (tree / "file").write_text("smaller")
        receiver.push("eu0", tree)
        for host in ("eu0", "us0"):
            receiver.report_complete(host)
        receiver.process.wait(PATIENCE_SECONDS)

        reports = [receiver.report(host) for host in ("eu0", "us0")]
        released = receiver.word("released")
        compared = [read_status(receiver.tree(host).parent / "status.json").boot for host in ("eu0", "us0")]
    assert [report and (report["status"], report["problems"]) for report in reports] == [("failed", [NOT_KEPT])] * 2
    assert released and released["read_only"]
    # The next machine finds in it that not all was written, and what there is of these is compared.
    assert all(compared)


@pytest.mark.fault("R4")
@in_an_enclosure
def test_what_the_disk_is_first_found_not_to_keep_as_it_is_let_go_of_costs_no_night_that_was_complete_before(
    tmp_path: Path,
) -> None:
    disk, tree = a_disk_without_room(tmp_path), tmp_path / "tree"
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        push_to_directories_that_are_kept(receiver, tree)
        receiver.report_complete("us0")
        (tree / "file").write_bytes(os.urandom(4 << 20))
        receiver.push("eu0", tree)
        receiver.process.send_signal(signal.SIGTERM)
        receiver.process.wait(PATIENCE_SECONDS)

        report, released = receiver.report("us0"), receiver.word("released")
        shutil.copyfile(disk, tmp_path / "copy")
    with a_loop_device(tmp_path / "copy") as device:
        volume.mount(device, tmp_path / "seen", "ext4")
        hosts = tmp_path / "seen/hosts"
        compared = {host: read_status(hosts / host / "status.json").boot for host in ("us0a", "eu0a")}
        content = (hosts / "us0a/tree/file").read_text()
        volume.unmount(tmp_path / "seen")
    assert report and (report["status"], content) == ("complete", "small")
    # Its snapshot is one as of a crash.
    assert released and (released["clean"], released["read_only"]) == (False, False)
    assert compared["us0a"] == "" != compared["eu0a"]


@pytest.mark.attack(
    "fill the disk with what the receiver writes down of a tree, which no quota counts",
    row="X4",
    outcome="a 32nd of it at most, and partial",
)
@pytest.mark.fault("X4")
@in_an_enclosure
def test_whose_manifest_would_take_more_of_the_volume_than_it_may_is_partial_alone(tmp_path: Path) -> None:
    for name in ("tree", "tree2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    for number in range(1000):
        file = tmp_path / f"tree/{number}"
        file.touch()
        os.setxattr(file, "user.of-us0", os.urandom(3000))
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=a_disk(tmp_path / "disk")) as receiver:
        much = receiver.back_up("us0", tmp_path / "tree", tmp_path / "etc")
        receiver.bring("eu0", tmp_path / "tree2")

        reported, beside = receiver.report("us0"), [path.name for path in receiver.tree("us0").parent.iterdir()]
        assert much.returncode == 3, much.stderr + receiver.log()
        assert (receiver.report("eu0") or {})["status"] == "complete"
        assert reported and reported["status"] == "partial"
        assert reported["problems"][0].startswith("what there is to say of all entries takes more than ")
        assert not [name for name in beside if "manifest" in name]


@in_an_enclosure
def test_who_has_no_place_on_the_volume_is_on_record_with_the_reason_and_nobody_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    disk = a_disk(tmp_path / "disk")
    with a_loop_device(disk) as device:
        volume.mount(device, tmp_path / "made", "ext4")
        (tmp_path / "made/receiver.json").write_text('{"schema": 1, "receiver": "main"}')
        (tmp_path / "made/hosts").mkdir()
        (tmp_path / "made/hosts/us0a").write_text("in the way")
        volume.unmount(tmp_path / "made")

    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        turned_away = receiver.back_up("us0", tmp_path / "tree", tmp_path / "etc")
        receiver.bring("eu0", tmp_path / "tree")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        reported = receiver.report("us0")
        assert exit_code == 0, receiver.log()
        assert "every host has reported" in receiver.log()
        assert turned_away.returncode != 0
        assert "us0a has no place on the receiver's volume tonight" in turned_away.stdout + turned_away.stderr
        assert reported
        result = wire.parse_report(json.dumps(reported).encode()).result
        assert (result.status, result.manifest) == (HostStatus.FAILED, None)
        assert result.problems[0].startswith("us0a has no place on the receiver's volume tonight: [Errno 17]")
        told = [event["detail"].get("status") for event in aws.events()]
        assert told == ["failed", "complete", None]


# Once it has filled a volume it takes every block that anybody gives back.
TAKES_ALL = """
import contextlib, sys
with open(sys.argv[1], "ab", buffering=0) as file:
    with contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    print("full", flush=True)
    while True:
        with contextlib.suppress(OSError):
            file.write(bytes(4096))
"""


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """A volume that somebody goes on writing to."""
    words = (sys.executable, "-c", TAKES_ALL, str(place / "all"))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as host:
        try:
            assert host.stdout and host.stdout.readline()
            yield
        finally:
            host.kill()


@in_an_enclosure
def test_a_status_that_a_full_volume_has_no_room_for_stays_while_somebody_takes_whatever_gets_free(
    tmp_path: Path,
) -> None:
    nights = tuple(Held(f"main/2026-11-{night:02}/1", 250_000, 10**11) for night in range(1, 31))
    known = Status(5, settled=True, run="main/2026-11-30/1", complete=True, uncompared=7, nights=nights)
    with a_loop_device(a_disk(tmp_path / "disk")) as device:
        volume.mount(device, tmp_path / "there", "ext4")
        status = tmp_path / "there/status.json"
        write_status(status, known)

        found = []
        with filled(tmp_path / "there"):
            for generation in range(100):
                with suppress(OSError):
                    write_status(status, replace(known, generation=generation))
                found.append(replace(read_status(status), generation=5))

        volume.unmount(tmp_path / "there")
    assert found == [known] * 100


def a_machine(root: Path, device: Path) -> MachinePaths:
    paths = MachinePaths(root)
    paths.device(VOLUME).parent.mkdir(parents=True)
    paths.device(VOLUME).symlink_to(device)
    return paths


def a_briefing() -> Brief:
    return replace(parse_brief((EXAMPLES / "brief-receiver.json").read_bytes()), volume_id=VOLUME)


def wreck(disk: Path) -> None:
    """Write over where the inodes of the root directory and of the journal are."""
    told = subprocess.run(["dumpe2fs", str(disk)], check=True, capture_output=True, text=True).stdout
    begin, size = re.search(r"Inode table at ([0-9]+)-", told), re.search(r"Block size: +([0-9]+)", told)
    assert begin and size
    with disk.open("r+b") as file:
        file.seek(int(begin[1]) * int(size[1]))
        file.write(b"\xa5" * 16384)


def scratch(disk: Path, path: str) -> None:
    """Have a file say that it has more names than it has, in a file system that knows that it had an error."""
    for request in (f"set_inode_field {path} links_count 5", "set_super_value state 2"):
        subprocess.run(["debugfs", "-w", "-R", request, str(disk)], check=True, capture_output=True)


def garble_its_mark(disk: Path) -> None:
    request = f"write {os.devnull} receiver.json"
    subprocess.run(["debugfs", "-w", "-R", request, str(disk)], check=True, capture_output=True)


@pytest.mark.fault("R14")
@pytest.mark.parametrize("spoil", [wreck, garble_its_mark])
@in_an_enclosure
def test_of_a_volume_that_fsck_cannot_mend_the_archive_is_told_and_nobody_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    disk = a_disk(tmp_path / "disk")
    spoil(disk)
    with an_aws() as aws, a_loop_device(disk) as device:
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
        aws.put("brief", json.dumps(a_brief([], 60)).encode())
        paths = a_machine(tmp_path / "machine", device)
        door = sshd.Door(a_free_port(), ("false",), {}, True, False, False, sshd.CROWD)
        instance = Instance("receiver", RUN, 1, BUCKET, REGION, "brief", NONCE)

        with pytest.raises(volume.Damaged, match="needs a person"):
            boot.boot(Station(instance, paths, Cloud(BUCKET, REGION), lambda: datetime.now(UTC), door))

        body = aws.body(word_key("damaged"))
        assert wire.parse_notice(body).volume_id == VOLUME
        assert json.loads(body).keys() == json.loads((EXAMPLES / "damaged.json").read_bytes()).keys()
        assert aws.find(word_key("ready")) is None
        assert not paths.volume.is_mount() and not (paths.run / "sshd.log").exists()


@pytest.mark.fault("R14")
@in_an_enclosure
def test_what_says_that_it_is_clean_is_looked_through_when_it_comes_from_a_snapshot_that_may_not_be(
    tmp_path: Path,
) -> None:
    disk, brief = a_disk(tmp_path / "disk"), a_briefing()
    with a_loop_device(disk) as device:
        paths = a_machine(tmp_path / "machine", device)
        boot.open_volume(replace(brief, is_distrusted=False), paths)
        make_places(paths, brief.hosts, as_root=True)
        volume.unmount(paths.volume)
        boot.open_volume(replace(brief, is_distrusted=True), paths)
        volume.unmount(paths.volume)
        # The names lead to a directory that is none any more.
        subprocess.run(["debugfs", "-w", "-R", "clri /hosts/us0a", device], check=True, capture_output=True)

        boot.open_volume(replace(brief, is_distrusted=False), paths)
        volume.unmount(paths.volume)
        with pytest.raises(volume.Damaged, match=r"needs a person: .* inode [0-9]+"):
            boot.open_volume(replace(brief, is_distrusted=True), paths)
        assert not paths.volume.is_mount()


@pytest.mark.fault("R14")
@in_an_enclosure
def test_after_a_mending_no_host_goes_by_what_it_knew_of_its_tree(tmp_path: Path) -> None:
    disk, brief = a_disk(tmp_path / "disk"), a_briefing()
    known = []
    with a_loop_device(disk) as device:
        paths = a_machine(tmp_path / "machine", device)
        boot.open_volume(brief, paths)
        make_places(paths, brief.hosts, as_root=True)
        write_status(paths.status("us0a"), Status(7, settled=True))
        for spoil in (lambda: None, lambda: scratch(device, "/receiver.json")):
            volume.unmount(paths.volume)
            spoil()
            boot.open_volume(brief, paths)
            known.append(read_status(paths.status("us0a")))
        volume.unmount(paths.volume)

    assert known == [Status(7, settled=True), Status()]
