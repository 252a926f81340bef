"""The manifest says what landed, reads as little as it can, and is the same bytes for the same tree."""

import gzip
import io
import os
from pathlib import Path

import pytest

from ebbtide_agent import entry
from ebbtide_agent.entry import MOST_ATTRIBUTES, Entry, Header, encode_header, read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.manifest import Before, ManifestSummary, Unreadable, write
from ebbtide_agent.manifest_file import LONGEST_LINE, find_in_manifest, read_manifest, sha256_of, write_manifest
from ebbtide_console.sandbox import awkward as trees

HEADER = Header("us0a", "main/2026-11-23/1", "real")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    trees.grow_plain(tmp_path / "tree")
    return tmp_path / "tree"


def write_first(tree: Path) -> tuple[Path, ManifestSummary]:
    out = tree.parent / "first.jsonl.gz"
    return out, write(tree, "real", None, out, HEADER)


def entries_of(manifest: Path) -> list[Entry]:
    with open(manifest, "rb") as file:
        header, entries = read_manifest(file)
        assert header == HEADER
        return list(entries)


def test_every_entry_is_in_it_sorted_and_every_file_has_its_hash(tree: Path) -> None:
    out, summary = write_first(tree)

    entries = entries_of(out)
    files = [entry for entry in entries if entry.kind == "f"]
    assert [entry.path for entry in entries] == sorted(entry.path for entry in read_real(tree))
    assert all(entry.sha256 == sha256_of(os.fsencode(tree) + b"/" + entry.path) for entry in files)
    assert (summary.entries, summary.files, summary.unhashed) == (len(entries), len(files), 0)
    assert summary.sha256 == sha256_of(out)


def test_the_same_tree_gives_the_same_bytes(tree: Path) -> None:
    first, _ = write_first(tree)
    second = tree.parent / "second.jsonl.gz"

    write(tree, "real", first, second, HEADER)

    assert second.read_bytes() == first.read_bytes()


def test_its_content_is_the_same_whatever_the_run_until_something_changes(tree: Path) -> None:
    first, before = write_first(tree)
    tomorrow = Header(HEADER.host, "main/2026-11-24/1", HEADER.tree)

    unchanged = write(tree, "real", first, tree.parent / "second.jsonl.gz", tomorrow)
    os.utime(tree / "old")
    changed = write(tree, "real", first, tree.parent / "third.jsonl.gz", tomorrow)

    assert (unchanged.content, unchanged.sha256 != before.sha256) == (before.content, True)
    assert changed.content != before.content


def test_it_tells_which_names_are_one_file(tree: Path) -> None:
    _, summary = write_first(tree)

    assert summary.links == digest_of([[b"hard-1", b"hard-2", b"z/hard-3"], [b"link-absolute", b"link-hard"]])


def test_what_did_not_change_is_not_read_again(tree: Path) -> None:
    first, before = write_first(tree)
    (tree / "empty").write_text("no longer")

    after = write(tree, "real", first, tree.parent / "second.jsonl.gz", HEADER)

    assert before.carried == 0
    assert (after.hashed, after.carried) == (1, before.hashed - 1)


def test_a_change_that_hides_behind_size_and_mtime_is_read(tree: Path) -> None:
    first, _ = write_first(tree)
    before = (tree / "old").stat()
    (tree / "old").write_text("dlo")
    os.utime(tree / "old", ns=(before.st_atime_ns, before.st_mtime_ns))
    second = tree.parent / "second.jsonl.gz"

    write(tree, "real", first, second, HEADER)

    (old,) = [entry for entry in entries_of(second) if entry.path == b"old"]
    assert old.size == before.st_size
    assert old.sha256 == sha256_of(tree / "old")


def test_a_file_under_several_names_is_read_once(tree: Path) -> None:
    out, summary = write_first(tree)

    hashes = {entry.sha256 for entry in entries_of(out) if entry.group == b"hard-1"}
    assert len(hashes) == 1
    assert summary.hashed == summary.files - 2


def test_it_tells_how_much_of_the_one_before_is_left(tree: Path) -> None:
    first, before = write_first(tree)
    (tree / "hard-1").unlink()
    (tree / "old").write_text("rewritten")
    (tree / "empty").rename(tree / "empty under another name")
    os.utime(tree / "z/hard-3")

    after = write(tree, "real", first, tree.parent / "second.jsonl.gz", HEADER)

    assert before.before == Before(0, 0, 0, 0)
    assert after.before == Before(before.entries, before.files, before.size, before.files - 3, run=HEADER.run)


