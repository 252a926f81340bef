"""A link that swallows everything and says nothing: who pushes into it gives up by itself, with real ssh and rsync.

The agent has a network of its own, which a bridge joins to the far side's. The bridge is taken down, so that both ends
still have their link and nothing ever answers. What a real night waits is minutes, so here it is told to wait seconds;
what it waits otherwise is what ssh and rsync are told (`tests/unit/agent/test_link.py`).
"""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from enclosed import in_an_enclosure, wait_until

import ebbtide_agent
from tests.local.own_nights import Host
from tests.local.receiver_machine import arrived
from tests.local.rsync_only import FarSide, a_far_side
from tests.local.test_broken_pushes import ENOUGH, SIZE
from tests.local.test_to_remote import MISSING

HERE, THERE = "10.255.77.1", "10.255.77.2"
PATIENCE_SECONDS = 180

# Each of its pauses is a minute by its clock, and takes no time; what ssh and rsync wait does.
_NIGHT = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ebbtide_agent.errors import TransientError
from ebbtide_agent.host import far_files, link, night, push
from ebbtide_agent.paths import HostPaths

link.CONNECT_SECONDS = 1
link.ALIVE_SECONDS, link.ALIVE_TIMES = int(sys.argv[2]), 2
push.SILENCE_SECONDS = far_files.SILENCE_SECONDS = int(sys.argv[3])
passed = timedelta()

def sleep(seconds):
    global passed
    passed += timedelta(minutes=1)

place = Path(sys.argv[1])
say = lambda line: print(line, flush=True)
world = link.World(lambda: datetime.now(UTC) + passed, sleep=sleep, say=say)
try:
    say(f"reported: {night.run(night.Night(HostPaths(place / 'etc', place / 'state'), world, os.environ)).status}")
except TransientError as error:
    say(f"75: {error}")
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="networks of one's own need root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
with_a_network_of_its_own = functools.partial(in_an_enclosure, within=("unshare", "--net"))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def another_network() -> Iterator[list[str]]:
    """The words that start a program in it. It reaches `HERE` across the bridge `wire`, and ends with the block."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo there; exec sleep 600"], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"there\n"
    within = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    try:
        ip("link", "set", "lo", "up")
        ip("link", "add", "wire", "type", "bridge")
        ip("link", "add", "end", "type", "veth", "peer", "name", "far-end", "netns", str(holder.pid))
        ip("link", "set", "end", "master", "wire", "up")
        ip("link", "set", "wire", "up")
        ip("address", "add", f"{HERE}/30", "dev", "wire")
        for words in (("link", "set", "lo", "up"), ("link", "set", "far-end", "up")):
            subprocess.run([*within, "ip", *words], check=True)
        subprocess.run([*within, "ip", "address", "add", f"{THERE}/30", "dev", "far-end"], check=True)
        yield within
    finally:
        holder.kill()
        holder.communicate()


def a_host(far: FarSide, place: Path) -> Host:
    """us0, with one large file."""
    host = Host(place, place / "unused")
    (host.tree / "srv").mkdir()
    (host.tree / "srv/large").write_bytes(os.urandom(SIZE))
    to = {"TARGET": far.target("/~/us0", HERE), "KEY": str(far.key), "KNOWN_HOSTS": str(far.known_hosts)}
    host.configure(**to, BANDWIDTH="4m", WAIT_MINUTES="2")
    return host


def begin_a_night(host: Host, within: list[str], alive: int, silence: int) -> "subprocess.Popen[str]":
    """An agent that is told to wait so many seconds for ssh, and for rsync, in the middle of the large file."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}
    words = [*within, sys.executable, "-c", _NIGHT, str(host.place), str(alive), str(silence)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.fault("N4")
@pytest.mark.parametrize(
    ("alive", "silence", "gave_up"),
    # In the second, too, ssh gives up in the end, as by night, when rsync has long done so.
    [(1, 600, "unexpectedly closed"), (30, 4, "timeout")],
    ids=["ssh gives up", "rsync gives up"],
)
@with_a_network_of_its_own
def test_whoever_pushes_into_a_black_hole_ends_by_itself(
    tmp_path: Path, alive: int, silence: int, gave_up: str
) -> None:
    with another_network() as within, a_far_side(HERE) as far:
        host = a_host(far, tmp_path)
        running = begin_a_night(host, within, alive, silence)
        try:
            tree = far.home / "us0/tree"
            wait_until(lambda: arrived(tree / "srv/large") > ENOUGH, "some of the large file")

            ip("link", "set", "wire", "down")
            out, _ = running.communicate(timeout=PATIENCE_SECONDS)
        finally:
            running.kill()

        assert out.splitlines()[-1].startswith("75: "), out
        assert gave_up in out
        assert not (tree / "srv/large").exists()


@pytest.mark.fault("N4")
@with_a_network_of_its_own
def test_a_link_that_comes_back_meanwhile_is_used(tmp_path: Path) -> None:
    with another_network() as within, a_far_side(HERE) as far:
        host = a_host(far, tmp_path)
        running = begin_a_night(host, within, alive=1, silence=4)
        assert running.stdout
        try:
            tree = far.home / "us0/tree"
            wait_until(lambda: arrived(tree / "srv/large") > ENOUGH, "some of the large file")

            ip("link", "set", "wire", "down")
            said = next(line for line in running.stdout if "push to" in line and "trying again" in line)
            ip("link", "set", "wire", "up")
            out, _ = running.communicate(timeout=PATIENCE_SECONDS)
        finally:
            running.kill()

        assert out.splitlines()[-1] == "reported: complete", (said, out)
        assert (tree / "srv/large").read_bytes() == (host.tree / "srv/large").read_bytes()
