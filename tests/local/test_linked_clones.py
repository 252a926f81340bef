"""What has several names in a backup is one file in the server that stands, when it is written to, too."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from enclosed import on_a_loopback_of_its_own

from ebbtide_agent.restore.boot_image import KEPT, booted
from tests.debian import a_server
from tests.local.images import BOOTS_IMAGES, NAME, inside

pytestmark = BOOTS_IMAGES


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """On a file system as a volume's is: an overlay tells no index which file is which."""
    tree = tmp_path / "store/tree"
    tree.parent.mkdir()
    subprocess.run(["cp", "-a", a_server(), tree], check=True)
    (tree / "srv/one").write_text("as it was\n")
    for name in ("two", "three"):
        (tree / "srv" / name).hardlink_to(tree / "srv/one")
    yield tree
    shutil.rmtree(tmp_path / "store")


@on_a_loopback_of_its_own
def test_what_is_written_to_one_name_of_a_file_is_read_by_its_others_before_and_after_a_reboot(tree: Path) -> None:
    with booted(tree, NAME, patience=120, stands=True) as boot:
        first = inside(boot, "echo changed >/srv/one; cat /srv/two; echo kept >/etc/hostname")
    with booted(tree, NAME, patience=120, stands=True) as again:
        then = inside(again, "echo more >>/srv/three; cat /srv/one /etc/hostname")

    assert (boot.why, again.why) == (None, None)
    assert first == "changed"
    assert then == "changed\nmore\nkept"
    assert {(tree / "srv" / name).read_text() for name in ("one", "two", "three")} == {"as it was\n"}
    assert not (tree.parent / KEPT / "upper/etc/fstab").exists()
