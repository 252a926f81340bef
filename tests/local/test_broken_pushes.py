"""A push whose link drops, whose machine dies, or whose name points elsewhere: real sshd, gate and confined rsync.

Every host of the one receiver has one night here.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.way import way_to
from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, wait_until

IS_ROOT = os.geteuid() == 0
# The last one never reports, so that the receiver stays.
HOSTS = ("us0", "eu0", "us1")
SIZE = 12_000_000
ENOUGH = 3_000_000

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, HOSTS) as receiver:
        yield receiver


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "srv").mkdir(parents=True)
    (tree / "srv/large").write_bytes(os.urandom(SIZE))
    return tree


def a_slow_push(receiver: Receiver, host: str, tree: Path, etc: Path) -> "subprocess.Popen[str]":
    """An agent in the middle of the large file."""
    paths = receiver.configure(host, tree, etc, BANDWIDTH="4m")
    words = [sys.executable, str(receiver.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]
    agent = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: arrived(receiver.tree(host)) > ENOUGH, "some of the large file")
    return agent


def arrived(tree: Path) -> int:
    """How much of the large file is there under a name of its own for the time being."""
    return max((path.stat().st_size for path in tree.glob("srv/.large.*")), default=0)


def below(pid: int) -> list[int]:
    """The processes that one has started, and theirs."""
    children = [
        int(child) for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()
    ]
    return [*children, *(grandchild for child in children for grandchild in below(child))]


def is_ssh(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "ssh"


@pytest.mark.fault("N3")
def test_a_link_that_drops_inside_a_file_is_gone_on_from_and_nobody_sees_half_of_it(
    receiver: Receiver, tree: Path, tmp_path: Path
) -> None:
    agent = a_slow_push(receiver, "us0", tree, tmp_path / "etc")

    (link,) = filter(is_ssh, below(agent.pid))
    os.kill(link, signal.SIGKILL)
    wait_until((receiver.tree("us0") / ".ebbtide-partial/large").exists, "what arrived")
    was_torn = (receiver.tree("us0") / "srv/large").exists()
    said, _ = agent.communicate(timeout=180)

    report = receiver.report("us0")
    assert report and report["status"] == "complete", said
    assert not was_torn
    assert report["bytes_sent"] < SIZE - ENOUGH / 2
    assert report["entries"] == report["receiver"]["manifest"]["entries"] == 3
    assert (receiver.tree("us0") / "srv/large").read_bytes() == (tree / "srv/large").read_bytes()
    assert receiver.tree("us0").stat().st_mtime_ns == tree.stat().st_mtime_ns


@pytest.mark.fault("H6")
def test_an_agent_that_is_killed_reports_nothing_and_the_next_run_says_so(
    receiver: Receiver, tree: Path, tmp_path: Path
) -> None:
    agent = a_slow_push(receiver, "eu0", tree, tmp_path / "etc")

    for process in (agent.pid, *below(agent.pid)):
        os.kill(process, signal.SIGKILL)
    agent.communicate(timeout=180)
    after_the_kill = receiver.report("eu0")
    ended = receiver.back_up("eu0", tree, tmp_path / "etc")

    assert after_the_kill is None
    report = receiver.report("eu0")
    assert ended.returncode == 0 and report, ended.stdout + ended.stderr
    assert report["status"] == "complete-with-warnings"
    assert "did not come to its end" in report["problems"][0] and report["problems"][0] in ended.stderr
    assert report["entries"] == report["receiver"]["manifest"]["entries"] == 3


@pytest.mark.fault("N1")
def test_a_name_that_still_points_elsewhere_is_looked_up_again(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = receiver.configure("us1", tmp_path, tmp_path / "etc")
    addresses = iter(["240.0.0.1", "127.0.0.1"])

    def as_of_now(name: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses), port))]

    monkeypatch.setattr(socket, "getaddrinfo", as_of_now)
    said: list[str] = []
    world = World(lambda: datetime.now(UTC), sleep=lambda _: None, say=said.append)

    hello = way_to(load(paths), paths, world).hello(datetime.now(UTC) + timedelta(minutes=5))

    assert hello.host == "us1"
    assert "240.0.0.1" in said[0] and "trying again" in said[0]
