"""What looks like the end of a host's data, and what does not."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import pytest

from ebbtide_agent.host import night
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.course import Course
from ebbtide_agent.host.guards import (
    Baseline,
    find_baseline,
    find_losses,
    find_rewriting,
    keep_baseline,
    mounts_of,
)
from ebbtide_agent.host.link import World
from ebbtide_agent.host.mounts import mounted_throughout, read_mounts
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.tally import Counted
from ebbtide_agent.host.way import Way
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import SUSPECT, Hello
from ebbtide_agent.shapes import encode
from tests.unit.agent.test_course import A_CONFIG, NOW

BEFORE = Baseline("settings", 10_000, 9_000, 1_000_000, {})
AS_BEFORE = Counted(10_000, 10_000, 1_000_000)

MOUNTINFO = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /dev rw - devtmpfs udev rw
24 22 0:21 / /proc rw,nosuid - proc proc rw
25 22 0:24 / /run rw - tmpfs tmpfs rw
26 22 254:16 / /srv rw,relatime shared:2 - xfs /dev/vdb rw
27 22 0:40 / /mnt/with\040space rw - nfs4 nas:/export rw
28 22 254:32 / /var/lib/docker/overlay2/1f/merged rw - overlay overlay rw
29 22 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
30 22 254:48 / /media/usb rw - ext4 /dev/sdc1 rw
31 26 254:64 / /srv/www rw - btrfs /dev/vde rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> dict[bytes, str]:
    (tmp_path / "mountinfo").write_bytes(MOUNTINFO)
    return read_mounts(tmp_path / "mountinfo")


def test_a_night_like_the_one_before_is_nobodys_concern() -> None:
    assert find_losses(A_CONFIG, BEFORE, "settings", AS_BEFORE, {}) == ()
    assert find_rewriting(A_CONFIG, BEFORE, "settings", 0) is None


@pytest.mark.fault("H14")
@pytest.mark.parametrize(
    ("now", "shrink", "lost"),
    [
        (Counted(5_000, 5_000, 1_000_000), 50, 0),
        (Counted(4_999, 4_999, 1_000_000), 50, 1),
        (Counted(10_000, 10_000, 499_999), 50, 1),
        (Counted(0, 0, 0), 50, 2),
        (Counted(4_999, 4_999, 1_000_000), 60, 0),
        (Counted(8_999, 8_999, 1_000_000), 10, 1),
        (Counted(0, 0, 0), None, 0),
        (Counted(100_000, 100_000, 10_000_000), 50, 0),
    ],
)
def test_what_fell_below_what_is_left_by_the_permitted_loss_is_told(now: Counted, shrink: int, lost: int) -> None:
    found = find_losses(replace(A_CONFIG, shrink=shrink), BEFORE, "settings", now, {})

    assert len(found) == lost
    assert all("nothing was pushed" in line and "--accept-shrink" in line for line in found)


@pytest.mark.fault("H14")
def test_another_choice_of_what_is_backed_up_is_no_loss_unless_hardly_anything_is_left() -> None:
    of_another = [find_losses(A_CONFIG, BEFORE, "other settings", Counted(1, files, 1), {}) for files in (90, 89, 0)]

    assert [len(lost) for lost in of_another] == [0, 1, 1]
    assert of_another[1][0].startswith(
        "of 9000 files of the last complete night 89 are left since what is backed up was"
    )
    assert find_losses(replace(A_CONFIG, shrink=None), BEFORE, "other settings", Counted(0, 0, 0), {}) == ()
    assert find_rewriting(A_CONFIG, BEFORE, "other settings", 9_000) is None


@pytest.mark.fault("H15")
@pytest.mark.parametrize(
    ("rewritten", "rewrite", "is_told"),
    [(4_500, 50, False), (4_501, 50, True), (9_000, None, False), (4_501, 51, False), (1_000, 10, True)],
)
def test_more_rewritten_files_than_permitted_are_told(rewritten: int, rewrite: int, is_told: bool) -> None:
    found = find_rewriting(replace(A_CONFIG, rewrite=rewrite), BEFORE, "settings", rewritten)

    assert (found is not None) == is_told


def test_a_few_files_are_no_mass_however_few_there_are() -> None:
    few = replace(BEFORE, files=999)

    assert find_rewriting(A_CONFIG, few, "settings", 999) is None


def test_what_travels_and_stays_mounted_is_remembered(mounts: dict[bytes, str]) -> None:
    assert mounts_of(A_CONFIG, mounts) == {
        "/": "ext4",
        "/srv": "xfs",
        "/mnt/with space": "nfs4",
        "/media/usb": "ext4",
        "/srv/www": "btrfs",
    }


@pytest.mark.parametrize(
    ("config", "points"),
    [
        (replace(A_CONFIG, exclude=("/media/*/*", "/mnt/**")), {"/", "/srv", "/srv/www"}),
        (replace(A_CONFIG, exclude=("*.[ab]", "/srv")), {"/", "/mnt/with space", "/media/usb"}),
        (replace(A_CONFIG, include=("/srv/www", "/etc")), {"/srv/www"}),
        (replace(A_CONFIG, one_file_system=True), {"/"}),
    ],
    ids=["excluded by content", "a rule that only rsync can decide", "included places", "one file system"],
)
def test_what_does_not_travel_is_not(config: Config, points: set[str], mounts: dict[bytes, str]) -> None:
    assert set(mounts_of(config, mounts)) == points


@pytest.mark.fault("H14")
def test_a_file_system_that_was_mounted_and_is_not_is_told_as_long_as_its_place_is_there(tmp_path: Path) -> None:
    place = tmp_path / "srv"
    place.mkdir()
    config = replace(A_CONFIG, root=tmp_path, whole_system=False)
    before = replace(BEFORE, mounts={str(place): "xfs", str(tmp_path / "taken-away"): "ext4"})

    mounted = find_losses(config, before, "settings", None, {bytes(place): "xfs"})
    unmounted = find_losses(config, before, "settings", None, {})
    excluded = find_losses(replace(config, exclude=("/srv/*",)), before, "settings", None, {})

    assert (mounted, excluded) == ((), ())
    assert len(unmounted) == 1
    assert f"{place} is not mounted; at the last complete night it was (xfs)" in unmounted[0]


@pytest.mark.fault("H14")
def test_another_kind_of_file_system_in_its_place_is_told(tmp_path: Path) -> None:
    place = tmp_path / "srv"
    place.mkdir()
    config = replace(A_CONFIG, root=tmp_path, whole_system=False)
    before = replace(BEFORE, mounts={str(place): "nfs4"})

    found = {
        kind: find_losses(config, before, "settings", None, {bytes(place): kind})
        for kind in ("nfs4", "autofs", "tmpfs")
    }

    assert [kind for kind, lost in found.items() if lost] == ["tmpfs"]
    assert found["tmpfs"][0].startswith(
        f"{place} was nfs4 at the last complete night, and what is mounted there now is tmpfs; nothing was pushed"
    )


@pytest.mark.fault("H14")
@pytest.mark.parametrize(
    ("files_on", "is_told"), [({b"/srv": 0, b"/": 9_000}, True), ({b"/srv": 1, b"/": 9_000}, False), ({}, False)]
)
def test_a_file_system_of_which_no_file_is_left_is_told_however_small_it_is(
    files_on: dict[bytes, int], is_told: bool
) -> None:
    before = replace(BEFORE, mounts={"/srv": "ext4", "/": "ext4"}, files_on={"/srv": 12, "/": 8_988})
    mounts = {b"/srv": "ext4", b"/": "ext4"}

    lost = find_losses(A_CONFIG, before, "settings", replace(AS_BEFORE, files_on=files_on), mounts)

    assert [each.partition(",")[0] for each in lost] == (
        ["of 12 files on /srv at the last complete night none is left"] if is_told else []
    )


@pytest.mark.fault("H14")
@pytest.mark.parametrize(
    ("were", "at_the_time", "now", "is_told"),
    [
        (1, "this disk", "this disk", False),
        (999, "this disk", "this disk", False),
        (1000, "this disk", "this disk", True),
        (1, "this disk", "another", True),
        (1, "this disk", None, True),
        (1, None, "this disk", True),
        (1, None, None, True),
    ],
)
def test_a_few_files_may_go_from_a_file_system_that_is_certainly_the_one_it_was(
    were: int, at_the_time: str | None, now: str | None, is_told: bool
) -> None:
    identities = {"/srv": at_the_time} if at_the_time else {}
    before = replace(BEFORE, mounts={"/srv": "ext4"}, files_on={"/srv": were}, identities=identities)
    emptied = replace(AS_BEFORE, files_on={b"/srv": 0}, identities={b"/srv": now} if now else {})

    lost = find_losses(A_CONFIG, before, "settings", emptied, {b"/srv": "ext4"})

    assert bool(lost) == is_told


@pytest.mark.parametrize(
    ("were", "identities", "says"),
    [
        (3, {}, ", and of nfs4 nobody can tell whether it is the file system that it was (findmnt /srv); nothing"),
        (3, {b"/srv": "another"}, ", and it is not the file system that it was (findmnt /srv); nothing"),
        (1000, {b"/srv": "this one"}, "none is left; nothing"),
    ],
)
def test_of_a_few_files_it_says_why_they_may_not_simply_go(were: int, identities: dict[bytes, str], says: str) -> None:
    before = replace(BEFORE, mounts={"/srv": "nfs4"}, files_on={"/srv": were}, identities={"/srv": "this one"})
    emptied = replace(AS_BEFORE, files_on={b"/srv": 0}, identities=identities)

    (lost,) = find_losses(A_CONFIG, before, "settings", emptied, {b"/srv": "nfs4"})

    assert says in lost


def test_a_loss_names_what_could_not_be_read() -> None:
    unread = ('rsync: [sender] opendir "/srv" failed: Stale file handle (116)', "another")

    named, first, none = (
        find_losses(A_CONFIG, BEFORE, "settings", Counted(10, 10, 1_000_000, unread=unread[:most]), {})[0]
        for most in (2, 1, 0)
    )

    assert f", and not all of it could be read: {unread[0]}, and 1 more; nothing was pushed" in named
    assert f"{unread[0]}; nothing was pushed" in first
    assert "read" not in none


def test_what_is_mounted_instead_while_the_tree_is_scanned_is_not_what_the_scan_found() -> None:
    before = {b"/": "ext4", b"/srv": "tmpfs", b"/mnt": "autofs", b"/idle": "nfs4", b"/gone": "xfs"}
    after = {b"/": "ext4", b"/srv": "ext4", b"/mnt": "nfs4", b"/idle": "autofs", b"/new": "xfs"}

    assert mounted_throughout(before, after) == {b"/": "ext4", b"/mnt": "nfs4", b"/idle": "autofs"}


@pytest.mark.fault("H14")
def test_which_nfs_it_is_client_and_server_agree_on_each_time() -> None:
    before = replace(BEFORE, mounts={"/srv": "nfs4"})

    assert find_losses(A_CONFIG, before, "settings", AS_BEFORE, {b"/srv": "nfs"}) == ()
    assert find_losses(A_CONFIG, before, "settings", AS_BEFORE, {b"/srv": "tmpfs"}) != ()


@pytest.mark.fault("H14")
def test_what_was_mounted_while_the_tree_was_scanned_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, paths = tmp_path / "srv", HostPaths(tmp_path / "etc", tmp_path / "state")
    place.mkdir()
    paths.state.mkdir()
    config = replace(A_CONFIG, root=tmp_path, whole_system=False)
    paths.baseline.write_bytes(encode(asdict(replace(BEFORE, mounts={str(place): "xfs"}))))
    a_night = night.Night(paths, World(lambda: NOW), {})
    hello = Hello("", "us0", "us0a", "", None, NOW)
    found = Survey(Course(False, True), mounts={})
    monkeypatch.setattr(night, "read_mounts", lambda: {bytes(place): "xfs"})

    # Nothing is pushed: there is no way at all.
    outcome, _ = night.push_if_all_is_well(a_night, config, cast("Way", None), hello, lambda: found)

    assert outcome.status == SUSPECT
    assert f"{place} is not mounted" in outcome.problems[0]


def test_a_baseline_comes_back_as_it_was_kept_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "baseline"
    assert find_baseline(path) is None

    where = "/srv/\udcff"
    baseline = replace(BEFORE, mounts={where: "ext4"}, files_on={where: 7}, identities={where: "an ext4"})
    keep_baseline(path, baseline)
    kept = find_baseline(path)
    path.write_bytes(path.read_bytes()[:40])

    assert kept == baseline
    assert find_baseline(path) is None


def test_a_baseline_of_an_agent_that_did_not_count_by_mount_is_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline"
    earlier = {name: value for name, value in asdict(BEFORE).items() if name not in ("files_on", "identities")}
    path.write_bytes(encode(earlier))

    assert find_baseline(path) == BEFORE