@pytest.mark.parametrize(
    "damage",
    [b"", b"not gzip", gzip.compress(b'{"schema":9}\n'), gzip.compress(b"\xff\n")],
    ids=["empty", "not gzip", "another schema", "not text"],
)
def test_a_damaged_earlier_manifest_costs_reading_and_nothing_else(tree: Path, damage: bytes) -> None:
    first, before = write_first(tree)
    expected = first.read_bytes()
    first.write_bytes(damage)

    after = write(tree, "real", first, tree.parent / "second.jsonl.gz", HEADER)

    assert (after.hashed, after.carried) == (before.hashed, 0)
    assert after.before.damage
    assert (tree.parent / "second.jsonl.gz").read_bytes() == expected


def test_a_line_without_an_end_is_not_read_into_memory() -> None:
    endless = gzip.compress(f"{encode_header(HEADER)}\n".encode() + b"x" * (LONGEST_LINE + 1))

    for read in (read_manifest, lambda file: find_in_manifest(file, b"", lambda _: True)):
        with pytest.raises(ValueError, match="a line is longer than"):
            list(read(io.BytesIO(endless))[1])


def test_no_line_is_written_that_is_not_read_again(tmp_path: Path) -> None:
    endless = Entry(b"srv/\n", "l", 0o777, 0, 0, 0, 0, link=b"x" * LONGEST_LINE)

    with pytest.raises(PermanentError, match=r"exclude srv/\\n"):
        write_manifest(tmp_path / "out", HEADER, [endless])

    assert list(tmp_path.iterdir()) == []


def test_no_manifest_is_written_that_is_larger_than_one_may_be(tmp_path: Path) -> None:
    entries = [Entry(f"{number}".encode(), "l", 0o777, 0, 0, 0, 0, link=os.urandom(3000)) for number in range(100)]

    write_manifest(tmp_path / "out", HEADER, entries, most=400_000)
    size = (tmp_path / "out").stat().st_size
    (tmp_path / "out").unlink()
    with pytest.raises(PermanentError, match=r"takes more than .*: it needs fewer entries"):
        write_manifest(tmp_path / "out", HEADER, entries, most=size // 2)

    assert list(tmp_path.iterdir()) == []


def test_the_most_that_an_entry_may_have_is_read_again(tmp_path: Path) -> None:
    """Names of 255 bytes, 64 KiB in all, and paths of 4096: each byte of them is written as three."""
    names = ["user." + chr(0x100 + number) * 125 for number in range(256)]
    attributes = {name: bytes(MOST_ATTRIBUTES // len(names)) for name in names}
    path = b"\xff" * 4096
    largest = Entry(path, "l", 0o777, 1, 1, 1, 1, attributes, path, group=path, sha256="f" * 64, store=(1, 1))

    write_manifest(tmp_path / "out", HEADER, [largest])

    assert entries_of(tmp_path / "out") == [largest]


@pytest.mark.parametrize("kind", ["real", "fake-super"])
def test_an_entry_of_too_many_attributes_is_named(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "MOST_ATTRIBUTES", 1000)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/flood").touch()
    for number in range(3):
        os.setxattr(tmp_path / "tree/flood", f"user.{number}", bytes(400))

    with pytest.raises(PermanentError, match=r"more than 1000 B together.* or exclude flood"):
        write(tmp_path / "tree", kind, None, tmp_path / "out", HEADER)

    assert not (tmp_path / "out").exists()


def test_a_truncated_earlier_manifest_carries_what_it_still_says(tree: Path) -> None:
    first, _ = write_first(tree)
    first.write_bytes(first.read_bytes()[:-40])

    after = write(tree, "real", first, tree.parent / "second.jsonl.gz", HEADER)

    assert after.unhashed == 0
    assert "ended before" in after.before.damage


def test_a_missing_earlier_manifest_is_the_first_night(tree: Path) -> None:
    summary = write(tree, "real", tree.parent / "never.jsonl.gz", tree.parent / "second.jsonl.gz", HEADER)

    assert summary.carried == 0
    assert summary.before == Before(0, 0, 0, 0)


def test_a_manifest_replaces_the_one_before_whole(tree: Path) -> None:
    out, _ = write_first(tree)

    write(tree, "real", out, out, HEADER)

    assert sorted(path.name for path in tree.parent.iterdir()) == ["first.jsonl.gz", "tree"]


def test_a_tree_that_cannot_be_read_leaves_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"No such file or directory: \.$"):
        write(tmp_path / "nowhere", "real", None, tmp_path / "out.jsonl.gz", HEADER)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every file")
def test_a_file_that_may_not_be_opened_counts_as_unhashed(tree: Path) -> None:
    (tree / "old").chmod(0)

    _, summary = write_first(tree)

    assert summary.unhashed == 1
