"""A receiver's volume with a file system that breaks: what is recorded of the night, and how the next one begins."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.judge import READ_ONLY
from tests.local.enclosed import in_an_enclosure
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, RUN, a_receiver, an_aws

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@contextmanager
def a_device(image: Path) -> Iterator[Path]:
    """A block device of what is in a file."""
    shown = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True)
    device = Path(shown.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)


def a_disk(image: Path) -> Path:
    """With a file system as a receiver makes it."""
    image.touch()
    os.truncate(image, 64 << 20)
    with a_device(image) as device:
        volume.mount(device, image.with_suffix(".made"), "ext4")
        volume.unmount(image.with_suffix(".made"))
    return image


def find_an_error_on(place: Path) -> None:
    """What the kernel does when it finds an ext4 damaged; and what it was going to write is lost."""
    mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    device = next(words[0] for words in mounted if words[1] == str(place))
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("of a test")


@pytest.mark.fault("R4")
@in_an_enclosure
def test_once_the_volume_has_turned_read_only_every_report_is_a_failure_and_the_next_start_mends_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    disk = a_disk(tmp_path / "disk")
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE, disk=disk) as receiver:
        before = receiver.back_up("us0", tmp_path / "tree", tmp_path / "etc")
        find_an_error_on(receiver.store)
        after = receiver.back_up("eu0", tmp_path / "tree", tmp_path / "etc2")
        exit_code = receiver.process.wait(PATIENCE_SECONDS)

        reported, failed, released = (
            receiver.report("us0"),
            receiver.report("eu0"),
            aws.find(f"runs/{RUN}/released/1.json"),
        )
        assert (before.returncode, after.returncode, exit_code) == (0, 1, 0), after.stderr + receiver.log()
        assert READ_ONLY in after.stdout + after.stderr
        assert reported and reported["status"] == "complete"
        assert failed and (failed["status"], failed["problems"][0]) == ("failed", READ_ONLY)
        assert failed["receiver"]["manifest"] is None
        assert released and (released["read_only"], released["clean"]) == (True, True)
        assert "Traceback" not in receiver.log() + after.stderr
        told = [event["detail"].get("status") for event in aws.events()]
        assert told == ["complete", "failed", None]

    seen = tmp_path / "seen"
    with a_device(disk) as device:
        volume.mount(device, seen, "ext4")
        is_read_only, content = volume.has_turned_read_only(seen), (seen / "hosts/us0a/tree/file").read_text()
        volume.unmount(seen)
    assert (is_read_only, content) == (False, "content")
