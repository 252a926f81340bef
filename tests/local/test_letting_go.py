"""A receiver lets go of a volume that somebody is at work on, or holds: with a real file system, and real processes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent import procs, volume
from ebbtide_agent.receiver import confine
from tests.local.enclosed import a_copy_of_all_mounts, in_an_enclosure
from tests.local.receiver_machine import (
    MAY_MOUNT,
    MISSING,
    PATIENCE_SECONDS,
    Receiver,
    Volume,
    a_receiver,
    an_aws,
    unpacked,
    wait_until,
)
from tests.loops import a_loop_device
from tools.build_agent import build

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("aws_is_loaded"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a volume is mounted by root alone"),
    pytest.mark.skipif(not MAY_MOUNT, reason="this machine may not mount"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

# The agent's own main process, with a patience of ours.
A_MACHINE = """
import sys

sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
from ebbtide_agent import __main__ as agent, volume

volume.let_go.__defaults__ = (float(sys.argv.pop()),)
sys.exit(agent.main(["receiver", "boot"]))
"""


@contextmanager
def a_device(place: Path) -> Iterator[Path]:
    image = place / "volume.img"
    image.touch()
    os.truncate(image, 64 << 20)
    with a_loop_device(image) as device:
        yield device
        subprocess.run(["umount", "--quiet", str(place / "place")], check=False)


@contextmanager
def a_receiver_of_our_own(place: Path, patience: float = 1.0) -> Iterator[Receiver]:
    """To be had in an enclosure: a mount namespace that a test beside this one makes would keep its volume."""
    driver = place / "machine.py"
    driver.write_text(A_MACHINE)
    program = (str(driver), str(unpacked(build)), str(patience))
    with a_device(place) as device, an_aws() as aws:
        blank = Volume(device, "ext4")
        with a_receiver(aws, confine.SEPARATE, ("us0",), volume=blank, program=program) as receiver:
            button = receiver.root / "usr/local/sbin/poweroff"
            button.parent.mkdir(parents=True)
            button.write_text(f"#!/bin/sh\ntouch {receiver.root / 'off'}\n")
            button.chmod(0o755)
            yield receiver


def released(receiver: Receiver) -> dict[str, Any]:
    """What is on record once its main process has ended."""
    receiver.process.wait(PATIENCE_SECONDS)
    record = receiver.word("released")
    assert record and (receiver.root / "off").exists(), receiver.log()
    return record


def a_tree(place: Path) -> Path:
    place.mkdir()
    (place / "large").write_bytes(os.urandom(8 << 20))
    return place


@pytest.mark.fault("R10")
@in_an_enclosure
def test_of_a_volume_that_somebody_holds_it_is_said_that_it_was_not_let_go_and_the_machine_goes_with_it(
    tmp_path: Path,
) -> None:
    with a_receiver_of_our_own(tmp_path) as receiver:
        tree = a_tree(tmp_path / "tree")
        with (receiver.store / "held").open("wb"):
            ended = receiver.back_up("us0", tree, tmp_path / "us0")
            record = released(receiver)

            assert ended.returncode == 0, receiver.log()
            assert (record["clean"], record["read_only"], receiver.store.is_mount()) == (False, False, True)
            assert "is busy.; powering off with it, the snapshot will be crash-consistent" in receiver.log()
            assert (receiver.report("us0") or {}).get("status") == "complete"
            assert receiver.aws.events()[-1]["detail-type"] == "Ebbtide Receiver Released"


@pytest.mark.fault("R10")
@in_an_enclosure
def test_a_volume_that_stays_mounted_in_a_session_which_does_not_end_was_not_let_go(tmp_path: Path) -> None:
    with a_receiver_of_our_own(tmp_path) as receiver:
        tree = a_tree(tmp_path / "tree")
        with a_copy_of_all_mounts():
            ended = receiver.back_up("us0", tree, tmp_path / "us0")
            record = released(receiver)

            assert ended.returncode == 0, receiver.log()
            assert (record["clean"], receiver.store.is_mount()) == (False, False)
            assert "is mounted still, where it cannot be unmounted; powering off with it" in receiver.log()


@pytest.mark.fault("R10")
@in_an_enclosure
def test_who_is_at_work_is_ended_and_the_volume_is_let_go_cleanly(tmp_path: Path) -> None:
    with a_receiver_of_our_own(tmp_path, PATIENCE_SECONDS) as receiver:
        slow = ["rsync", "-a", "--bwlimit=500", "-e", " ".join(receiver.ssh_argv("us0"))]
        pushing = subprocess.Popen(
            [*slow, f"{a_tree(tmp_path / 'tree')}/", "127.0.0.1::tree/"], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: any(receiver.tree("us0").glob(".large.*")), "a push that is under way")

        receiver.process.terminate()
        record = released(receiver)

        assert pushing.wait(PATIENCE_SECONDS) != 0
        assert (record["clean"], receiver.store.is_mount()) == (True, False), receiver.log()
        assert receiver.report("us0") is None, "another receiver of this run may still take it"


@pytest.mark.fault("R10")
def test_what_is_in_use_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_device(tmp_path) as device:
        place, tries = tmp_path / "place", list[int]()
        volume.mount(device, place, "ext4")
        held = (place / "held").open("wb")
        run = procs.run

        def tried(words: list[str]) -> procs.Ended:
            ended = run(words)
            tries.append(ended.exit_code)
            held.close()
            return ended

        monkeypatch.setattr(procs, "run", tried)

        volume.unmount(place)

        assert (tries, place.is_mount()) == ([32, 0], False)
