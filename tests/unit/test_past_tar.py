"""A directory as a tar, unpacked by the real tar."""

import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.entry import Entry
from ebbtide_console.past.tar import write_tar

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")


@pytest.mark.parametrize("name", ["user.plain", "user.a=b", "user.100%", "user.%3D", "user.a%=%25=", "user.\udcff"])
def test_an_attribute_comes_back_under_its_own_name(tmp_path: Path, name: str) -> None:
    packed, unpacked = tmp_path / "packed.tar", tmp_path / "unpacked"
    unpacked.mkdir()
    entry = Entry(b"srv", "d", 0o755, os.getuid(), os.getgid(), 0, 0, xattrs={name: b"a=b\n%\xff"})
    with packed.open("wb") as file:
        write_tar([entry], tmp_path, file)

    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-xpf", packed, "-C", unpacked], check=True)

    found = unpacked / "srv"
    assert {each: os.getxattr(found, each) for each in os.listxattr(found)} == entry.xattrs


A_MIB = 1 << 20


def holed(path: Path, size: int, *data: int) -> Entry:
    """A file of holes, but for some bytes at each of these places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for place in data:
            file.seek(place)
            file.write(b"x" * 5000)
    return Entry(os.fsencode(path.name), "f", 0o640, os.getuid(), os.getgid(), size, 1_763_000_000_000_000_001)


def packed(entries: list[Entry], into: Path, tar: Path) -> Path:
    with tar.open("wb") as file:
        write_tar(entries, into, file)
    return tar


SHAPES = {
    "begins with a hole": (64 * A_MIB, 32 * A_MIB),
    "ends with a hole": (64 * A_MIB + 1, 0, 7 * A_MIB + 77),
    "ends with data": (64 * A_MIB, 64 * A_MIB - 5000),
    "is one hole": (64 * A_MIB,),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["disk.img", "n" * 120, "\udcff"])
def test_a_file_with_holes_takes_the_room_of_its_data_in_the_tar_and_out_of_it(
    tmp_path: Path, shape: tuple[int, ...], name: str
) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    source = tmp_path / "source" / name
    entry = holed(source, *shape)

    tar = packed([entry], source.parent, tmp_path / "made.tar")
    subprocess.run(["tar", "-xpf", tar, "-C", unpacked], check=True)

    found = unpacked / name
    assert [*unpacked.iterdir()] == [found]
    assert tar.stat().st_size < A_MIB
    assert found.read_bytes() == source.read_bytes()
    assert found.stat().st_blocks * 512 < A_MIB
    assert (found.stat().st_mode & 0o7777, found.stat().st_mtime_ns) == (0o640, entry.mtime_ns)


def test_another_name_of_a_file_with_holes_is_a_link_to_it_and_what_follows_is_where_it_should_be(
    tmp_path: Path,
) -> None:
    unpacked, source = tmp_path / "unpacked", tmp_path / "source"
    unpacked.mkdir()
    first = replace(holed(source / "a", 8 * A_MIB, 4 * A_MIB), group=b"a")
    after = holed(source / "c", 5000, 0)

    tar = packed([first, replace(first, path=b"b"), after], source, tmp_path / "made.tar")
    subprocess.run(["tar", "-xpf", tar, "-C", unpacked], check=True)

    assert (unpacked / "a").samefile(unpacked / "b")
    assert (unpacked / "c").read_bytes() == b"x" * 5000
    with tarfile.open(tar) as read_by_another:
        assert [each.name for each in read_by_another] == ["a", "b", "c"]


def test_a_file_without_holes_is_a_member_like_any_other(tmp_path: Path) -> None:
    entry = holed(tmp_path / "source/full", 5000, 0)

    tar = packed([entry], tmp_path / "source", tmp_path / "made.tar")

    with tarfile.open(tar) as read:
        (member,) = read.getmembers()
    assert (member.name, member.size, "GNU.sparse.major" in member.pax_headers) == ("full", 5000, False)
