"""Which way a push goes, and whose configuration an index is of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import VERSION
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.course import Course, choose, settings_of
from ebbtide_agent.host.index import Header
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
)


def test_an_index_of_the_receivers_tree_is_all_that_is_needed() -> None:
    assert choose(HEADER, 7, "the same", NOW) == Course(True, False)


@pytest.mark.parametrize(
    ("header", "generation", "why"),
    [
        (None, 7, "no index"),
        (HEADER, None, "came to its end"),
        (HEADER, 8, "not the one that the index describes"),
    ],
)
def test_an_index_that_says_nothing_of_the_receivers_tree_is_not_used(
    header: "Header | None", generation: "int | None", why: str
) -> None:
    course = choose(header, generation, "the same", NOW)

    assert (course.by_index, course.in_full) == (False, True)
    assert why in course.why


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
    course = choose(changed, 7, "the same", NOW)

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


def test_who_may_read_which_attributes_is_in_the_settings() -> None:
    assert settings_of(A_CONFIG, as_root=True) != settings_of(A_CONFIG, as_root=False)


def test_how_fast_and_where_to_is_not() -> None:
    assert settings_of(replace(A_CONFIG, bandwidth="1m", target=Receiver("x"), keep=3), True) == settings_of(
        A_CONFIG, True
    )
