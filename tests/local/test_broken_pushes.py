"""A push whose link drops, whose machine dies, or whose name points elsewhere: real sshd, gate and confined rsync.

Every host of the one receiver has one night here.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.host import night
from ebbtide_agent.host.identity import machine_of
from ebbtide_agent.host.link import World
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import encode_report, parse_report
from tests.local.processes import below, name_of
from tests.local.receiver_machine import MISSING, RUN, Receiver, a_receiver, an_aws, arrived, wait_until
from tests.local.rsync_only import a_far_side

IS_ROOT = os.geteuid() == 0
# The last one never reports, so that the receiver stays.
HOSTS = ("us0", "eu0", "us1", "us2", "us3", "us4", "eu1")
ANOTHERS = "127.0.0.2"
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
    agent = an_agent(receiver, host, tree, etc, BANDWIDTH="4m")
    wait_until(lambda: arrived(receiver.tree(host) / "srv/large") > ENOUGH, "some of the large file")
    return agent


def an_agent(receiver: Receiver, host: str, tree: Path, etc: Path, **settings: str) -> "subprocess.Popen[str]":
    paths = receiver.configure(host, tree, etc, **settings)
    words = [sys.executable, str(receiver.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]
    words += ["--progress", "lines", "--log", str(etc / "no-log")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def is_ssh(pid: int) -> bool:
    return name_of(pid) == "ssh"


@pytest.mark.fault("N3")
def test_a_link_that_drops_inside_a_file_is_gone_on_from_and_nobody_sees_half_of_it(
    receiver: Receiver, tree: Path, tmp_path: Path
) -> None:
    (receiver.tree("us0") / "of-the-night-before").touch()
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


@pytest.mark.fault("N3")
def test_what_a_first_push_has_sent_of_a_file_when_its_link_drops_is_not_sent_again(
    receiver: Receiver, tree: Path, tmp_path: Path
) -> None:
    os.utime(tree / "srv/large", (0, 0))
    agent = a_slow_push(receiver, "us4", tree, tmp_path / "etc")

    (link,) = filter(is_ssh, below(agent.pid))
    os.kill(link, signal.SIGKILL)
    said, _ = agent.communicate(timeout=180)

    report = receiver.report("us4")
    assert report and report["status"] == "complete", said
    assert report["bytes_sent"] < SIZE - ENOUGH / 2
    assert report["entries"] == report["receiver"]["manifest"]["entries"] == 3
    assert (receiver.tree("us4") / "srv/large").read_bytes() == (tree / "srv/large").read_bytes()
    assert (receiver.tree("us4") / "srv/large").stat().st_mtime_ns == 0


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


@contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Whatever becomes of the block, they go on after it, and come to their end."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@pytest.mark.fault("H7")
def test_of_two_agents_at_once_the_second_is_refused_and_a_copys_push_is_turned_away_by_the_receiver(
    receiver: Receiver, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/of-the-copy").touch()
    first = a_slow_push(receiver, "us2", tree, tmp_path / "etc")

    with stopped(below(first.pid)):
        second = receiver.back_up("us2", tree, tmp_path / "etc")
        copy = an_agent(receiver, "us2", tmp_path / "copy", tmp_path / "etc-of-the-copy")
        assert copy.stdout
        turned_away = next((line for line in copy.stdout if "trying again" in line), "")
        copy.terminate()
        copy.communicate(timeout=180)
    said, _ = first.communicate(timeout=180)

    report = receiver.report("us2")
    assert (second.returncode, second.stdout) == (Refused.exit_code, "")
    assert "another backup of this host is under way" in second.stderr
    assert "push to receiver://localhost" in turned_away
    assert report and report["status"] == "complete", said
    assert not (receiver.tree("us2") / "of-the-copy").exists()
    assert (receiver.tree("us2") / "srv/large").read_bytes() == (tree / "srv/large").read_bytes()


def on_a_machine(paths: HostPaths, its_id: str) -> HostPaths:
    """The same agent's places on a machine that has this id."""
    (paths.etc / "machine-id").write_text(its_id)
    return replace(paths, machine_id=paths.etc / "machine-id", hardware_id=paths.etc / "none")


@pytest.mark.fault("H7")
def test_a_copy_that_comes_between_a_push_and_its_report_is_refused_and_the_report_is_complete(
    receiver: Receiver, tmp_path: Path
) -> None:
    for name in ("tree", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"of-the-{name}").touch()
    places = (receiver.configure("us3", tmp_path / name, tmp_path / f"etc-{name}") for name in ("tree", "copy"))
    original, copy = (on_a_machine(paths, f"id {number}") for number, paths in enumerate(places))
    refused: dict[str, bytes] = {}
    # Which machine it is was asked once, at the beginning.
    machine = machine_of(original)
    original.scripts.mkdir(exist_ok=True)
    (original.scripts / "10-id").write_text(f"#!/bin/sh\necho another > {original.machine_id}\n")
    (original.scripts / "10-id").chmod(0o755)

    def the_copy_comes(line: str) -> None:
        if not line.startswith("push: "):
            return
        with pytest.raises(Refused) as error:
            night.run(night.Night(copy, World(lambda: datetime.now(UTC)), os.environ))
        refused["its agent"] = str(error.value).encode()
        refused["an older agent"] = receiver.ssh("us3", "hello").stderr
        program = f"--rsync-path=rsync --machine={machine_of(copy)}"
        refused["its push"] = receiver.rsync("us3", "-a", program, f"{tmp_path}/copy/", "127.0.0.1::tree/").stderr
        refused["its report"] = receiver.ssh("us3", "report", feed=a_report(receiver, "us3", machine_of(copy))).stderr

    world = World(lambda: datetime.now(UTC), say=the_copy_comes)
    recorded = night.run(night.Night(original, world, os.environ))

    assert len(refused) == 4
    for who, said in refused.items():
        assert f"us3a is machine {machine} in {RUN}".encode() in said, who
        assert (machine_of(copy).encode() in said) == (who != "an older agent"), who
    assert recorded.status == "complete" and json.loads(encode_report(recorded)) == receiver.report("us3")
    assert recorded.machine == machine
    assert [path.name for path in receiver.tree("us3").iterdir()] == ["of-the-tree"]


def a_report(receiver: Receiver, host: str, machine: str) -> bytes:
    key = receiver.hosts[host]
    example = parse_report((Path(__file__).parents[1] / "contract/wire/report.json").read_bytes())
    return encode_report(replace(example, host=host, id=key.id, nonce=key.nonce, machine=machine, receiver=None))


@pytest.mark.fault("N1")
def test_a_name_that_still_points_to_another_machine_is_looked_up_again_and_that_one_is_not_believed(
    receiver: Receiver, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = receiver.configure("us1", tree, tmp_path / "etc", WHOLE_SYSTEM="no")
    addresses = chain([ANOTHERS], repeat("127.0.0.1"))
    found = socket.getaddrinfo

    def as_of_now(name: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        return found(next(addresses) if name == "localhost" else name, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", as_of_now)
    said: list[str] = []
    world = World(lambda: datetime.now(UTC), sleep=lambda _: None, say=said.append)
    receiver.tell_sshd(f"Port {receiver.port}", f"Port {receiver.port}\nListenAddress 127.0.0.1")
    with a_far_side(ANOTHERS, receiver.port) as another:
        report = night.run(night.Night(paths, world, os.environ))

        assert "Accepted" not in (another.place / "log").read_text()
    assert "who answers is not the localhost of" in said[0] and "trying again" in said[0]
    assert report.status == "complete"
    assert (receiver.tree("us1") / "srv/large").read_bytes() == (tree / "srv/large").read_bytes()
