"""How full a disk is, as the receiver says it when it lets go; and a file system that fills a device grown larger."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent import volume
from tests.loops import a_loop_device

MIB = 1 << 20
NEEDED = ("mkfs.ext4", "resize2fs", "losetup")


def test_the_parts_are_the_whole(tmp_path: Path) -> None:
    measured = volume.measure(tmp_path)

    assert measured is not None
    assert 0 < measured.used < measured.used + measured.free <= measured.size
    assert 0 <= measured.inodes_used <= measured.inodes


def test_what_is_not_there_cannot_be_measured(tmp_path: Path) -> None:
    assert volume.measure(tmp_path / "gone") is None


def test_a_directory_has_no_end_to_be_filled_to(tmp_path: Path) -> None:
    assert volume.fill(tmp_path, tmp_path, "") is None


def test_what_cannot_be_filled_says_why(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.write_bytes(b"no file system")

    assert volume.fill(device, tmp_path, "ext4")


@contextmanager
def mounted(device: Path, place: Path) -> Iterator[None]:
    place.mkdir()
    subprocess.run(["mount", str(device), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)


MAY_RESIZE = has_capability(24)  # CAP_SYS_RESOURCE: the kernel resizes what is mounted for nobody else


def a_disk_of(megabytes: int, image: Path) -> None:
    with image.open("ab") as file:
        file.truncate(megabytes * MIB)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file system on an image; skips where no loop device could carry it."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or not Path("/dev/loop-control").exists():
        pytest.skip(f"not here: {', '.join(missing) or 'loop devices'}")
    image = tmp_path / "image"
    a_disk_of(64, image)
    subprocess.run(["mkfs.ext4", "-q", "-m", "1", "-I", "256", "-O", "ea_inode", str(image)], check=True)
    return image


@pytest.mark.root
def test_what_is_written_is_used(tmp_path: Path, image: Path) -> None:
    with a_loop_device(image) as device, mounted(device, tmp_path / "place"):
        before = volume.measure(tmp_path / "place")
        (tmp_path / "place/file").write_bytes(b"x" * (8 * MIB))
        os.sync()
        after = volume.measure(tmp_path / "place")

    assert before is not None
    assert after is not None
    assert after.used - before.used >= 8 * MIB
    assert after.inodes_used == before.inodes_used + 1


@pytest.mark.root
@pytest.mark.parametrize(
    "is_mounted",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(not MAY_RESIZE, reason="root lacks CAP_SYS_RESOURCE here")),
    ],
    ids=["before it is mounted", "while it is mounted"],
)
def test_a_file_system_fills_the_device_that_became_larger_and_keeps_what_it_holds(
    tmp_path: Path, image: Path, is_mounted: bool
) -> None:
    with a_loop_device(image) as device:
        a_disk_of(256, image)
        subprocess.run(["losetup", "--set-capacity", str(device)], check=True)

        if is_mounted:
            with mounted(device, tmp_path / "first"):
                (tmp_path / "first/file").write_text("kept")
                filled = [volume.fill(device, tmp_path, "ext4") for _ in range(2)]
        else:
            filled = [volume.fill(device, tmp_path, "ext4") for _ in range(2)]

        with mounted(device, tmp_path / "place"):
            measured = volume.measure(tmp_path / "place")
            held = [path.read_text() for path in tmp_path.glob("place/file")]
    assert filled == [None, None]
    assert measured is not None
    assert measured.size > 200 * MIB
    assert held == ["kept"] * is_mounted
