"""What rsync cannot send: files that vanish while it is under way, and one it may not read. All real.

Every host of the one receiver has one night here.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, arrived, as_whom, wait_until

IS_ROOT = os.geteuid() == 0
# The last one never reports, so that the receiver stays.
HOSTS = ("us0", "eu0", "us1", "us2", "us3", "eu1")
SIZE = 12_000_000
ENOUGH = 3_000_000
PARTIAL, UNREADABLE, VANISHED = 3, 23, 24
A_DATABASE = "var/lib/mysql/shop/orders.ibd"

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, HOSTS) as receiver:
        yield receiver


def a_night_in_which_it_vanishes(
    receiver: Receiver, host: str, name: str, place: Path, becomes: str | None = None
) -> tuple[int, str]:
    """The agent's exit code, and all it said. rsync has listed the file, and is busy with one that comes before it.

    It is deleted then, or `becomes` another name.
    """
    tree = place / "tree"
    file = a_tree(tree, name) / name
    return a_night_in_which(
        receiver, host, place, lambda: file.unlink() if becomes is None else file.rename(tree / becomes)
    )


def a_tree(tree: Path, *names: str) -> Path:
    for file in (tree / "boot/large", tree / "var/stays", *(tree / name for name in names)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"here")
    (tree / "boot/large").write_bytes(os.urandom(SIZE))
    return tree


def a_night_in_which(receiver: Receiver, host: str, place: Path, happens: Callable[[], object]) -> tuple[int, str]:
    """The agent's exit code, and all it said. It happens while rsync is busy with the tree's first file."""
    paths = receiver.configure(host, place / "tree", place / "etc", BANDWIDTH="4m")
    words = [sys.executable, str(receiver.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as agent:
        wait_until(lambda: arrived(receiver.tree(host) / "boot/large") > ENOUGH, "some of the large file")
        happens()
        said, _ = agent.communicate(timeout=120)
    return agent.returncode, said


def what_is_recorded(receiver: Receiver, host: str) -> dict[str, Any]:
    report = receiver.report(host)
    assert report is not None, receiver.log()
    return report


@pytest.mark.fault("H4")
def test_a_file_that_vanishes_where_files_come_and_go_is_a_warning(receiver: Receiver, tmp_path: Path) -> None:
    exit_code, said = a_night_in_which_it_vanishes(receiver, "us0", "var/mail/new", tmp_path)

    report = what_is_recorded(receiver, "us0")
    assert (report["status"], report["exit_code"], exit_code) == ("complete-with-warnings", VANISHED, 0), said
    (problem,) = report["problems"]
    assert "has vanished" in problem and "var/mail/new" in problem and problem in said
    assert (receiver.tree("us0") / "var/stays").read_bytes() == b"here"
    assert not (receiver.tree("us0") / "var/mail/new").exists()


@pytest.mark.fault("H4")
def test_a_file_that_vanishes_elsewhere_is_looked_for_once_more_in_the_same_night(
    receiver: Receiver, tmp_path: Path
) -> None:
    exit_code, said = a_night_in_which_it_vanishes(receiver, "eu0", A_DATABASE, tmp_path, becomes="boot/orders")

    report = what_is_recorded(receiver, "eu0")
    assert (report["status"], report["exit_code"], exit_code) == ("complete-with-warnings", VANISHED, 0), said
    why, which = report["problems"]
    assert why.startswith("1 path vanished") and "has vanished" in which and A_DATABASE in which
    assert (receiver.tree("eu0") / "boot/orders").read_bytes() == b"here"
    assert not (receiver.tree("eu0") / A_DATABASE).exists()
    assert report["receiver"]["entries"] == report["entries"]


@pytest.mark.fault("H4")
def test_a_name_that_became_a_file_of_its_own_in_a_first_push_is_one_there_too(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Still linked over there, it must not be written in place by the push that makes good what vanished.

    With a pattern that only rsync decides, that push looks at everything as well.
    """
    tree = a_tree(tmp_path / "tree", A_DATABASE, "srv/a")
    (tree / "srv/b").hardlink_to(tree / "srv/a")
    (tmp_path / "b").write_bytes(b"another file")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/backup_exclude").write_text("/none/***\n")

    def it_is_replaced() -> None:
        (tmp_path / "b").rename(tree / "srv/b")
        (tree / A_DATABASE).rename(tree / "boot/orders")

    exit_code, said = a_night_in_which(receiver, "us2", tmp_path, it_is_replaced)

    report = what_is_recorded(receiver, "us2")
    assert (report["status"], exit_code) == ("complete-with-warnings", 0), said
    assert [(receiver.tree("us2") / "srv" / name).read_bytes() for name in ("a", "b")] == [b"here", b"another file"]


@pytest.mark.fault("H4")
def test_what_takes_names_moves_or_is_rewritten_during_a_push_in_full_is_there_as_it_is_by_its_end(
    receiver: Receiver, tmp_path: Path
) -> None:
    """A hard link's name, a file's, and a file that has the size and time which it had."""
    tree = a_tree(tmp_path / "tree", "srv/a", A_DATABASE)
    (tree / "srv/b").hardlink_to(tree / "srv/a")
    (tmp_path / "b").write_bytes(b"another file")
    (tmp_path / "secret").write_bytes(b"not for everybody")
    os.utime(tmp_path / "secret", ns=(0, 5))
    large = tree / "boot/large"
    before = large.stat()

    def all_of_it_changes() -> None:
        (tmp_path / "b").rename(tree / "srv/b")
        (tree / A_DATABASE).rename(tree / "boot/orders")
        (tmp_path / "secret").rename(tree / A_DATABASE)
        with large.open("r+b") as file:
            file.write(os.urandom(SIZE))
        os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))

    exit_code, said = a_night_in_which(receiver, "us3", tmp_path, all_of_it_changes)

    there = receiver.tree("us3")
    assert (what_is_recorded(receiver, "us3")["status"], exit_code) == ("complete", 0), said
    assert [(there / "srv" / name).read_bytes() for name in ("a", "b")] == [b"here", b"another file"]
    assert [(there / name).read_bytes() for name in ("boot/orders", A_DATABASE)] == [b"here", b"not for everybody"]
    assert (there / A_DATABASE).stat().st_mtime_ns == 5
    assert (there / "boot/large").read_bytes() == large.read_bytes()


@pytest.mark.fault("H5")
def test_a_file_that_may_not_be_read_makes_the_night_partial_and_is_named(receiver: Receiver) -> None:
    place = receiver.root.parent / "us1"
    (place / "tree/etc").mkdir(parents=True)
    (place / "tree/etc/hostname").write_bytes(b"us1")
    (place / "tree/etc/shadow").write_bytes(b"secret")
    (place / "tree/etc/shadow").chmod(0)
    paths = receiver.configure("us1", place / "tree", place / "etc")
    # To root nothing is closed: the agent is somebody else's.
    argv, _ = as_whom(False, place, place, receiver.hosts["us1"].private)
    words = [sys.executable, str(receiver.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]

    ended = subprocess.run([*argv, *words], capture_output=True, text=True, timeout=120, cwd="/")

    report = what_is_recorded(receiver, "us1")
    assert (report["status"], report["exit_code"], ended.returncode) == ("partial", UNREADABLE, PARTIAL), ended.stderr
    (problem,) = report["problems"]
    assert "etc/shadow" in problem and "Permission denied" in problem and problem in ended.stderr
    assert (receiver.tree("us1") / "etc/hostname").read_bytes() == b"us1"
    assert not (receiver.tree("us1") / "etc/shadow").exists()
