"""What travels, asked of rsync itself."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ebbtide_agent.host.filters import filters, find_doubt, hidden_by

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def a_tree(root: Path) -> Path:
    for name in ("etc/passwd", "etc/ssl/key", "usr/bin/ls", "usr/sbin/cron", "proc/1/stat", "var/log/big"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def travelling(tree: Path, include: Sequence[str], exclude: Sequence[str], whole_system: bool = True) -> set[str]:
    chosen = filters(include, exclude, whole_system)
    words = ["rsync", "-r", "--list-only", "--out-format=%n", *chosen, f"{tree}/"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {line.split(None, 4)[4] for line in listed.splitlines()}


@pytest.mark.parametrize("include", [(), ("/",)])
def test_everything_travels_but_the_contents_of_virtual_file_systems(tmp_path: Path, include: Sequence[str]) -> None:
    names = travelling(a_tree(tmp_path), include, ())

    assert {"etc/ssl/key", "usr/bin/ls", "usr/sbin/cron", "var/log/big", "proc"} <= names
    assert "proc/1" not in names


def test_only_what_is_included_travels_with_the_directories_that_lead_to_it(tmp_path: Path) -> None:
    names = travelling(a_tree(tmp_path), ("/etc", "/usr/sbin"), ())

    assert names == {".", "etc", "etc/passwd", "etc/ssl", "etc/ssl/key", "usr", "usr/sbin", "usr/sbin/cron"}


def test_an_exclude_holds_inside_what_is_included(tmp_path: Path) -> None:
    names = travelling(a_tree(tmp_path), ("/etc",), ("/etc/ssl",))

    assert names == {".", "etc", "etc/passwd"}


def test_of_a_directory_that_is_no_system_everything_travels(tmp_path: Path) -> None:
    names = travelling(a_tree(tmp_path), (), (), whole_system=False)

    assert "proc/1/stat" in names


@pytest.mark.parametrize("place", ["/tmp/data", "/proc/1/stat", "/var/cache/apt/archives/a.deb", "/root/.cache/x"])
def test_a_place_that_never_travels_is_known_by_what_hides_it(place: str, tmp_path: Path) -> None:
    (tmp_path / place.strip("/")).parent.mkdir(parents=True)
    (tmp_path / place.strip("/")).touch()

    assert hidden_by(place) is not None
    assert place.strip("/") not in travelling(tmp_path, (), ())


@pytest.mark.parametrize("place", ["/", "/etc", "/tmp", "/tmpfiles", "/home/a/.cache", "/srv/*/data"])
def test_a_place_that_travels_is_hidden_by_nothing(place: str) -> None:
    assert hidden_by(place) is None


@pytest.mark.parametrize(
    "pattern",
    [
        *(" /etc", "; text", "./etc", "../etc", "etc//ssl", "//etc", "etc//", "etc/./ssl", "/", f"*{4095 * '*'}"),
        *("/etc ", "etc\t", "/etc  # all of it", '"/etc"', "'etc' ", "/{etc,usr}", "~/etc", "$HOME/etc", "${HOME}"),
    ],
)
def test_what_a_configuration_calls_an_exclude_of_nothing_excludes_nothing(tmp_path: Path, pattern: str) -> None:
    tree = a_tree(tmp_path)

    assert find_doubt(pattern) is not None
    assert travelling(tree, (), (pattern,)) == travelling(tree, (), ())


@pytest.mark.parametrize(
    ("pattern", "meant"), [("/etc ", "/etc"), ("*.o\t# built", "*.o"), ('"/srv/a b/"', "/srv/a b/"), ("'*.o' ", "*.o")]
)
def test_what_a_line_says_too_much_is_left_out_of_what_was_probably_meant(pattern: str, meant: str) -> None:
    assert find_doubt(pattern) == f"probably excludes nothing; expected {meant!r}"


@pytest.mark.parametrize(
    "pattern", ["Track #1*", "*#", "#*#", "*~", "~$*", "$RECYCLE.BIN", "{4a-5b}", "it's", "a b", '"', "a'b'"]
)
def test_what_names_look_like_is_no_doubt(pattern: str) -> None:
    assert find_doubt(pattern) is None
