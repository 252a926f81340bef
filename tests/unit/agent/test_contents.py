"""The content check: everything has its turn, what changed without a trace is found, and a large tree takes longer."""

import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.host.contents import (
    LARGE_DIRECTORY,
    LARGEST_BYTES,
    MOST_BYTES,
    MOST_FILES,
    ContentCheck,
    Known,
    Sample,
    Turn,
    check_contents,
    find_known,
    find_turn,
    keep_known,
)
from ebbtide_agent.host.index import STAT, Block, Entry
from ebbtide_agent.host.scan import Tree, scan_beside
from ebbtide_agent.host.selection import Selection

EVERY_NIGHT = Turn(1, 0)
# Nothing that a test has made is too young to be trusted.
NEVER_YOUNG = 1 << 62


def sampled(tree: Path, turn: "Turn | None" = EVERY_NIGHT) -> list[Entry]:
    sample = Sample(turn)
    walked = Tree(os.fsencode(tree), Selection([]), one_file_system=False, young_ns=NEVER_YOUNG)
    with scan_beside(walked) as blocks:
        for _ in sample.watch(blocks):
            pass
    return sample.files


def checked(tree: Path, known: "dict[bytes, Known] | None" = None) -> ContentCheck:
    return check_contents(os.fsencode(tree), EVERY_NIGHT, sampled(tree), known or {})


