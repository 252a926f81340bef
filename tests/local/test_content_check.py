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
def mounted(where: Path, *what: str) -> Iterator[None]:
    subprocess.run(["mount", *what, str(where)], check=True)
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
    with mounted(tmp_path, "-t", "tmpfs", "tmpfs"):
        host = Host(tmp_path, tmp_path / "backup")
        (tmp_path / "planted/srv").mkdir(parents=True)
        (tmp_path / "planted/srv/file").write_bytes(CONTENT)
        image = tmp_path / "disk"
        subprocess.run(["mkfs.ext4", "-q", "-d", str(tmp_path / "planted"), str(image), "16M"], check=True)
        disk = ("-o", "loop", str(image))
        with mounted(host.tree, *disk):
            before = (host.tree / "srv/file").stat()
            nights = [host.back_up(CHECK="2") for _ in range(3)]

        rot(image)
        with mounted(host.tree, *disk):
            after = (host.tree / "srv/file").stat()
            nights_of_rot = [host.back_up(CHECK="2") for _ in range(2)]

        looks = [(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) for found in (before, after)]
        assert looks[0] == looks[1]
        assert [night.status for night in nights] == [COMPLETE] * 3
        assert sorted(night.status for night in nights_of_rot) == [COMPLETE, WITH_WARNINGS]
        (found,) = (night for night in nights_of_rot if night.problems)
        assert found.problems[0].startswith("/srv/file has another content")
        assert (host.newest() / "srv/file").read_bytes() == ROTTEN
        assert (host.store.tree(host.snapshots()[0]) / "srv/file").read_bytes() == CONTENT
