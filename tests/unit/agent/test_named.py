"""What an rsync that looks at everything has come by is known by its names, whatever else it says."""

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ebbtide_agent.host import named as naming
from ebbtide_agent.host.index import Entry
from ebbtide_agent.host.named import EVERY_NAME, Missed, Named, find_missed
from tests.unit.agent.test_scan import entries, needs_rsync

NAMES = ("etc/a\nb", "etc/\udcff", "etc/back\\slash", "etc/back\\#134", " x ", "srv/a/b", "> .f          x")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name in NAMES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("content")
    (tree / "linked").hardlink_to(tree / "srv/a/b")
    (tree / "link").symlink_to("srv")
    os.mkfifo(tree / "fifo")
    return tree


def pushed(tree: Path, *words: str) -> bytes:
    argv = ["rsync", "-aH", "--stats", "--info=progress2", "--delete", *EVERY_NAME, *words]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        [*argv, f"{tree}/", f"{tree}-there/"], capture_output=True, check=True, env=environment
    ).stdout


def named_in(out: bytes, at_once: int = 1 << 16) -> Named:
    named = Named()
    hear = named.heard_by(lambda _: None)
    for start in range(0, len(out), at_once):
        hear(out[start : start + at_once])
    return named


def paths(found: Sequence[Entry]) -> list[bytes]:
    return [entry.path for entry in found]


@needs_rsync
@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
def test_every_name_is_told_be_it_new_or_as_it_was_and_what_was_not_there_is_not_among_them(
    tree: Path, at_once: int
) -> None:
    scan = entries(tree)

    for _ in ("new", "as it was"):
        assert list(named_in(pushed(tree), at_once).lacking(scan)) == []

    (tree / "srv").rename(tree.parent / "aside")
    lacking = paths(list(named_in(pushed(tree), at_once).lacking(scan)))
    assert lacking == [b"srv", b"srv/a", b"srv/a/b"], "what is deleted over there has a name as well"


@needs_rsync
def test_what_only_root_can_make_is_not_missed(tree: Path) -> None:
    scan = entries(tree)

    assert list(named_in(pushed(tree, "--no-specials")).lacking(scan)) == []


def test_whoever_listens_may_go_away(tree: Path) -> None:
    def gone(_: bytes) -> None:
        raise BrokenPipeError

    named = Named()
    named.heard_by(gone)(b"> .d          ./\n> .d          etc/\n")

    assert b"etc" not in paths(list(named.lacking(entries(tree))))


def test_a_name_may_follow_a_progress_in_its_line(tree: Path) -> None:
    """So it does after a file has vanished, which is said elsewhere."""
    named = named_in(b"\r        123   7%    1.20MB/s    0:00:01 (xfr#1, ir-chk=10/20)> .d          etc/\n")

    assert b"etc" not in paths(list(named.lacking(entries(tree))))


def test_of_what_was_missed_the_topmost_are_pushed_again_and_only_what_is_as_it_was_is_told(tree: Path) -> None:
    scan = [entry for entry in entries(tree) if entry.path.startswith((b"srv", b"linked", b"etc/a"))]
    (tree / "srv").rename(tree.parent / "aside")
    (tree.parent / "aside").rename(tree / "srv")
    (tree / "linked").write_text("other")
    (tree / "etc/a\nb").unlink()

    missed = find_missed(os.fsencode(tree), scan)

    assert missed == Missed((b"linked", b"srv", b"etc/a\nb"), 2, b"srv")
    assert str(missed) == "srv and 1 more were away while everything was pushed"
    assert [stat.S_ISDIR(os.lstat(tree / os.fsdecode(path)).st_mode) for path in missed.paths[1:2]] == [True]


def test_whoever_tells_no_names_has_missed_nothing_that_anybody_knows_of(tree: Path) -> None:
    assert find_missed(os.fsencode(tree), Named().lacking(entries(tree))) == Missed()


def test_more_than_can_be_listed_need_not_be_known(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "MOST_CHANGES", 1)

    missed = find_missed(os.fsencode(tree), [entry for entry in entries(tree) if entry.path.startswith(b"etc/")])

    assert len(missed.paths) == 2 and missed.again == 4
