"""Connections that a night shares, with a real sshd: one handshake for all, and nothing left of them anywhere."""

import getpass
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.host.connections import connections
from ebbtide_agent.host.link import ssh
from ebbtide_agent.host.login import Login
from tests.local.own_nights import Host, agent
from tests.local.receiver_machine import wait_until
from tests.local.rsync_only import FarSide
from tests.local.test_to_remote import MISSING

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ebbtide_agent.host.connections import connections
with connections(Path(sys.argv[2])):
    os.kill(os.getpid(), 9)
"""


def a_login(far: FarSide, sockets: Path) -> Login:
    return Login("localhost", far.port, getpass.getuser(), far.key, far.known_hosts, sockets)


def come_and_go(far: FarSide, sockets: Path) -> None:
    """What is asked is refused over there, by a program that only a login can have started."""
    ended = subprocess.run([*ssh(a_login(far, sockets)), "localhost", "hello"], capture_output=True, text=True)
    assert "rsync and nothing else" in ended.stderr, ended.stderr


def handshakes(far: FarSide) -> int:
    return (far.place / "log").read_text().count("Accepted publickey")


def test_all_that_is_asked_in_a_night_takes_one_handshake_and_leaves_no_socket(far: FarSide, short: Path) -> None:
    before = handshakes(far)

    with connections(short / "sockets") as sockets:
        come_and_go(far, sockets)
        come_and_go(far, sockets)
        during = list(sockets.iterdir())

    assert handshakes(far) == before + 1
    assert len(during) == 1 and during[0].parent == short / "sockets"
    assert list((short / "sockets").iterdir()) == []


def test_a_place_too_deep_for_a_socket_is_no_obstacle(far: FarSide, short: Path) -> None:
    deep = short / ("d" * 60)

    with connections(deep) as sockets:
        come_and_go(far, sockets)
        assert len(list(sockets.iterdir())) == 1

    assert not sockets.exists() and list(deep.iterdir()) == []


def a_killed_run(place: Path) -> Path:
    """Where its sockets were."""
    package = str(Path(ebbtide_agent.__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", KILLED, package, str(place)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (leading,) = place.iterdir()
    return leading.readlink()


def test_what_is_left_of_a_killed_run_whose_place_was_too_deep_is_ended_by_the_next(far: FarSide, short: Path) -> None:
    deep = short / ("d" * 60)
    there = a_killed_run(deep)
    come_and_go(far, there)
    (master,) = there.iterdir()

    with connections(deep) as sockets:
        assert sockets != there and not there.exists()

    ended = subprocess.run(["ssh", "-o", f"ControlPath={master}", "-O", "check", "whoever"], capture_output=True)
    assert ended.returncode == 255


only_root_gives_away = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


@pytest.mark.parametrize(
    "whose", ["open to others", pytest.param("another's", marks=only_root_gives_away), "a link", "a file", "nobody's"]
)
def test_what_somebody_else_has_put_where_a_killed_run_had_its_sockets_stays(short: Path, whose: str) -> None:
    deep, others = short / ("d" * 60), short / "others"
    there = a_killed_run(deep)
    there.rmdir()
    others.mkdir(mode=0o700)
    (others / "file").touch()
    if whose == "open to others":
        others.chmod(0o755)
        others.rename(there)
    elif whose == "another's":
        os.chown(others, 1234, 1234)
        others.rename(there)
    elif whose == "a link":
        there.symlink_to(others)
    elif whose == "a file":
        there.touch()
    before = [there.exists(), *sorted(there.rglob("*"))]

    with connections(deep) as sockets:
        assert sockets != there

    assert [there.exists(), *sorted(there.rglob("*"))] == before
    if there.is_dir() and not there.is_symlink():
        shutil.rmtree(there)
    there.unlink(missing_ok=True)


@pytest.mark.parametrize("odd", ["with spaces", "100%", "${HOME}", '"quoted"'])
def test_a_place_that_ssh_would_read_as_another_is_no_obstacle(far: FarSide, short: Path, odd: str) -> None:
    with connections(short / odd) as sockets:
        come_and_go(far, sockets)
        assert len(list(sockets.iterdir())) == 1


def test_where_temporary_files_go_may_be_too_deep_as_well(
    far: FarSide, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = short / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    with tempfile.TemporaryDirectory() as place, connections(Path(place)) as sockets:
        come_and_go(far, sockets)
        assert len(list(sockets.iterdir())) == 1


def test_a_night_finds_its_key_where_names_have_spaces(far: FarSide, short: Path) -> None:
    place = short / "our place"
    host = Host(place, place / "unused")
    (host.tree / "file").write_text("file")
    shutil.copy(far.key, place / "the key")
    shutil.copy(far.known_hosts, place / "known hosts")

    report = host.back_up(
        TARGET=far.target("/~/spaces"),
        KEY=f"{place}/the key",
        KNOWN_HOSTS=f"{place}/known hosts",
        WAIT_MINUTES="1",
    )

    assert report.status == "complete"
    assert (far.home / "spaces/tree/file").read_text() == "file"


def test_what_a_run_that_was_killed_has_left_is_ended_by_the_next(far: FarSide, short: Path) -> None:
    place = short / "sockets"
    place.mkdir()
    come_and_go(far, place)
    (master,) = place.iterdir()
    (place / "of-nobody").touch()

    with connections(place) as sockets:
        assert list(sockets.iterdir()) == []

    ended = subprocess.run(["ssh", "-o", f"ControlPath={master}", "-O", "check", "whoever"], capture_output=True)
    assert ended.returncode == 255


def test_a_run_that_is_killed_leaves_nothing_outside_its_own_place(far: FarSide, short: Path, tmp_path: Path) -> None:
    host = Host(short, short / "unused")
    (host.tree / "file").write_text("file")
    to = {"TARGET": far.target("/~/killed"), "KEY": str(far.key), "KNOWN_HOSTS": str(far.known_hosts)}
    stopping = host.place / "rsync"
    stays = f"touch {short}/pushing; exec sleep 60"
    stopping.write_text(f'#!/bin/sh\ncase "$*" in *--stats*) {stays};; esac\nexec rsync "$@"\n')
    stopping.chmod(0o755)
    host.configure(**to, WAIT_MINUTES="1", RSYNC=str(stopping))

    running = subprocess.Popen(agent(host), env={**os.environ, "TMPDIR": str(tmp_path)})
    wait_until((short / "pushing").exists, "the push")
    left = [*host.paths.sockets.iterdir()]
    _kill_with_all_below(running)
    with connections(host.paths.sockets) as sockets:
        afterwards = list(sockets.iterdir())

    assert (len(left), afterwards) == (1, [])
    assert list(tmp_path.iterdir()) == []


def _kill_with_all_below(process: "subprocess.Popen[bytes]") -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def test_a_night_that_needs_no_connection_makes_no_place_for_one(short: Path) -> None:
    host = Host(short, short / "backup")
    (host.tree / "file").write_text("file")

    host.back_up()

    assert not host.paths.sockets.exists()
