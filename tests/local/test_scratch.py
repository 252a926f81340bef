"""What commands have beside them while they go on: below the state, one for each, and gone when the next one begins."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.commands.explain import NOT_ALL
from ebbtide_agent.host.scratch import clear, scratch
from tests.local.own_nights import Host, agent

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")

HOLDING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ebbtide_agent.host.connections import connections
from ebbtide_agent.host.scratch import SOCKETS, scratch
from ebbtide_agent.paths import HostPaths
with scratch(HostPaths(state=Path(sys.argv[2]))) as place, connections(place / SOCKETS) as sockets:
    print(place, sockets, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "us0", tmp_path / "backup")
    (host.tree / "etc").mkdir()
    (host.tree / "etc/hostname").write_text("us0")
    return host


def holding(host: Host) -> "subprocess.Popen[str]":
    package = str(Path(ebbtide_agent.__file__).parents[1])
    words = [sys.executable, "-c", HOLDING, package, str(host.paths.state)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_is_in_use_stays_and_what_a_killed_one_has_left_goes(host: Host) -> None:
    # So deep that its sockets have to be elsewhere.
    host.place = host.place / ("d" * 60)
    host.paths.state.mkdir(parents=True)
    with holding(host) as living, holding(host) as killed:
        assert living.stdout and killed.stdout
        of_the_living, _ = map(Path, living.stdout.readline().split())
        left, sockets = map(Path, killed.stdout.readline().split())
        killed.kill()
        killed.wait()
        assert left.is_dir() and sockets.is_dir() and not sockets.is_relative_to(left)

        with scratch(host.paths) as ours:
            assert {*host.paths.scratch.iterdir()} == {ours, of_the_living}
            assert not sockets.exists()

        living.communicate()
    assert [*host.paths.scratch.iterdir()] == []


def test_a_night_clears_away_what_was_left(host: Host) -> None:
    left = host.paths.scratch / "tmpabcdefgh"
    left.mkdir(parents=True)

    host.back_up()

    assert not left.exists()


@pytest.mark.parametrize(("command", "code"), [("explain", NOT_ALL), ("restore", -signal.SIGKILL)])
def test_a_command_that_is_killed_leaves_nothing_elsewhere(host: Host, tmp_path: Path, command: str, code: int) -> None:
    """Of `explain` it is who looks beside it; it lives on, and says so."""
    host.back_up()
    killing = tmp_path / "rsync"
    killing.write_text("#!/bin/sh\nkill -9 $PPID\n")
    killing.chmod(0o755)
    host.configure(RSYNC=str(killing))
    (host.paths.etc / "backup_exclude").write_text("*.[ab]\n")
    elsewhere, places = tmp_path / "tmp", ["--etc", str(host.paths.etc), "--state", str(host.paths.state)]
    elsewhere.mkdir()

    ended = subprocess.run(
        [*agent(host)[:3], command, str(host.tree / "etc/hostname"), *places],
        env={**os.environ, "TMPDIR": str(elsewhere)},
    )
    left = [*host.paths.scratch.iterdir()]
    clear(host.paths.scratch)

    assert ended.returncode == code
    assert ([*elsewhere.iterdir()], len(left), [*host.paths.scratch.iterdir()]) == ([], 1, [])


def test_where_there_is_no_room_for_it_it_is_elsewhere(host: Host) -> None:
    host.paths.state.mkdir()
    host.paths.scratch.write_text("no directory")

    with scratch(host.paths) as place:
        assert [*place.iterdir()] == [] and not place.is_relative_to(host.paths.state)

    assert not place.exists()
