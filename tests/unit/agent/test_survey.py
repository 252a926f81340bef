"""Taking stock: what is found becomes the index only when the receiver recorded it, and a broken one is no obstacle."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.beside import beside
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.host import changes
from ebbtide_agent.host import survey as surveying
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.history import remember
from ebbtide_agent.host.index import Block, find_index
from ebbtide_agent.host.mounts import read_mounts
from ebbtide_agent.host.scan import Tree
from ebbtide_agent.host.survey import Survey, in_view_of, is_overtaken, keep, once_more, scanned
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import COMPLETE, FAILED, PARTIAL, WITH_WARNINGS, Report, parse_report
from tests.unit.agent.test_course import A_CONFIG

A_REPORT = parse_report((Path(__file__).parents[2] / "contract/wire/report.json").read_bytes())


class Host:
    """A tree, and the nights of its host without a receiver."""

    def __init__(self, place: Path) -> None:
        self.tree = place / "tree"
        (self.tree / "etc").mkdir(parents=True)
        (self.tree / "etc/hostname").write_text("us0")
        self.paths = HostPaths(place / "etc", place / "state")
        self.config: Config = replace(A_CONFIG, root=self.tree)
        # Whatever was made in a test is old by then.
        self.now = datetime.now(UTC) + timedelta(hours=1)
        self.said: list[str] = []

    def take(self, generation: "int | None") -> Survey:
        found = scanned(self.config, self.paths, self.now)
        return in_view_of(generation, found, self.config, self.paths, self.said.append)

    def keep(self, survey: Survey, generation: int, status: str = COMPLETE, links: str = digest_of([])) -> None:
        keep(survey, self.config, self.paths, a_record(generation, status, links), self.said.append)


def a_record(generation: int, status: str = COMPLETE, links: str = "") -> Report:
    assert A_REPORT.receiver
    return replace(A_REPORT, status=status, receiver=replace(A_REPORT.receiver, generation=generation, links=links))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("status", [COMPLETE, WITH_WARNINGS])
def test_what_was_recorded_as_complete_is_the_next_nights_index(host: Host, status: str) -> None:
    host.keep(host.take(None), 7, status)
    (host.tree / "etc/new").touch()

    survey = host.take(7)

    assert survey.course.by_index and not survey.course.in_full
    assert survey.changes and survey.changes.changed == (b"etc", b"etc/new")
    assert host.said[-1] == "of 4 entries 2 to push, 0 to delete first"


@pytest.mark.fault("H4")
def test_a_listed_path_that_another_file_has_taken_is_noticed_and_one_that_was_written_to_or_went_is_not(
    host: Host,
) -> None:
    log = host.tree / "etc/log"
    host.keep(host.take(None), 7)
    log.write_text("all that was logged")
    pushed = host.take(7)
    log.write_text("and more")
    assert not is_overtaken(pushed, host.config, in_full=False)

    log.rename(host.tree / "etc/log.1")
    assert not is_overtaken(pushed, host.config, in_full=False), "what was not there any more rsync has told"
    log.touch()

    assert is_overtaken(pushed, host.config, in_full=False)


def test_after_a_push_in_full_a_scan_has_to_look_and_where_none_can_nobody_does(host: Host) -> None:
    host.keep(host.take(None), 7)
    host.now += timedelta(days=7)
    weekly = host.take(7)
    assert weekly.course.by_index and weekly.course.in_full

    assert is_overtaken(weekly, host.config, in_full=True)
    assert not is_overtaken(replace(weekly, tally=None), host.config, in_full=True)


def test_what_a_push_in_full_was_overtaken_by_is_pushed_by_lists_and_what_was_only_young_not_at_all(host: Host) -> None:
    host.now = datetime.now(UTC)
    pushed = host.take(None)

    quiet = once_more(pushed, (), (), host.config, host.paths)
    (host.tree / "etc/hostname").write_text("us1")
    edited = once_more(quiet, (), (), host.config, host.paths)

    assert quiet.is_idle and not quiet.course.in_full
    assert edited.changes and edited.changes.changed == (b"etc/hostname",)
    host.keep(edited, 7)
    assert set(host.take(7).changes.changed) == {b"", b"etc", b"etc/hostname"}  # type: ignore[union-attr]


def test_a_second_scan_finds_what_changed_since_the_first_and_what_vanished_whether_it_is_back_or_not(
    host: Host,
) -> None:
    (host.tree / "srv").mkdir()
    for name in ("back", "gone", "same"):
        (host.tree / "srv" / name).touch()
    pushed = host.take(None)
    (host.tree / "srv/gone").unlink()
    (host.tree / "srv/new").touch()

    again = once_more(pushed, (b"srv/back",), (), host.config, host.paths)

    assert again.changes and again.tally
    assert again.changes.gone == (b"srv/gone",)
    assert set(again.changes.changed) == {b"srv", b"srv/back", b"srv/new"}
    assert (again.course.by_index, again.course.in_full, again.tally.entries) == (True, False, 7)
    host.keep(again, 7)
    kept = find_index(host.paths.index)
    assert kept and {entry.path for entry in kept.entries()} >= {b"srv/new", b"srv/back"}
    assert not host.paths.later_index.exists() and not host.paths.new_index.exists()


def test_a_second_scan_that_cannot_be_compared_is_followed_by_a_full_push(host: Host) -> None:
    pushed = host.take(None)
    host.paths.new_index.write_bytes(b"damaged")

    again = once_more(pushed, (b"etc",), (), host.config, host.paths)

    assert (again.course.by_index, again.course.in_full, again.changes, again.tally) == (False, True, None, None)
    assert not host.paths.later_index.exists()


@pytest.mark.parametrize(
    ("generation", "known"),
    [(7, (b"etc", b"etc/hostname")), (None, (b"etc", b"etc/hostname")), (8, None)],
    ids=["the tree of the index", "one that a push has left broken", "another"],
)
def test_whose_group_has_other_permissions_now_is_known_as_far_as_the_tree_is(
    host: Host, generation: "int | None", known: "tuple[bytes, ...] | None"
) -> None:
    host.keep(host.take(None), 7)
    (host.tree / "etc").chmod(0o775)
    (host.tree / "etc/hostname").chmod(0o664)
    (host.tree / "etc/new").touch()

    regrouped = host.take(generation).regrouped

    assert (regrouped if regrouped is None else tuple(regrouped)) == known


def test_of_too_many_whose_group_has_other_permissions_none_is_listed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.keep(host.take(None), 7)
    (host.tree / "etc").chmod(0o775)
    (host.tree / "etc/hostname").chmod(0o664)
    monkeypatch.setattr(changes, "MOST_CHANGES", 1)

    survey = host.take(7)

    assert (survey.course.in_full, survey.changes, survey.regrouped) == (True, None, None)


def test_what_a_scan_cannot_tell_it_does_not_have_to_tell_every_night(host: Host) -> None:
    host.config = replace(host.config, exclude=("[ab]",))

    assert (host.take(7).course.in_full, host.take(7).regrouped) == (True, ())


def test_a_second_scan_keeps_in_mind_whose_group_had_other_permissions_at_the_first(host: Host) -> None:
    host.keep(host.take(None), 7)
    (host.tree / "etc").chmod(0o775)
    pushed = host.take(7)
    (host.tree / "etc/hostname").chmod(0o664)

    again = once_more(pushed, (b"etc",), (), host.config, host.paths)

    assert again.regrouped == (b"etc", b"etc/hostname")


def test_what_was_found_by_the_index_of_another_tree_is_dropped(host: Host) -> None:
    host.keep(host.take(None), 7)
    (host.tree / "etc/new").touch()

    survey = host.take(8)

    assert survey.course.in_full and not survey.course.by_index
    assert survey.changes is None
    assert host.said[-1].startswith("a full push: ")


@pytest.mark.parametrize("status", [PARTIAL, FAILED])
def test_what_was_not_is_no_index(host: Host, status: str) -> None:
    host.keep(host.take(None), 7, status)

    assert host.take(7).course.in_full
    assert find_index(host.paths.index) is None


def test_a_night_that_never_came_to_its_end_leaves_the_old_index_in_place(host: Host) -> None:
    host.keep(host.take(None), 7)

    host.take(7)

    index = find_index(host.paths.index)
    assert index and index.header.generation == 7 and len(list(index.entries())) == 3


def test_a_damaged_index_is_told_and_everything_is_pushed(host: Host) -> None:
    host.keep(host.take(None), 7)
    os.truncate(host.paths.index, 1030)

    survey = host.take(7)
    host.keep(survey, 8)

    assert survey.changes is None and survey.course.in_full and survey.course.in_content
    assert "a full push that compares contents: the index is damaged" in host.said[-1]
    assert not host.take(8).course.in_full


def test_a_rule_that_only_rsync_can_decide_means_full_pushes_and_is_told_once_a_night(host: Host) -> None:
    host.keep(host.take(None), 7)
    host.config = replace(host.config, exclude=("*.[ab]",))
    host.said.clear()

    survey = host.take(7)
    host.keep(survey, 8)

    assert (survey.tally, survey.changes, survey.course.in_full) == (None, None, True)
    assert host.said == ["a full push: there can be no index: only rsync can decide the pattern '*.[ab]'"]
    assert host.take(8).course.in_full


def test_a_scan_that_somebody_ended_means_a_full_push(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Tree) -> AbstractContextManager[Iterator[Block]]:
        return beside("the scan", lambda: os.kill(os.getpid(), signal.SIGKILL))

    host.keep(host.take(None), 7)
    monkeypatch.setattr(surveying, "scan_beside", killed)

    survey = host.take(7)

    assert (survey.tally, survey.changes, survey.course.in_full) == (None, None, True)
    assert host.said[-1].startswith("a full push: there can be no index: the scan was ended from outside")


def test_what_was_mounted_when_the_scan_began_is_known(host: Host) -> None:
    before = read_mounts().items()
    known = host.take(None).mounts.items()
    after = read_mounts().items()

    # Others on this machine mount and unmount meanwhile.
    assert before & after <= known <= before | after


def test_a_file_system_that_was_another_one_when_the_scan_ended_is_not_known(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([{b"/": "a disk", b"/srv": "another", b"/mnt": "gone"}, {b"/": "a disk", b"/srv": "a third"}])
    monkeypatch.setattr(surveying, "_identities", lambda: next(seen))

    tally = host.take(None).tally

    assert tally and tally.counted().identities == {b"/": "a disk"}


def test_where_no_index_can_be_written_everything_is_pushed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    host.paths = HostPaths(tmp_path, tmp_path / "file/state")

    survey = host.take(7)
    host.keep(survey, 8)

    assert survey.course.in_full and survey.tally is None


@pytest.mark.parametrize(
    ("links", "generation", "may_be"),
    [([[b"a", b"etc/b"]], 7, False), ([[b"a", b"etc/b"]], 8, True), ([[b"a", b"etc/c"]], 7, True), (None, 7, True)],
)
@pytest.mark.parametrize("exclude", [(), ("[z]nothing",)], ids=["scanned", "only rsync can tell"])
def test_names_may_be_linked_over_there_unless_the_tree_was_recorded_with_the_links_that_are_here(
    host: Host, links: "list[list[bytes]] | None", generation: int, may_be: bool, exclude: tuple[str, ...]
) -> None:
    (host.tree / "a").touch()
    (host.tree / "etc/b").hardlink_to(host.tree / "a")
    host.config = replace(host.config, exclude=exclude, rsync="rsync")
    host.paths.state.mkdir()
    remember(host.paths, a_record(7, links=digest_of(links) if links else ""), host.said.append)

    taken = host.take(generation)

    assert (taken.course.in_full, taken.may_be_linked) == (True, may_be)
    assert {b"a", b"etc/b"} <= {entry.path for entry in taken.read()}


def test_where_what_is_here_cannot_be_read_names_may_be_linked_over_there(host: Host) -> None:
    host.config = replace(host.config, exclude=("[z]nothing",), rsync="false")
    host.paths.state.mkdir()
    remember(host.paths, a_record(7, links=digest_of([])), host.said.append)

    assert host.take(7).may_be_linked


@pytest.mark.parametrize(
    ("links", "agree"), [(digest_of([[b"a", b"etc/b"]]), True), (digest_of([]), False), ("", False)]
)
def test_whether_the_receiver_found_the_same_links_is_kept(host: Host, links: str, agree: bool) -> None:
    (host.tree / "a").touch()
    os.link(host.tree / "a", host.tree / "etc/b")

    host.keep(host.take(None), 7, links=links)

    index = find_index(host.paths.index)
    assert index and index.header.links_agree is agree


def test_when_everything_was_last_compared_is_handed_on(host: Host) -> None:
    host.keep(host.take(None), 7)
    first, host.now = host.now.replace(microsecond=0), host.now + timedelta(days=6)
    host.keep(host.take(7), 8)
    index = find_index(host.paths.index)
    assert index and index.header.full == first

    host.now += timedelta(days=1)
    survey = host.take(8)
    host.keep(survey, 9)

    index = find_index(host.paths.index)
    assert survey.course.in_full and survey.course.by_index
    assert index and index.header.full == host.now.replace(microsecond=0)
