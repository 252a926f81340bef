"""TARGET as the operator writes it: one value for each kind, read back as it was written, and what is no target."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.host.filters import filters
from ebbtide_agent.host.target import EXPECTED, Directory, Receiver, Remote, Volume, parse


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("receiver://backup.example.org", Receiver("backup.example.org", 22)),
        ("receiver://b:2222", Receiver("b", 2222)),
        ("/backup", Directory(Path("/backup"))),
        ("//srv/./back up/", Directory(Path("/srv/back up"))),
        ("ssh://de1234@de1234.rsync.net/data1/us0", Remote("de1234", "de1234.rsync.net", 22, "/data1/us0")),
        ("volume://web1@vol-0abc/eu-west-1/my.archive", Volume("web1", "vol-0abc", "eu-west-1", "my.archive")),
        ("ssh://us0@b:2222/~/backups/us0/", Remote("us0", "b", 2222, "backups/us0")),
        ("ssh://us0@[2001:db8::1]:2222/backups/us0", Remote("us0", "2001:db8::1", 2222, "/backups/us0")),
        ("receiver://[::1]", Receiver("::1", 22)),
    ],
)
def test_each_kind_of_target_is_known_by_its_beginning(text: str, target: object) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EXPECTED),
        ("backup", EXPECTED),
        ("backup.example.org", EXPECTED),
        ("rsync://x/y", EXPECTED),
        ("receiver://b/path", EXPECTED),
        ("volume://vol-0abc", EXPECTED),
        ("volume://web12@vol-0abc/eu-west-1/my.archive", EXPECTED),
        ("ssh://b/path", EXPECTED),
        ("ssh://us0@b", EXPECTED),
        ("ssh://us0@b/$(id)", EXPECTED),
        ("ssh://us0@b/with space", EXPECTED),
        ("ssh://us0@b/-e", EXPECTED),
        ("/line\nbreak", EXPECTED),
        ("receiver://::1", EXPECTED),
        ("receiver://[b]", EXPECTED),
        ("receiver://[:::1]", "an IPv6 address in brackets, such as [2001:db8::1]"),
        ("ssh://us0@[fe80::1%eth0]/path", EXPECTED),
        ("/", "a directory below /"),
        ("//", "a directory below /"),
        ("ssh://us0@b/~/", "a directory below ~, which is where the login begins"),
        ("/srv/../backup", "a path without .."),
        ("ssh://us0@b/~/../other", "a path without .."),
        ("receiver://b:0", "a port from 1 to 65535"),
        ("ssh://us0@b:65536/path", "a port from 1 to 65535"),
    ],
)
def test_what_is_no_target_is_told_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="^" + expected.replace("[", r"\[").replace("(", r"\(")):
        parse(text)


_LABELS = some.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
_NAMES = some.one_of(_LABELS, some.ip_addresses(v=6).map(str))
_PORTS = some.integers(1, 65535)
_REMOTE_PATHS = some.from_regex(r"(/[a-z0-9_][a-z0-9_.-]{0,5}){1,3}", fullmatch=True)


@given(
    some.one_of(
        some.builds(Receiver, _NAMES, _PORTS),
        some.builds(Directory, _REMOTE_PATHS.map(Path)),
        some.builds(Remote, _LABELS, _NAMES, _PORTS, _REMOTE_PATHS),
        some.builds(Remote, _LABELS, _NAMES, _PORTS, _REMOTE_PATHS.map(lambda path: path[1:])),
    )
)
def test_a_target_reads_back_as_it_is_written(target: "Receiver | Directory | Remote") -> None:
    assert parse(str(target)) == target


def test_a_directory_outside_the_root_hides_nothing() -> None:
    assert Directory(Path("/backup")).hides(Path("/srv")) == ()
    assert Directory(Path("/srv/backup")).hides(Path("/srv")) == ("/backup/*",)
    assert Directory(Path("/backup")).hides(Path("/")) == ("/backup/*",)


@pytest.mark.parametrize("name", ["backup", "b*ckup [1]", "back\\up", "b\\*ckup"])
def test_what_is_in_the_directory_never_travels_and_the_directory_does(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "root/srv" / name
    inside.mkdir(parents=True)
    (inside / "2026").mkdir()
    (tmp_path / "root/srv/b_ckup 1").mkdir()
    (tmp_path / "root/srv/b_ckup 1/kept").touch()

    hidden = Directory(inside).hides(tmp_path / "root")

    assert travelling(tmp_path / "root", hidden) == {f"srv/{name}", "srv", "srv/b_ckup 1", "srv/b_ckup 1/kept", "."}


def test_a_directory_behind_a_link_does_not_travel_either(tmp_path: Path) -> None:
    (tmp_path / "root/mnt/disk/backup/2026").mkdir(parents=True)
    (tmp_path / "root/backup").symlink_to(tmp_path / "root/mnt/disk/backup")

    hidden = Directory(tmp_path / "root/backup").hides(tmp_path / "root")

    assert travelling(tmp_path / "root", hidden) == {".", "backup", "mnt", "mnt/disk", "mnt/disk/backup"}


def travelling(root: Path, hidden: tuple[str, ...]) -> set[str]:
    """What rsync would send."""
    words = [
        "rsync",
        "-rln",
        "-8",
        "--out-format=%n",
        *filters((), hidden, whole_system=False),
        f"{root}/",
        "/nowhere/",
    ]
    listed = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout
    names = (os.fsdecode(line) for line in listed.splitlines() if line and not line.startswith(b"created"))
    return {name.split(" -> ")[0].rstrip("/") or "." for name in names}
