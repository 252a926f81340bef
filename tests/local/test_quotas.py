"""A host without room, by its quota or by the volume: in earnest, on a file system that a receiver has made."""

import errno
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from ebbtide_agent import volume
from ebbtide_agent.entry import read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import ACCESS_ACL, STAT, read_fake
from ebbtide_agent.files import write_whole
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.paths import MachinePaths, PeerPaths
from ebbtide_agent.receiver import boot, confine, quotas, subvolumes
from ebbtide_agent.receiver.brief import BriefedHost, parse_brief
from ebbtide_agent.receiver.places import make_places
from ebbtide_agent.report import Quota
from ebbtide_agent.restore.compare import compare
from ebbtide_agent.restore.materialise import materialise
from ebbtide_console.sandbox import awkward
from tests.debian import its_programs
from tests.local.enclosed import in_an_enclosure
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    PATIENCE_SECONDS,
    Receiver,
    Volume,
    a_receiver,
    an_aws,
    wait_until_free,
)
from tests.loops import a_loop_device
from tests.patience import for_make_long

EXAMPLES = Path(__file__).parents[1] / "contract/wire"
MIB = 1 << 20
GIB = 1 << 30
QUOTA = 20 * MIB
# BTRFS_MAX_XATTR_SIZE of linux/fs/btrfs for nodes of 4 KiB: without the node's header, and the item's two.
MOST_OF_A_NODE = 4096 - 101 - 25 - 30
# BTRFS_MAX_INLINE_DATA_SIZE: without the node's header, the item's, and that of what lies within it.
LONGEST_LINK = 4096 - 101 - 25 - 21
SECOND_RUN = "main/2026-11-24/1"
US0 = BriefedHost("us0", "us0a", 2435978, (), "n")

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a volume is mounted and a quota kept by root alone"),
    pytest.mark.skipif(not MAY_MOUNT, reason="this machine may not mount"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@contextmanager
def a_blank_device(image: Path, mib: int) -> Iterator[Path]:
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    with a_loop_device(image) as device:
        yield device


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a receiver's own image has for btrfs: this machine's may be older than simple quotas."""
    return its_programs(("mkfs.btrfs", "btrfs"), tmp_path_factory.mktemp("its") / "programs")


@contextmanager
def a_receiver_with(
    place: Path, filesystem: str, mib: int, hosts: Sequence[str], kept: dict[str, float], programs: Path
) -> Iterator[Receiver]:
    with a_blank_device(place / "volume.img", mib) as device, an_aws() as aws:
        blank = Volume(device, filesystem, kept, programs)
        with a_receiver(aws, confine.SEPARATE, hosts, volume=blank) as receiver:
            yield receiver


def a_tree(place: Path, mib: int) -> Path:
    """As large when compressed."""
    place.mkdir()
    for number in range(mib):
        (place / f"file-{number}").write_bytes(os.urandom(MIB))
    return place


def reported(receiver: Receiver, host: str) -> dict[str, Any]:
    report = receiver.report(host)
    assert report is not None, receiver.log()
    return report


def volume_of(receiver: Receiver) -> Path:
    assert receiver.volume
    return receiver.volume.device


def take_what_is_left(receiver: Receiver, host: str) -> None:
    """To the last block that the host's user gets."""
    tree = receiver.tree(host)
    words = ["setpriv", f"--reuid={tree.stat().st_uid}", "--clear-groups", "dd", "if=/dev/urandom", f"of={tree}/rest"]
    ended = subprocess.run([*words, "bs=4k", "conv=fsync"], capture_output=True, text=True, check=False)
    assert "Disk quota exceeded" in ended.stderr or "No space left" in ended.stderr, ended.stderr


def take_every_inode(tree: Path) -> None:
    with suppress(OSError):
        for number in range(1 << 20):
            (tree / f"empty-{number}").touch()


@pytest.mark.fault("R5")
@pytest.mark.fault("X4")
@pytest.mark.attack("take every inode of the volume, without a quota", row="X4", outcome="others are told why")
@in_an_enclosure
def test_where_one_host_has_taken_every_inode_the_others_are_told_that_the_volume_is_full(
    tmp_path: Path, programs: Path
) -> None:
    with a_receiver_with(tmp_path, "ext4", 32, ("us0", "eu0"), {}, programs) as receiver:
        take_every_inode(receiver.tree("us0"))
        told = receiver.back_up("eu0", a_tree(tmp_path / "eu0", 1), tmp_path / "etc-eu0")

        eu0 = reported(receiver, "eu0")
    assert told.returncode == 3, told.stderr
    assert eu0["status"] == "partial"
    assert eu0["problems"][0].startswith("the volume that takes this backup is full")


@pytest.mark.fault("R5")
@pytest.mark.attack("fill the disk", row="X4", outcome="at its quota it fails alone, and others are complete")
@pytest.mark.parametrize(("filesystem", "mib"), [("btrfs", 128), ("ext4", 48)], ids=["btrfs", "ext4"])
@in_an_enclosure
def test_a_host_at_its_quota_fails_alone_and_a_full_volume_still_takes_what_is_recorded(
    filesystem: str, mib: int, tmp_path: Path, programs: Path
) -> None:
    trees = {host: a_tree(tmp_path / host, size) for host, size in (("us0", 24), ("eu0", 4), ("de0", mib))}
    hosts, kept = tuple(trees), {"us0": QUOTA / GIB, "eu0": 1.0}
    with a_receiver_with(tmp_path, filesystem, mib, hosts, kept, programs) as receiver:
        receiver.back_up("us0", trees["us0"], tmp_path / "etc-us0")
        receiver.push("eu0", trees["eu0"])
        receiver.back_up("de0", trees["de0"], tmp_path / "etc-de0")
        take_what_is_left(receiver, "de0")
        receiver.report_complete("eu0")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        us0, eu0, de0 = (reported(receiver, host) for host in hosts)
        released = receiver.word("released")
        log = receiver.log()
    assert exit_code == 0, log
    assert released and released["clean"] is True
    assert released["disk"]["free"] < MIB
    assert (eu0["status"], eu0["receiver"]["manifest"]["entries"]) == ("complete", 5)
    assert de0["status"] == "partial"
    assert de0["problems"][0] == (
        "the volume that takes this backup is full: make it larger, a receiver's by volume.size in the policy"
    )
    if why := us0["receiver"]["quota"]["why"]:
        assert us0["status"] == "complete"
        assert f"no quota holds tonight: {why}" in log
        pytest.skip(f"{filesystem} keeps no host to its quota here: {why}")
    assert us0["status"] == "partial"
    assert us0["problems"][0].startswith("us0 is at its quota of 0.01953 GiB, and holds 0.01")
    assert (QUOTA - 2 * MIB) < us0["receiver"]["quota"]["used"] <= us0["receiver"]["quota"]["most"] == QUOTA
    assert 4 * MIB < eu0["receiver"]["quota"]["used"] < 5 * MIB


@pytest.mark.parametrize("filesystem", ["ext4", pytest.param("btrfs", marks=for_make_long)])
@in_an_enclosure
def test_every_kind_of_entry_is_there_after_two_nights_on_a_volume_that_was_let_go_in_between(
    filesystem: str, tmp_path: Path, programs: Path
) -> None:
    tree, etc, seen = tmp_path / "source", tmp_path / "etc", tmp_path / "seen"
    awkward.grow(tree)
    with a_receiver_with(tmp_path, filesystem, 300, ("us0",), {}, programs) as receiver:
        first = receiver.back_up("us0", tree, etc)
        (tree / "hard-2").unlink()
        (tree / "a").rename(tree / "renamed")
        (tree / "large").write_bytes(os.urandom(20 * MIB))
        receiver.process.wait(PATIENCE_SECONDS)
        wait_until_free(volume_of(receiver))
        receiver.next_night(SECOND_RUN)
        second = receiver.back_up("us0", tree, etc)
        receiver.process.wait(PATIENCE_SECONDS)
        wait_until_free(volume_of(receiver))

        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr + receiver.log()
        assert reported(receiver, "us0")["receiver"]["manifest"]["unhashed"] == 0
        seen.mkdir()
        subprocess.run(["mount", "-o", "ro", str(volume_of(receiver)), str(seen)], check=True)
        try:
            found = list(read_fake(seen / "hosts/us0a/tree", False, lambda where, _: sha256_of(where)))
        finally:
            subprocess.run(["umount", str(seen)], check=True)
    # What is in the /dev of a host is its kernel's, and does not travel.
    sent = (entry for entry in read_real(tree, lambda where, _: sha256_of(where)) if not entry.path.startswith(b"dev/"))
    comparison = compare(sent, found)
    assert comparison.findings == ()
    assert comparison.entries > 50


# -- what btrfs does differently --------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A blank one, and the programs to make a btrfs on it."""
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with a_blank_device(tmp_path / "volume.img", 160) as device:
        yield device
        subprocess.run(["umount", "--quiet", str(tmp_path / "place")], check=False)


def attached(device: Path, place: Path) -> quotas.Quotas:
    """As a receiver has it at each boot."""
    return quotas.attach(device, place, volume.make_ready(device, place, "btrfs").filesystem, ())


def made(*words: str) -> None:
    subprocess.run(["btrfs", *words], check=True, capture_output=True)


def write(path: Path, mib: int) -> str:
    """What is said when so much is written. On btrfs a limit is root's, too."""
    words = ["dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={mib}", "conv=fsync"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    return ended.stderr if ended.returncode else ""


def a_kept_tree(found: quotas.Quotas, place: Path, quota: int | None) -> Path:
    found.make_tree(place / "tree")
    found.keep(replace(US0, quota=quota), place / "tree", time.monotonic() + 3600)
    return place / "tree"


@in_an_enclosure
def test_a_btrfs_is_there_the_next_night_with_what_it_held_and_reaches_to_the_end_of_a_larger_device(
    tmp_path: Path, device: Path
) -> None:
    place = tmp_path / "place"
    first = a_kept_tree(attached(device, place), place, 8 * MIB)
    said = write(first / "first", 4)
    options = Path("/proc/mounts").read_text().split(f" {place} btrfs ")[1].split()[0].split(",")
    volume.unmount(place)
    wait_until_free(device)
    with (tmp_path / "volume.img").open("ab") as file:
        file.truncate(400 * MIB)
    subprocess.run(["losetup", "--set-capacity", str(device)], check=True)

    found = attached(device, place)
    filled = [volume.fill(device, place, "btrfs") for _ in range(2)]
    too_much = write(first / "second", 6)

    assert (said, filled, found.kind) == ("", [None, None], quotas.SUBVOLUMES)
    assert {"noatime", "nosuid", "nodev", "noexec", "ssd_spread", "compress=zstd:3"} <= set(options)
    assert "discard" not in ",".join(options)
    assert (measured := volume.measure(place)) and measured.size == 400 * MIB
    assert "Disk quota exceeded" in too_much
    assert (first / "first").stat().st_size == 4 * MIB


@in_an_enclosure
def test_a_btrfs_has_room_for_an_attribute_as_long_as_its_nodes_and_no_longer(tmp_path: Path, device: Path) -> None:
    place = tmp_path / "place"
    volume.mount(device, place, "btrfs")
    (place / "file").touch()

    os.setxattr(place / "file", "user.a", bytes(MOST_OF_A_NODE - len("user.a")))
    with pytest.raises(OSError, match="No space left"):
        os.setxattr(place / "file", "user.b", bytes(MOST_OF_A_NODE - len("user.b") + 1))


@in_an_enclosure
def test_a_symlink_for_which_a_btrfs_has_no_room_costs_that_one_alone_where_a_tree_is_made_real(
    tmp_path: Path, device: Path
) -> None:
    volume.mount(device, tmp_path / "place", "btrfs")
    tree = tmp_path / "place/tree"
    tree.mkdir()
    for name, length in (("fits", LONGEST_LINK), ("too-long", LONGEST_LINK + 1)):
        (tree / name).write_text("x" * length)
        os.setxattr(tree / name, STAT, b"120777 0,0 0:0")
    os.link(tree / "too-long", tree / "too-long-as-well")
    backed_up = list(read_fake(tree, munged=False))

    materialise(tree)

    compared = compare(backed_up, read_real(tree))
    assert (compared.entries, compared.different, compared.missing) == (4, 2, 0)
    assert "too-long: kind: expected l, found f" in compared.findings
    assert (tree / "too-long").read_text() == "x" * (LONGEST_LINK + 1)


@in_an_enclosure
def test_an_acl_for_which_a_btrfs_has_no_room_costs_the_group_its_rights_and_no_tree(
    tmp_path: Path, device: Path
) -> None:
    volume.mount(device, tmp_path / "place", "btrfs")
    tree = tmp_path / "place/tree"
    tree.mkdir()
    for name, users in (("fits", 400), ("does-not", 487)):
        acl = struct.pack("<4I", *4 * [0x80]) + b"".join(struct.pack("<2I", n, 0x80000004) for n in range(users))
        (tree / name).touch()
        os.setxattr(tree / name, STAT, b"100640 0,0 0:0")
        os.setxattr(tree / name, ACCESS_ACL, acl)
    backed_up = list(read_fake(tree, munged=False))

    materialise(tree)

    compared = compare(backed_up, read_real(tree))
    assert [each.partition(" expected")[0] for each in compared.findings] == [
        "does-not: mode:",
        "does-not: attribute system.posix_acl_access:",
    ]
    assert (tree / "does-not").stat().st_mode & 0o777 == 0o600


def test_without_any_room_left_the_reserve_makes_some_for_what_is_recorded_and_for_no_tree(
    tmp_path: Path, device: Path
) -> None:
    place = tmp_path / "place"
    found = attached(device, place)
    tree = a_kept_tree(found, place, None)
    subvolumes.keep_a_reserve(place)
    for number in range(3500):  # so that room is taken for records, too, as small files do it
        (tree / f"small-{number}").write_bytes(os.urandom(2000))
    with (place / "everything").open("wb") as file, suppress(OSError):
        while True:
            file.write(os.urandom(MIB))
            file.flush()

    # Two hosts report at once: one makes the room, and the other one has its part of it.
    both_are_told = Barrier(2)
    tries: list[int] = []

    def record(host: int) -> None:
        tries.append(host)
        try:
            write_whole(place / f"manifest-{host}", os.urandom(MIB // 2))
        except OSError as error:
            assert error.errno == errno.ENOSPC
            if tries.count(host) == 1:
                both_are_told.wait(PATIENCE_SECONDS)
            raise

    with ThreadPoolExecutor(2) as hosts:
        list(hosts.map(lambda host: found.with_room(place, lambda: record(host)), (1, 2)))

    assert sorted(tries) == [1, 1, 2, 2]
    assert "Disk quota exceeded" in write(tree / "file", 1)


def test_where_nothing_can_be_put_by_the_quotas_hold_all_the_same_and_that_is_said(
    tmp_path: Path, device: Path
) -> None:
    """The group of all trees is gone, which leaves the reserve."""
    paths, host = PeerPaths(tmp_path / "state", tmp_path / "place"), replace(US0, quota=2 * MIB)
    found = attached(device, paths.volume)
    made("qgroup", "destroy", "1/0", str(paths.volume))
    make_places(paths, (host,), False, lambda tree: made("subvolume", "create", str(tree)))
    paths.run.mkdir(parents=True)

    kept = quotas.keep_all(found, paths, (host,))

    tree = paths.tree(host.id)
    assert "Disk quota exceeded" in write(tree / "file", 4)
    assert kept.of(host, tree) == Quota(2 * MIB, subvolumes.used(tree), "")
    assert [said.split(":")[0] for said in quotas.sentences(kept, (host,))] == [
        "1 hosts are kept to their quotas by btrfs' simple quotas",
        "nothing is put by for what is recorded, should the volume be full",
    ]


@pytest.mark.attack("fill the disk with entries that hold nothing", row="X4", outcome="the quota ends it")
@pytest.mark.fault("X4")
def test_a_quota_ends_a_flood_of_entries_that_hold_nothing(tmp_path: Path, device: Path) -> None:
    place = tmp_path / "place"
    tree = a_kept_tree(attached(device, place), place, 2 * MIB)

    with pytest.raises(OSError, match="Disk quota exceeded"):
        for number in range(100_000):
            (tree / f"{number}").touch()

    assert subvolumes.used(tree) <= 2 * MIB
    assert write(place / "beside-it", 1) == ""


@pytest.mark.fault("R14")
@in_an_enclosure
def test_a_btrfs_that_is_damaged_is_told_from_one_that_is_not_mounted_for_another_reason(
    tmp_path: Path, device: Path
) -> None:
    place = tmp_path / "place"
    attached(device, place)
    volume.unmount(place)
    wait_until_free(device)
    with pytest.raises(PermanentError, match="cannot be mounted with no-such-option") as refused:
        volume.attach(device, place, "btrfs", "no-such-option")
    with device.open("r+b", buffering=0) as file:
        file.seek(MIB)
        file.write(bytes(32 * MIB))

    with pytest.raises(
        volume.Damaged, match=r"its file system is damaged, and needs a person: .*; btrfs check: ERROR: "
    ):
        attached(device, place)

    assert not isinstance(refused.value, volume.Damaged)
    assert not place.is_mount()


@pytest.mark.fault("R14")
@pytest.mark.parametrize(("filesystem", "told"), [("btrfs", volume.Damaged), ("ext4", OSError)])
@in_an_enclosure
def test_a_btrfs_that_is_mounted_and_cannot_be_read_is_damaged(
    tmp_path: Path, device: Path, filesystem: str, told: type[Exception]
) -> None:
    """An ext4 has it in its own records, where the next check finds it."""
    paths, brief = MachinePaths(tmp_path / "machine"), parse_brief((EXAMPLES / "brief-receiver.json").read_bytes())
    brief = replace(brief, filesystem=filesystem, is_distrusted=False)
    paths.device(brief.volume_id).parent.mkdir(parents=True)
    paths.device(brief.volume_id).symlink_to(device)
    try:
        boot.open_places(brief, paths, as_root=True)
        volume.unmount(paths.volume)
        wait_until_free(device)
        spoil_the_tree(device, filesystem)

        with pytest.raises(told, match=r"cannot be read|Structure needs cleaning"):
            boot.open_places(brief, paths, as_root=True)
    finally:
        volume.unmount(paths.volume)


@in_an_enclosure
def test_an_ext4_that_was_made_without_a_reserve_has_one_from_its_next_night_on(tmp_path: Path, device: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", device], check=True)
    paths, brief = MachinePaths(tmp_path / "machine"), parse_brief((EXAMPLES / "brief-receiver.json").read_bytes())
    paths.device(brief.volume_id).parent.mkdir(parents=True)
    paths.device(brief.volume_id).symlink_to(device)

    boot.open_places(brief, paths, as_root=True)
    volume.unmount(paths.volume)

    told = subprocess.run(["dumpe2fs", "-h", device], check=True, capture_output=True, text=True).stdout
    blocks, reserved = (int(re.findall(f"^{what} count: +(.*)", told, re.M)[0]) for what in ("Block", "Reserved block"))
    assert reserved == blocks // 100


def spoil_the_tree(device: Path, filesystem: str) -> None:
    """What the host's place leads to is no directory any more, or not what its checksum says."""
    if filesystem == "ext4":
        subprocess.run(["debugfs", "-w", "-R", "clri /hosts/us0a", device], check=True, capture_output=True)
        return
    dump = ["btrfs", "inspect-internal", "dump-tree", str(device)]
    told = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    (leaf,) = re.findall(r"^leaf (\d+) .* owner 256$", told, re.MULTILINE)
    with device.open("r+b", buffering=0) as file:
        # Where the first chunk of records of a new volume lies it has the same number.
        file.seek(int(leaf))
        file.write(b"\xa5" * 4096)


def test_a_btrfs_that_does_not_count_any_more_costs_neither_a_night_nor_a_report(tmp_path: Path, device: Path) -> None:
    paths, limited = MachinePaths(tmp_path / "machine"), replace(US0, quota=4 * MIB)
    found = attached(device, paths.volume)
    try:
        make_places(paths, [US0], as_root=True, make_tree=found.make_tree)
        paths.run.mkdir(parents=True)
        quotas.keep_all(found, paths, [limited])
        subprocess.run(["btrfs", "quota", "disable", str(paths.volume)], check=True)

        in_the_night = found.of(limited, paths.tree("us0a")), found.left(paths.volume)
        said = list(quotas.sentences(quotas.keep_all(found, paths, [limited]), [limited]))

        told = quotas.find_quotas(paths).of(limited, paths.tree("us0a"))
        assert in_the_night[0] and in_the_night[0].why.startswith("what it holds cannot be told: ")
        assert in_the_night[1] is None
        assert told and "quota not enabled" in told.why
        assert said[1:] == [f"the quota of host us0a does not hold tonight: {told.why}"]
        assert said[0].startswith("nothing is put by for what is recorded, should the volume be full: ")
    finally:
        volume.unmount(paths.volume)


def test_what_is_restored_is_kept_to_no_quota(tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, without = tmp_path / "place", tmp_path / "without"
    without.mkdir()
    (without / "blkid").symlink_to(str(shutil.which("blkid")))
    tree = a_kept_tree(attached(device, place), place, 4 * MIB)
    before = write(tree / "file", 6)

    with (
        monkeypatch.context() as of_an_image,
        pytest.raises(PermanentError, match="image lacks the package btrfs-progs"),
    ):
        of_an_image.setenv("PATH", str(without))
        volume.lift_limits(device, place)
    volume.lift_limits(device, place)

    assert "Disk quota exceeded" in before
    assert write(tree / "file", 6) == ""


def test_a_tree_that_is_no_subvolume_is_kept_to_nothing_and_the_reports_say_so(tmp_path: Path, device: Path) -> None:
    paths = MachinePaths(tmp_path / "machine")
    place = paths.volume
    found = attached(device, place)
    try:
        make_places(paths, [US0], as_root=True)
        paths.run.mkdir(parents=True)

        quotas.keep_all(found, paths, [replace(US0, quota=4 * MIB)])

        told = quotas.find_quotas(paths).of(replace(US0, quota=4 * MIB), paths.tree("us0a"))
        assert told == Quota(4 * MIB, None, f"{paths.tree('us0a')} is no subvolume")
    finally:
        volume.unmount(place)
