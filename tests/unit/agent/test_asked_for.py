"""Whether a place that is asked for travels is told as rsync does it, and what keeps it from that is named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.asked_for import missing_places
from ebbtide_agent.host.config import Config, load
from ebbtide_agent.host.filters import EVERYTHING, most_argument_bytes
from ebbtide_agent.host.index import ROOT
from ebbtide_agent.host.rsync_walk import count
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_explain import _BEYOND, _SIMPLE, includes, patterns, tree
from tests.unit.agent.test_scan import needs_rsync, taken_by_rsync

__all__ = ["tree"]
pytestmark = needs_rsync

TOP = "HOST=us0\nTARGET=receiver://backup.example.org\nKEEP=7\n"


def a_host(etc: Path, include: Sequence[str], exclude: str = "", config: str = "") -> tuple[Config, HostPaths]:
    """With /data/www/index in its tree, /var/www2 a link to /data/www, and names that are patterns of themselves."""
    root = etc / "root"
    for name in ("data/www/index", "var/log/big", "srv/a/b/data/x", "srv/a[1]/x", "srv/b*c", "only/.dot"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if not (root / "var/www2").is_symlink():
        (root / "var/www2").symlink_to("../data/www")
    (etc / "backup_config").write_text(f"{TOP}ROOT={root}\n{config}")
    (etc / "backup_include").write_text("".join(f"{place}\n" for place in include))
    (etc / "backup_exclude").write_text(exclude)
    paths = HostPaths(etc, etc / "state")
    return load(paths), paths


def missing(etc: Path, include: Sequence[str], exclude: str = "", config: str = "") -> list[str]:
    return [each.replace(str(etc), "") for each in missing_places(*a_host(etc, include, exclude, config))]


@pytest.mark.parametrize("place", ["/ect", "/data/www ", "/srv/a/b/x"])
def test_a_place_that_is_not_there_is_named_before_anything_is_pushed(tmp_path: Path, place: str) -> None:
    assert missing(tmp_path, ("/data", place)) == [
        f"{place}, which is to be backed up, is not there below /root; nothing was pushed"
    ]


@pytest.mark.parametrize("place", ["/data/*/none", "/srv/**/none", "/srv/a[2]"])
def test_so_is_a_pattern_that_matches_nothing(tmp_path: Path, place: str) -> None:
    assert missing(tmp_path, ("/data", place)) == [
        f"{place}, which is to be backed up, is not there below /root: nothing that travels matches it;"
        " nothing was pushed"
    ]


@pytest.mark.parametrize(
    ("place", "exclude", "why"),
    [
        ("/var/www2/index", "", "/root/var/www2 is a symbolic link to ../data/www, and what is there has a path of its own"),  # noqa: E501
        ("/data/www", "*.o\n/data\n", "/backup_exclude:2: /data excludes /root/data, which it is in"),
        ("/data/www", "www\n", "/backup_exclude:1: www excludes it"),
        ("/data/www/", "[w]ww\n", "/backup_exclude:1: [w]ww excludes it"),
    ],
)  # fmt: skip
def test_a_place_that_is_there_and_would_not_travel_says_why(
    tmp_path: Path, place: str, exclude: str, why: str
) -> None:
    assert missing(tmp_path, ("/var/log", place), exclude) == [
        f"{place}, which is to be backed up, is not: {why}; nothing was pushed"
    ]


@pytest.mark.fault("H14")
@pytest.mark.parametrize("pattern", ["*", "/*", "**", "/**", "[a-z]*"])
@pytest.mark.parametrize("include", [(), ("/",), ("/", "/data")])
def test_a_line_that_keeps_everything_out_leaves_nothing_of_what_is_everything(
    tmp_path: Path, pattern: str, include: Sequence[str]
) -> None:
    assert missing(tmp_path, include, f"*.o\n{pattern}\n")[0] == (
        f"/, which is to be backed up, is not: nothing in it travels (/root/data: /backup_exclude:2: {pattern} excludes"
        " it); nothing was pushed"
    )


def test_what_travels_is_not_missing(tmp_path: Path) -> None:
    every = ("/", "/data", "/data/", "/srv/*/b", "/srv/**/data", "/srv/a\\[1\\]", "/srv/b\\*c", "/only/*", "/var/www2")

    assert missing(tmp_path, every) == []
    assert missing(tmp_path, every[1:], config="ONE_FILE_SYSTEM=yes\n") == []
    assert missing(tmp_path, (), "/[a-r]*\n/var/*\n") == []


def test_an_rsync_that_does_not_tell_is_no_place_that_is_missing(tmp_path: Path) -> None:
    config, paths = a_host(tmp_path, ("/data",))

    with pytest.raises(PermanentError, match="rsync cannot say whether /data is there: exit code 1"):
        list(missing_places(replace(config, rsync="false"), paths))


@settings(max_examples=50, deadline=None)
@given(include=includes([*_SIMPLE, *_BEYOND], 5), exclude=patterns([*_SIMPLE, *_BEYOND], 4))
@example(include=["/a**b/b", "/a"], exclude="c")
@example(include=[], exclude="/*")
@example(include=["/b", "/"], exclude="**")
@example(include=["/**/b", "/"], exclude="a")
@example(include=["/b/\\[ab]", "/b/a\\*"], exclude="c")
@example(include=["/a", "/[ab]\\/a"], exclude="aa")
def test_whatever_is_asked_for_it_is_missing_if_rsync_takes_nothing_of_it(
    tree: Path, include: Sequence[str], exclude: str
) -> None:
    config = replace(A_CONFIG, root=tree, include=tuple(include), exclude=(exclude,), whole_system=True)
    paths = HostPaths(tree.with_name("etc"), tree.with_name("state"))

    missed = {each.partition(", which is to be backed up, ")[0] for each in missing_places(config, paths)}

    assert (EVERYTHING in missed) == (
        (not include or EVERYTHING in include) and taken_by_rsync(tree, include, (exclude,), True) <= {ROOT}
    )
    for place in set(include) - {EVERYTHING}:
        # What is excluded if the place itself is excluded, too, is what travels of it.
        without = taken_by_rsync(tree, include, (place.rstrip("/"), exclude), True)
        travels = taken_by_rsync(tree, include, (exclude,), True) - without
        assert (place in missed) == (not travels)


def test_as_many_patterns_as_a_configuration_may_have_are_not_too_many_for_rsync(tmp_path: Path) -> None:
    def pattern(number: int) -> str:
        return f"/srv/customers/{number:06}/*.cache"

    fit = most_argument_bytes() // (len(f"--filter=- {pattern(0)}") + 9)
    exclude = "".join(f"{pattern(number)}\n" for number in range(fit - 5))

    assert missing(tmp_path, ("/data", "/srv"), f"{exclude}/only\n") == []
    config, _ = a_host(tmp_path, (), f"{exclude}/only\n")
    assert count(config).entries == len(taken_by_rsync(tmp_path / "root", (), ("/only",), whole=True))
