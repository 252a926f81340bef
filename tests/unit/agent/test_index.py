"""The index as a file: what was written is read again, in order, and damage is never mistaken for an index."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.host.index import Block, DamagedIndex, Header, Index, Writer, commit, find_index
from tests.unit.agent.trees import FILE, Inode, Tree, a_block, blocks, in_order, stat_of, trees

HEADER = Header("0.1.0", "abc", 1 << 50, datetime(2026, 11, 23, 2, tzinfo=UTC), True, 0)


def committed(place: Path, content: list[Block]) -> Path:
    writer = Writer(place / "index.new")
    for block in content:
        writer.add(block)
    writer.close()
    commit(place / "index.new", place / "index", replace(HEADER, entries=writer.entries))
    return place / "index"


@given(tree=trees())
def test_what_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    content = blocks(tree)

    index = find_index(committed(tmp_path_factory.mktemp("index"), content))

    assert index and index.header == replace(HEADER, entries=len(tree))
    assert list(index.blocks()) == content
    assert [entry.path for entry in index.entries()] == in_order(tree)


def test_an_index_longer_than_any_buffer_is_read_whole(tmp_path: Path) -> None:
    paths = [b"%08d" % number + b"x" * (number % 200) for number in range(20_000)]
    stats = dict.fromkeys(paths, stat_of(Inode(1, FILE, 5, 1)))
    content = [a_block(b"", paths[at : at + 3000], stats) for at in range(0, 20_000, 3000)]

    index = find_index(committed(tmp_path, content))

    assert index and list(index.blocks()) == content


@given(data=some.data())
def test_damage_is_noticed_or_does_none(tmp_path_factory: pytest.TempPathFactory, data: some.DataObject) -> None:
    """A byte that only says how hard the compressor tried may be another."""
    content = blocks(_one())
    path = committed(tmp_path_factory.mktemp("index"), content)
    length = path.stat().st_size
    body = bytearray(path.read_bytes())
    if data.draw(some.booleans()):
        del body[data.draw(some.integers(0, len(body) - 1)) :]
    else:
        body[data.draw(some.integers(1024, len(body) - 1))] ^= data.draw(some.integers(1, 255))
    path.write_bytes(body)

    index = find_index(path)

    if index is not None:
        with suppress(DamagedIndex):
            assert list(index.blocks()) == content
            assert len(body) == length


@pytest.mark.parametrize("text", [b"", b"{}", b'{"schema": 2}', b'{"schema": 1, "agent": "0.1.0"}', b"\xff" * 2000])
def test_what_is_no_index_of_ours_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "index").write_bytes(text)

    assert find_index(tmp_path / "index") is None


def test_without_a_file_there_is_no_index(tmp_path: Path) -> None:
    assert find_index(tmp_path / "index") is None


def test_what_is_being_written_is_no_index_yet(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "index.new")
    writer.close()

    assert find_index(tmp_path / "index") is None
    assert find_index(tmp_path / "index.new") is None


def test_a_file_that_is_gone_when_it_is_read_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedIndex):
        list(Index(tmp_path / "index", HEADER).blocks())


def test_blocks_that_do_not_follow_each_other_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "index.new")
    first, second, *_ = blocks(_one())
    writer.add(second)

    with pytest.raises(ValueError, match="does not follow"):
        writer.add(first)


def _one() -> Tree:
    return {b"": Inode(100, 0o40755, 0, 1), b"a": Inode(1, FILE, 5, 1), b"b": Inode(2, FILE, 6, 1)}
