"""What was recorded as complete is on the disk by then: shown on a copy of the disk as it was below its cache.

Such a copy is what a snapshot is of a volume whose machine was lost: what nobody has synced is not in it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ebbtide_agent.paths import DirectoryPaths
from ebbtide_agent.receiver import confine
from tests.local.enclosed import in_an_enclosure
from tests.local.own_nights import Host, differing, entries
from tests.local.receiver_machine import MISSING, a_receiver, an_aws
from tests.local.test_content_check import mounted
from tests.local.test_index_push import stored

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed"),
]


def a_disk(image: Path) -> Path:
    subprocess.run(["mkfs.ext4", "-q", "-I", "256", str(image), "64M"], check=True)
    return image


def plant(tree: Path) -> None:
    for number in range(300):
        path = tree / f"srv/{number % 7}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000))


@pytest.mark.fault("H11")
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@in_an_enclosure
def test_a_tree_that_a_receiver_has_recorded_outlasts_its_machine(tmp_path: Path) -> None:
    plant(tmp_path / "tree")
    (tmp_path / "seen").mkdir()
    disk, copy = a_disk(tmp_path / "disk"), tmp_path / "copy"
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        ended = receiver.back_up("us0", tmp_path / "tree", tmp_path / "etc")
        shutil.copyfile(disk, copy)

        report = receiver.report("us0")
        assert report and report["status"] == "complete", ended.stdout + ended.stderr
        recorded = stored(receiver.tree("us0"))
        with mounted(tmp_path / "seen", "-o", "loop", str(copy)):
            assert stored(tmp_path / "seen/hosts/us0a/tree") == recorded
            assert (tmp_path / "seen/hosts/us0a/manifest.jsonl.gz").read_bytes() == receiver_manifest(receiver.store)
        assert len(recorded) > 300


def receiver_manifest(store: Path) -> bytes:
    return (store / "hosts/us0a/manifest.jsonl.gz").read_bytes()


@pytest.mark.fault("H11")
@in_an_enclosure
def test_a_snapshot_that_has_its_name_outlasts_its_machine(tmp_path: Path) -> None:
    disk, copy, seen = a_disk(tmp_path / "disk"), tmp_path / "copy", tmp_path / "seen"
    seen.mkdir()
    host = Host(tmp_path, tmp_path / "backup")
    plant(host.tree)
    with mounted(host.target, "-o", "loop", str(disk)):
        report = host.back_up()
        shutil.copyfile(disk, copy)

        assert report.status == "complete"
        with mounted(seen, "-o", "loop", str(copy)):
            (name,) = host.snapshots()
            assert differing(entries(DirectoryPaths(seen).tree(name)), entries(host.tree)) == {}
