"""A disk that rots under a file which nobody has touched: found by reading it, pushed as it is now, and told."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent.report import COMPLETE, WITH_WARNINGS
from tests.local.enclosed import in_an_enclosure
from tests.local.own_nights import Host

MISSING = [name for name in ("rsync", "cp", "mkfs.ext4", "mount") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

CONTENT, ROTTEN = b"what nobody ever touched", b"what nobody ever touchet"


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(where)], check=True)


def rot(image: Path) -> None:
    """Change one byte of a content where it lies on the disk."""
    disk = image.read_bytes()
    assert disk.count(CONTENT) == 1
    with image.open("r+b") as file:
        file.seek(disk.index(CONTENT))
        file.write(ROTTEN)


@pytest.mark.fault("H9")
@in_an_enclosure
def test_what_changed_on_the_disk_and_left_no_trace_is_found_within_its_round(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    (tmp_path / "planted/srv").mkdir(parents=True)
    (tmp_path / "planted/srv/file").write_bytes(CONTENT)
    for number in range(20):
        (tmp_path / f"planted/{number}").write_text("another")
    image = tmp_path / "disk"
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tmp_path / "planted"), str(image), "16M"], check=True)
    with mounted(image, host.tree):
        before = (host.tree / "srv/file").stat()
        nights = [host.back_up(CHECK="3") for _ in range(4)]

    rot(image)
    with mounted(image, host.tree):
        after = (host.tree / "srv/file").stat()
        nights_of_rot = [host.back_up(CHECK="3") for _ in range(3)]

    assert [night.status for night in nights] == [COMPLETE] * 4
    assert (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert sorted(night.status for night in nights_of_rot) == [COMPLETE, COMPLETE, WITH_WARNINGS]
    (found,) = (night for night in nights_of_rot if night.problems)
    assert found.problems[0].startswith("/srv/file has another content")
    assert (host.newest() / "srv/file").read_bytes() == ROTTEN
    assert (host.store.tree(host.snapshots()[0]) / "srv/file").read_bytes() == CONTENT
