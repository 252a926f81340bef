"""A tree that another boot of a machine has written to, and was lost with before all of that was on the disk."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import Session, find_session, leased, write_session
from ebbtide_agent.receiver.lost import have_compared, note_not_kept, note_written, pushed_to
from ebbtide_agent.receiver.places import make_room
from ebbtide_agent.receiver.status import ANYBODY, Status, forget_tree, read_status, write_status

NOW = datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SETTLED = Status(7, settled=True, run="main/2026-11-22/1", complete=True)
PUSHED_TO = replace(SETTLED, settled=False, boot="one", since="2026-11-23T02:10:00Z")


def test_a_push_notes_its_boot_and_when_the_first_one_of_that_began() -> None:
    assert pushed_to(SETTLED, "one", NOW) == PUSHED_TO
    assert pushed_to(PUSHED_TO, "one", LATER) == PUSHED_TO
    assert pushed_to(PUSHED_TO, "two", LATER) == replace(PUSHED_TO, boot="two", since="2026-11-23T02:15:00Z")
    assert pushed_to(Status(), "one", NOW) == Status(boot="one", since="2026-11-23T02:10:00Z")


@pytest.fixture
def paths(tmp_path: Path) -> MachinePaths:
    paths = MachinePaths(tmp_path)
    make_room(paths)
    for host_id in ("us0a", "eu0a", "newa"):
        paths.host(host_id).mkdir(parents=True)
    write_status(paths.status("us0a"), PUSHED_TO)
    write_status(paths.status("eu0a"), PUSHED_TO)
    return paths


@pytest.fixture
def tree(paths: MachinePaths) -> Path:
    tree = paths.tree("us0a")
    (tree / "directory").mkdir(parents=True)
    (tree / "directory/file").write_text("content")
    (tree / "link").symlink_to("directory/file")
    os.mkfifo(tree / "pipe")
    return tree


def times(tree: Path) -> dict[str, int]:
    return {str(path.relative_to(tree)): path.lstat().st_mtime_ns for path in tree.rglob("*")}


def test_the_files_that_a_lost_machine_has_written_get_a_time_that_is_no_files(paths: MachinePaths, tree: Path) -> None:
    before = times(tree)
    since = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    known = have_compared(paths, "us0a", replace(PUSHED_TO, since=since), "two")

    assert times(tree) == {**before, "directory/file": known.uncompared}
    assert 0 < known.uncompared < 10**9
    assert have_compared(paths, "us0a", known, "three") == known, "what was marked before is found again"


@pytest.mark.parametrize(
    "known",
    [
        replace(PUSHED_TO, since="2000-01-01T00:00:00Z", boot="two"),
        replace(PUSHED_TO, since="2000-01-01T00:00:00Z", boot=""),
        replace(PUSHED_TO, since="2000-01-01T00:00:00Z", settled=True),
        replace(PUSHED_TO, since="2999-01-01T00:00:00Z"),
    ],
    ids=["by this boot", "all is written", "it is on record", "the files were there before"],
)
def test_all_others_keep_theirs(paths: MachinePaths, tree: Path, known: Status) -> None:
    before = times(tree)

    assert have_compared(paths, "us0a", known, "two") == known
    assert times(tree) == before


def test_a_file_that_is_still_to_be_compared_is_in_no_manifest_and_a_hosts_own_of_whatever_time_in_all(
    paths: MachinePaths, tree: Path
) -> None:
    out, header = paths.next_manifest("us0a"), Header("us0a", "main/2026-11-23/1", "real")
    os.utime(tree / "directory/file", ns=(0, 5))

    with pytest.raises(PermanentError, match="directory/file was written by a machine that was lost"):
        manifest.write(tree, "real", None, out, header, uncompared=5)

    assert manifest.write(tree, "real", None, out, header).files == 1


def test_what_is_let_go_of_is_written_but_for_who_pushes_still(paths: MachinePaths) -> None:
    with leased(paths, "eu0a"):
        note_written(paths, ("us0a", "eu0a", "newa"), "one")

    assert read_status(paths.status("us0a")) == replace(PUSHED_TO, boot="", since="")
    assert read_status(paths.status("eu0a")) == PUSHED_TO
    assert not paths.status("newa").exists()


def test_what_another_boot_was_lost_with_is_not_said_to_be_written(paths: MachinePaths) -> None:
    note_written(paths, ("us0a", "eu0a", "newa"), "two")

    assert read_status(paths.status("us0a")) == PUSHED_TO
    assert read_status(paths.status("eu0a")) == PUSHED_TO
    assert not paths.status("newa").exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_a_disk_has_not_kept_is_as_on_a_lost_machine(paths: MachinePaths, is_kept: bool) -> None:
    write_status(paths.status("eu0a"), replace(SETTLED, boot="", since=""))
    write_session(paths, "us0a", Session(0, 1.0))
    if not is_kept:
        paths.not_kept.write_text("Input/output error")

    note_not_kept(paths, ("us0a", "eu0a", "newa"), "one")

    assert read_status(paths.status("us0a")) == (PUSHED_TO if is_kept else replace(PUSHED_TO, boot=ANYBODY))
    assert (find_session(paths, "us0a") is not None) == is_kept
    assert read_status(paths.status("eu0a")) == replace(SETTLED, boot="", since="")
    assert not paths.status("newa").exists()


_OF_AN_EARLIER_AGENT = '{"schema": 1, "generation": 7, "settled": false, "munged": false, "run": "main/2026-11-22/1"}'


@pytest.mark.parametrize(
    "lose",
    [
        forget_tree,
        Path.unlink,
        lambda status: status.write_bytes(bytes(200)),
        lambda status: status.write_text(_OF_AN_EARLIER_AGENT),
    ],
    ids=["after fsck has mended", "gone", "cut off while it was written over", "of an earlier agent"],
)
def test_where_nothing_says_that_all_is_on_the_disk_everything_is_compared(
    paths: MachinePaths, tree: Path, lose: Callable[[Path], None]
) -> None:
    write_status(paths.status("us0a"), replace(SETTLED, boot="", since=""))
    lose(paths.status("us0a"))
    os.utime(tree / "directory/file", (0, 0))

    known = have_compared(paths, "us0a", read_status(paths.status("us0a")), "two")

    assert times(tree)["directory/file"] == known.uncompared > 0