def as_if_the_times_had_stayed(tree: Path, known: "dict[bytes, Known]") -> "dict[bytes, Known]":
    """What is known of the contents, with how the files look by now."""
    return {entry.path: (entry.stat, known[entry.path][1]) for entry in sampled(tree)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/d").mkdir(parents=True)
    for name in ("a", "d/b", "d/c"):
        (tmp_path / "tree" / name).write_text(f"content of {name}")
    (tmp_path / "tree/empty").touch()
    (tmp_path / "tree/link").symlink_to("a")
    os.mkfifo(tmp_path / "tree/fifo")
    return tmp_path / "tree"


def test_only_regular_files_with_something_in_them_are_read(tree: Path) -> None:
    assert [entry.path for entry in sampled(tree)] == [b"a", b"d/b", b"d/c"]
    assert sampled(tree, None) == []


@pytest.mark.fault("H9")
def test_a_content_that_changed_while_everything_else_is_as_it_was_is_found(tree: Path) -> None:
    known = dict(checked(tree).known)
    (tree / "d/b").write_text("CONTENT of d/b")

    check = checked(tree, as_if_the_times_had_stayed(tree, known))

    assert [entry.path for entry in check.changed] == [b"d/b"]
    assert check.names_of_changed({}) == (b"d/b",)
    assert ["/d/b has another content" in remark.problem for remark in check.remarks()] == [True]
    assert check.remarks()[0].status == "complete-with-warnings"


def test_an_ordinary_change_is_no_concern_and_is_known_from_then_on(tree: Path) -> None:
    known = dict(checked(tree).known)
    (tree / "d/b").write_text("changed")

    check = checked(tree, known)

    assert check.changed == ()
    assert check.known[b"d/b"] != known[b"d/b"]
    assert check.known[b"a"] == known[b"a"]


def test_of_a_file_with_several_names_all_are_pushed(tree: Path) -> None:
    os.link(tree / "a", tree / "d/other")
    known = dict(checked(tree).known)
    (tree / "a").write_text("CONTENT of a")
    found = (tree / "a").stat()

    check = checked(tree, as_if_the_times_had_stayed(tree, known))

    names = {(found.st_dev, found.st_ino): [b"a", b"d/other"]}
    assert check.names_of_changed(names) == (b"a", b"d/other")


def test_what_changes_between_the_scan_and_the_reading_is_not_known(tree: Path) -> None:
    files = sampled(tree)
    (tree / "a").write_text("since then")
    (tree / "d/b").unlink()

    check = check_contents(os.fsencode(tree), EVERY_NIGHT, files, {})

    assert set(check.known) == {b"d/c"}


def test_reading_leaves_no_access_time(tree: Path) -> None:
    os.utime(tree / "a", (1, (tree / "a").stat().st_mtime))

    checked(tree)

    assert (tree / "a").stat().st_atime == 1


@given(days=some.integers(1, 40), directories=some.lists(some.binary(max_size=20), max_size=50, unique=True))
def test_every_directory_has_its_turn_once_in_a_round(days: int, directories: list[bytes]) -> None:
    round_of_turns = [Turn(days, part) for part in range(days)]

    assert [sum(turn.has(directory) for turn in round_of_turns) for directory in directories] == [1] * len(directories)


def test_the_part_that_waits_longest_has_its_turn_and_one_that_was_not_kept_has_it_again(tmp_path: Path) -> None:
    turns = []
    for night in range(1, 8):
        turn = find_turn(tmp_path / "contents", 3, 100, 100)
        turns.append(turn.tonight)
        if night != 2:
            keep_known(tmp_path / "contents", turn, {})
            os.utime(tmp_path / "contents" / turn.name, (night, night))

    assert turns == [0, 1, 1, 2, 0, 1, 2]


def test_a_large_directory_is_spread_over_the_nights() -> None:
    names = [b"%06d" % number for number in range(LARGE_DIRECTORY)]
    packed = STAT.pack(0o100644, 0, 0, 1, 100, 1, 1, 1)
    block = Block(b"spool", b"\0".join(names), packed * len(names), b"\1" + b"\0" * 7)

    shares = []
    for tonight in range(30):
        sample = Sample(Turn(30, tonight))
        list(sample.watch(iter([block])))
        shares.append([entry.path for entry in sample.files])

    assert sorted(path for share in shares for path in share) == [b"spool/" + name for name in names]
    assert max(map(len, shares)) < 4 * LARGE_DIRECTORY / 30


@pytest.mark.parametrize(
    ("files", "size", "nights"),
    [
        (200_000, 2 << 30, 30),
        (30 * MOST_FILES // 2 + 1, 1, 60),
        (1, 30 * MOST_BYTES // 2, 30),
        (1, 100 * MOST_BYTES, 240),
    ],
)
def test_a_tree_that_is_too_large_for_its_nights_takes_more_of_them(
    files: int, size: int, nights: int, tmp_path: Path
) -> None:
    assert find_turn(tmp_path, 30, files, size).nights == nights


def test_what_would_take_a_night_alone_is_not_read() -> None:
    sizes = (LARGEST_BYTES, LARGEST_BYTES + 1)
    stats = b"".join(STAT.pack(0o100644, 0, 0, 1, size, 1, 1, 1) for size in sizes)
    sample = Sample(EVERY_NIGHT)

    list(sample.watch(iter([Block(b"", b"a\0b", stats, b"\1" + b"\0" * 7)])))

    assert ([entry.path for entry in sample.files], sample.too_large) == ([b"a"], 1)


def test_what_is_never_read_is_said_to_be_unknown() -> None:
    check = ContentCheck(Turn(30, 6), (), {}, 0, too_large=2)

    assert replace(check, too_large=0).health() == ()
    (told,) = check.health()
    assert (told.what, told.state) == ("contents", "unknown")
    assert told.said == "2 files in part 7 of 30 are larger than 2.0 GiB, and never read"


def test_what_is_known_comes_back_and_other_rounds_are_forgotten(tmp_path: Path) -> None:
    known = {b"a\n\xff": (b"s" * STAT.size, b"d" * 16), b"x" * 4000: (b"t" * STAT.size, b"e" * 16)}
    keep_known(tmp_path / "contents", Turn(60, 7), {})
    keep_known(tmp_path / "contents", Turn(30, 7), known)
    keep_known(tmp_path / "contents", Turn(30, 8), {})

    assert find_known(tmp_path / "contents", Turn(30, 7)) == known
    assert sorted(path.name for path in (tmp_path / "contents").iterdir()) == ["7-of-30", "8-of-30"]


@pytest.mark.parametrize("damage", [b"", b"x", zlib.compress(b"other"), zlib.compress(b"ebbtide contents 1\n\x05")])
def test_a_damaged_part_is_nothing_known(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "7-of-30").write_bytes(damage)

    assert find_known(tmp_path, Turn(30, 7)) == {}
