"""Which way a push goes, and whose configuration an index is of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import VERSION
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.course import Course, choice_of, choose, settings_of, with_tree
from ebbtide_agent.host.guards import Baseline, find_losses
from ebbtide_agent.host.index import Header
from ebbtide_agent.host.tally import Counted
from ebbtide_agent.host.target import Receiver

NOW = datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
HEADER = Header(VERSION, "the same", 7, NOW - timedelta(days=1), True, 100)
A_CONFIG = Config(
    "us0",
    Receiver("backup.example.org"),
    7,
    "root",
    Path("/key"),
    Path("/known"),
    Path("/"),
    "rsync",
    "",
    False,
    True,
    1,
    1,
    include=(),
    exclude=(),
    shrink=50,
    rewrite=50,
    check_days=30,
    nice=10,
    ionice="best-effort",
    compress="auto",
)


def test_an_index_is_all_that_is_needed() -> None:
    assert choose(HEADER, "the same", NOW) == Course(True, False)


def test_without_one_everything_is_pushed() -> None:
    course = choose(None, "the same", NOW)

    assert (course.by_index, course.in_full) == (False, True)
    assert "no index" in course.why


def test_an_index_of_the_tree_that_is_there_is_used() -> None:
    assert with_tree(Course(True, False), 7, 7) == Course(True, False)


@pytest.mark.parametrize(
    ("generation", "why"), [(None, "came to its end"), (8, "not the one that the index describes")]
)
@pytest.mark.parametrize("course", [Course(True, False), Course(True, True, "the last one is a week ago")])
def test_an_index_of_another_tree_is_not(course: Course, generation: "int | None", why: str) -> None:
    found = with_tree(course, 7, generation)

    assert (found.by_index, found.in_full) == (False, True)
    assert why in found.why


@pytest.mark.parametrize(("generation", "in_content"), [(None, False), (8, True)])
def test_contents_are_compared_without_an_index_if_there_is_a_tree(generation: "int | None", in_content: bool) -> None:
    assert with_tree(choose(None, "the same", NOW), None, generation).in_content == in_content


def test_and_not_once_a_week_nor_when_the_tree_is_another_one() -> None:
    weekly = choose(replace(HEADER, full=NOW - timedelta(days=7)), "the same", NOW)

    assert not with_tree(weekly, 7, 7).in_content and not with_tree(weekly, 7, 8).in_content


@pytest.mark.parametrize("generation", [None, 8])
def test_why_there_is_no_index_is_told_whatever_tree_is_there(generation: "int | None") -> None:
    assert with_tree(Course(False, True, "no index"), None, generation) == Course(False, True, "no index")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (replace(HEADER, agent="0.0.1"), "agent 0.0.1"),
        (replace(HEADER, settings="other"), "configuration"),
        (replace(HEADER, full=NOW - timedelta(days=6, hours=13)), "a week ago"),
        (replace(HEADER, full=NOW + timedelta(hours=1)), "a week ago"),
    ],
)
def test_where_the_index_may_not_be_all_both_are_pushed(changed: Header, why: str) -> None:
    course = choose(changed, "the same", NOW)

    assert (course.by_index, course.in_full) == (True, True)
    assert why in course.why


@pytest.mark.parametrize(
    "change",
    [
        {"root": Path("/srv")},
        {"include": ("/etc",)},
        {"exclude": ("*.o",)},
        {"whole_system": False},
        {"one_file_system": True},
    ],
)
def test_whatever_decides_what_travels_is_in_the_settings(change: dict[str, object]) -> None:
    assert settings_of(replace(A_CONFIG, **change), True) != settings_of(A_CONFIG, True)
    assert choice_of(replace(A_CONFIG, **change), True) != choice_of(A_CONFIG, True)


def test_who_may_read_which_attributes_is_in_the_settings() -> None:
    assert settings_of(A_CONFIG, as_root=True) != settings_of(A_CONFIG, as_root=False)


def test_an_agent_that_has_more_arrive_pushes_in_full_and_still_guards_by_what_the_one_before_kept() -> None:
    kept = "ce421a293adabf8e18eebd8a668dde22d731863f461ae5b6c5037b18c0aa26a0"  # before it told a store of its ACLs
    before = Baseline(kept, entries=1000, files=900, size=1 << 20, mounts={})

    lost = find_losses(A_CONFIG, before, choice_of(A_CONFIG, as_root=True), Counted(3, 3, 3), {})

    assert lost[0].startswith("of 1000 entries of the last complete night 3 are left")
    assert choose(replace(HEADER, settings=kept), settings_of(A_CONFIG, as_root=True), NOW).in_full


def test_how_fast_and_where_to_is_not() -> None:
    assert settings_of(replace(A_CONFIG, bandwidth="1m", target=Receiver("x"), keep=3), True) == settings_of(
        A_CONFIG, True
    )
