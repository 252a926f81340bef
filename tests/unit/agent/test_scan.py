"""The scan finds what rsync would take, entry by entry, or says that only rsync can tell."""

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as some

from ebbtide_agent.beside import Interfered
from ebbtide_agent.host import scan as scanning
from ebbtide_agent.host import tally as tallying
from ebbtide_agent.host.filters import filters, rules
from ebbtide_agent.host.index import ROOT, STAT, Block, Entry, as_young, is_settled, walk_key
from ebbtide_agent.host.mounts import read_mounts
from ebbtide_agent.host.scan import Share, Tree, as_one, scan, scan_beside
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host.tally import Counted, Tally

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
NEVER_NS = 1 << 62

_PLACES = [
    "a/a", "a/b", "a/ab/a", "a/ab/b", "a.b", "b/a/b/a", "b/lost+found/x", "lost+found/x", "ab", "c d", "é", "b/ c",
    "proc/1", "home/a/.cache/x", "home/.cache/x",
]  # fmt: skip
_PATTERNS = some.lists(
    some.sampled_from(["a", "b", "/", "*", "?", "**", "ab", ".", "é", "a/", "/a", "/b/", "lost+found"]),
    min_size=1,
    max_size=5,
).map("".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for place in _PLACES:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        if not (root / place).is_dir():
            (root / place).touch()
    (root / b"not-utf8-\xff".decode(errors="surrogateescape")).symlink_to("a")
    (root / "new\nline").touch()
    return root


def scanned(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = (), whole: bool = False) -> list[bytes]:
    selection = Selection(rules(include, exclude, whole))
    return [entry.path for entry in entries(root, selection)]


def entries(
    root: Path, selection: Selection | None = None, tally: Tally | None = None, young_ns: int = NEVER_NS
) -> list[Entry]:
    tree = Tree(os.fsencode(root), selection or Selection([]), False, young_ns)
    return [entry for block in (tally or Tally()).watch(scan(tree)) for entry in block.entries()]


def taken_by_rsync(root: Path, include: Sequence[str], exclude: Sequence[str], whole: bool) -> set[bytes]:
    words = ["rsync", "-a", "--dry-run", "--out-format=%n", "--8-bit-output", *filters(include, exclude, whole)]
    out = subprocess.run([*words, f"{root}/", f"{root}-nowhere/"], capture_output=True, check=True).stdout
    named = {re.sub(rb"\\#(\d{3})", _byte, line.rstrip(b"/")) for line in out.splitlines()}
    return {ROOT if name == b"." else name for name in named if not name.startswith(b"created directory ")}


def _byte(octal: "re.Match[bytes]") -> bytes:
    return bytes([int(octal[1], 8)])


@needs_rsync
@settings(max_examples=150, deadline=None)
@given(
    include=some.lists(_PATTERNS.map(lambda pattern: "/" + pattern.lstrip("/")), max_size=2),
    exclude=some.lists(_PATTERNS, max_size=3),
    whole=some.booleans(),
)
@example(include=[], exclude=["/a"], whole=False)
@example(include=[], exclude=["**/a", "b/**", "a**b", "/**/b"], whole=True)
@example(include=[], exclude=["/*b", "/b?a", "/*.b", "l*d"], whole=False)
@example(include=["/*/ab"], exclude=["a/?", "**b/a"], whole=False)
@example(include=["/b/a", "/home/*/.cache"], exclude=[" c", "a/"], whole=False)
@example(include=["/b"], exclude=[*map(str, range(200)), "/b/a", *map(str, range(200, 400))], whole=False)
def test_what_is_scanned_is_what_rsync_takes(
    tree: Path, include: Sequence[str], exclude: Sequence[str], whole: bool
) -> None:
    try:
        paths = scanned(tree, include, exclude, whole)
    except Undecidable:
        assume(False)

    assert set(paths) == taken_by_rsync(tree, include, exclude, whole)
    assert paths == sorted(set(paths), key=walk_key)


def test_of_many_rules_the_first_that_matches_is_the_one_that_decides() -> None:
    chosen = rules(["/b"], [*map(str, range(200)), "/b/a", "/b/*"], whole_system=False)

    deciding = {path: Selection(chosen).find_rule(path, False) for path in (b"b/a", b"b/c", b"x/150", b"b", b"c")}

    lines = {path: rule.pattern for path, rule in deciding.items() if rule}
    assert lines == {b"b/a": "/b/a", b"b/c": "/b/*", b"x/150": "150", b"b": "/b", b"c": "*"}


@settings(max_examples=50, deadline=None)
@given(exclude=some.lists(_PATTERNS, max_size=3), of=some.integers(2, 5), depth=some.integers(1, 4))
@example(exclude=["/b/"], of=2, depth=1)
@example(exclude=[], of=2, depth=2)
def test_the_shares_of_a_scan_have_each_directory_once(tree: Path, exclude: Sequence[str], of: int, depth: int) -> None:
    try:
        walked = Tree(os.fsencode(tree), Selection(rules([], exclude, whole_system=False)), False, NEVER_NS)
    except Undecidable:
        assume(False)

    with mock.patch.object(scanning, "_SHARED_DEPTH", depth):
        shares = [list(scan(walked, Share(number, of))) for number in range(of)]

    assert all(blocks == sorted(blocks, key=lambda block: block.key) for blocks in shares)
    assert list(as_one(map(iter, shares))) == list(scan(walked))


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_however_many_cores_there_are_a_scan_beside_us_is_the_same(
    tree: Path, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning.os, "sched_getaffinity", lambda _: set(range(cores)))
    walked = Tree(os.fsencode(tree), Selection([]), False, NEVER_NS)

    with scan_beside(walked) as blocks:
        found = list(blocks)

    assert found == list(scan(walked))


def _away(place: Path) -> None:
    place.rename(place.parent / f"{place.name}-away")


def _as_a_link(place: Path) -> None:
    _away(place)
    place.symlink_to(f"{place.name}-away")


def _anew(place: Path) -> None:
    (place.parent / f"{place.name}-new/inner").mkdir(parents=True)


@pytest.mark.parametrize("number", [0, 1])
def test_of_two_walks_none_may_be_ended_by_somebody_else(
    tree: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_at_last(walked: Tree, share: Share) -> Iterator[Block]:
        yield from scan(walked, share)
        if share.number == number:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(scanning.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(scanning, "scan", ended_at_last)

    with (
        scan_beside(Tree(os.fsencode(tree), Selection([]), False, NEVER_NS)) as blocks,
        pytest.raises(Interfered, match="is there enough memory"),
    ):
        list(blocks)


@pytest.mark.parametrize("edit", [_away, _as_a_link, _anew])
@pytest.mark.parametrize("first", [0, 1])
def test_a_directory_that_comes_or_goes_between_the_walks_has_no_contents_without_its_entry(
    tmp_path: Path, edit: Callable[[Path], None], first: int
) -> None:
    """Contents in an index whose directory is not there would never be pushed again: their directory is deleted."""
    for name in "abcdefgh":
        (tmp_path / name / "inner/deeper").mkdir(parents=True)
    walked = Tree(os.fsencode(tmp_path), Selection([]), False, NEVER_NS)

    earlier = list(scan(walked, Share(first, 2)))
    for name in "abcdefgh":
        edit(tmp_path / name)
    later = list(scan(walked, Share(1 - first, 2)))

    directories = {ROOT}
    for block in as_one([iter(earlier), iter(later)]):
        assert block.directory in directories
        directories |= {entry.path for entry in block.entries() if stat.S_ISDIR(STAT.unpack(entry.stat)[0])}


def test_no_share_leaves_the_file_system() -> None:
    walked = Tree(b"/dev", Selection([]), True, NEVER_NS)

    with tempfile.TemporaryDirectory(dir="/dev/shm"):
        shares = [
            [entry.path for block in scan(walked, Share(number, 2)) for entry in block.entries()] for number in (0, 1)
        ]

    assert b"shm" in chain(*shares)
    assert not [path for path in chain(*shares) if path.startswith(b"shm/")]


@pytest.mark.parametrize("pattern", ["[ab]", "a\\*", "a/***", "a//b", "/", "a//", "./a", "a/../b"])
def test_a_pattern_with_corners_of_its_own_is_left_to_rsync(pattern: str) -> None:
    with pytest.raises(Undecidable, match="only rsync can decide"):
        Selection(rules([], [pattern], whole_system=False))


def test_the_names_of_a_file_are_known_however_many_there_are(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    os.link(tmp_path / "copy/ab", tmp_path / "copy/home/zz")
    os.link(tmp_path / "copy/ab", tmp_path / "elsewhere")
    tally = Tally()

    stats = {entry.path: entry.stat for entry in entries(tmp_path / "copy", tally=tally)}

    assert list(tally.groups()) == [[b"ab", b"home/zz"]]
    assert STAT.unpack(stats[b"ab"])[3] == 3
    assert tally.entries == len(stats)
    assert tally.files == sum(path.is_file() and not path.is_symlink() for path in (tmp_path / "copy").rglob("*"))


def test_files_are_counted_for_the_mount_that_they_are_on(tmp_path: Path) -> None:
    for name in ("top", "srv/a", "srv/b/c", "srv/b/d/e", "mnt/only-a-directory/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "mnt/only-a-directory/x").unlink()
    root = bytes(tmp_path)
    tally = Tally(root, dict.fromkeys((b"/", root + b"/srv", root + b"/srv/b", root + b"/mnt", b"/elsewhere"), 0))

    entries(tmp_path, tally=tally)

    on = {b"/": 1, root + b"/srv": 1, root + b"/srv/b": 2, root + b"/mnt": 0, b"/elsewhere": 0}
    assert tally.counted() == Counted(tally.entries, 4, 0, on)


def test_too_many_linked_names_are_left_to_rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "MOST_LINKED_NAMES", 1)
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")

    with pytest.raises(Undecidable, match="hard links"):
        scanned(tmp_path)


def test_a_change_in_the_same_tick_could_not_be_seen_so_a_young_entry_is_never_settled(tmp_path: Path) -> None:
    (tmp_path / "young").touch()
    changed = os.lstat(tmp_path / "young").st_ctime_ns

    def settled(young_ns: int) -> bool:
        [young] = [entry for entry in entries(tmp_path, young_ns=young_ns) if entry.path == b"young"]
        return is_settled(young.stat)

    assert not settled(changed)
    assert settled(changed + 1)


def test_a_change_time_of_zero_is_young_too() -> None:
    assert not is_settled(STAT.pack(0, 0, 0, 1, 5, 5, as_young(0), 1))


def test_a_file_system_without_change_times_to_trust_is_left_to_rsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_on(tmp_path, "fuse.x", monkeypatch)

    with pytest.raises(Undecidable, match="is on fuse"):
        scanned(tmp_path)


def test_on_fat_nothing_is_ever_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_if_on(tmp_path, "vfat", monkeypatch)

    found = entries(tmp_path)

    assert found and not any(is_settled(entry.stat) for entry in found)


def as_if_on(place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = place / "mounts"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {place} rw - {kind} x rw\n")
    monkeypatch.setattr(scanning, "read_mounts", lambda: read_mounts(mounts))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_left_to_rsync(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)

    with pytest.raises(Undecidable, match="closed cannot be read"):
        scanned(tmp_path)


def test_a_root_that_is_a_link_is_the_directory_it_leads_to(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(tree)

    found = entries(tmp_path / "root")

    assert found == entries(tree)
    assert stat.S_ISDIR(STAT.unpack(found[0].stat)[0])


def test_what_goes_away_meanwhile_is_not_there(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "inner").mkdir(parents=True)
    blocks = scan(Tree(os.fsencode(tmp_path), Selection([]), False, NEVER_NS))

    seen = [next(blocks), next(blocks), next(blocks)]
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")

    assert [(block.directory, block.names) for block in seen] == [(b"", b""), (b"", b"a\0b\0c"), (b"a", b"inner")]
    assert [(block.directory, block.names) for block in blocks] == [(b"c", b"inner")]


def test_a_directory_of_many_entries_has_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MOST_ENTRIES_OF_A_BLOCK", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()

    blocks = list(scan(Tree(os.fsencode(tmp_path), Selection([]), False, NEVER_NS)))

    assert [(block.directory, block.names) for block in blocks] == [(b"", b""), (b"", b"a\0b"), (b"", b"c")]
