"""A stolen key and very much of everything: names, attributes, connections, lines in a log."""

import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine, sshd
from ebbtide_agent.receiver.lease import MOST_SESSIONS
from tests.attack.scene import ATTACKER, Scene
from tests.local.receiver_machine import MAY_MOUNT, MISSING, PATIENCE_SECONDS, below, name_of, wait_until

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
]
KNOCKS = 1000


@pytest.mark.attack("three thousand files, in one directory and in each other", row="X4", outcome="hold nobody else up")
@pytest.mark.fault("X4")
def test_very_many_files_hold_nobody_else_up(scene: Scene, tmp_path: Path) -> None:
    deep = tmp_path / "/".join("d" * 30)
    deep.mkdir(parents=True)
    for number in range(3000):
        (tmp_path / f"f{number}").touch()

    with scene.pushing(tmp_path, "--bwlimit=50") as flood:
        wait_until(lambda: flood.poll() is not None or next(scene.tree.glob("f*"), None), "the first of the files")
        flood.send_signal(signal.SIGSTOP)
        try:
            was_under_way = flood.poll() is None
            neighbour = scene.neighbour_pushes()
        finally:
            flood.send_signal(signal.SIGCONT)
        _, said = flood.communicate(timeout=PATIENCE_SECONDS)

    assert was_under_way and neighbour.returncode == 0, neighbour.stderr + said
    assert flood.returncode == 0, said
    assert len([*scene.tree.glob("f*")]) == 3000
    assert (scene.tree / "/".join("d" * 30)).is_dir()


@pytest.mark.attack("more attributes than a file system holds", row="X4", outcome="that file alone fails")
@pytest.mark.fault("X4")
def test_more_attributes_than_there_is_room_for_cost_that_file_alone(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").write_text("y")
    # As many as there is room for here; over there each file has one of the receiver's own, for what no file there has.
    for path in tmp_path.iterdir():
        path.chmod(0o4755)
    try:
        for number in range(1000):
            os.setxattr(tmp_path / "file", f"user.flood{number}", b"x" * 60)
    except OSError:
        pass
    else:
        pytest.skip("this file system takes as many attributes as anybody gives it")

    ended = scene.push(tmp_path, "-X", "--delete")

    assert ended.returncode == 23, ended.stderr
    *said, _ = ended.stderr.splitlines()
    assert said and all(b"file" in line and b"No space left on device" in line for line in said), ended.stderr
    assert (scene.tree / "other").read_text() == "y"
    assert "user.rsync.%stat" in os.listxattr(scene.tree / "other")
    assert scene.neighbour_pushes().returncode == 0


@pytest.mark.attack("a thousand connections that say nothing", row="X4", outcome="others come in all the same")
@pytest.mark.fault("X4")
def test_connections_that_say_nothing_do_not_lock_out_who_comes_from_elsewhere(scene: Scene) -> None:
    log = scene.receiver.root / "run/ebbtide/sshd.log"
    with ExitStack() as held:
        before = log.read_text()
        for _ in range(KNOCKS):
            held.enter_context(socket.create_connection(("127.0.0.1", scene.receiver.port)))
        turned_away = KNOCKS - sshd.CROWD.of_one
        wait_until(lambda: log.read_text().count("drop connection") >= turned_away, "the crowd turned away")
        serving = [name_of(process) for process in below(scene.receiver.process.pid)].count("sshd")

        neighbours = [scene.neighbour_pushes("-b", "127.0.0.2") for _ in range(3)]

    # Each that may stay has two of them until it has shown a key; and there is who comes in otherwise.
    assert serving <= 2 * sshd.CROWD.of_one + 20
    for neighbour in neighbours:
        assert neighbour.returncode == 0, neighbour.stderr + log.read_bytes()[len(before) :]


@pytest.mark.attack(
    "hold connections for ever that ask for nothing, each a process of sshd's",
    row="X4",
    outcome="ended after three minutes",
)
@pytest.mark.fault("X4")
def test_a_connection_that_asks_for_nothing_is_ended(scene: Scene) -> None:
    argv = [*scene.receiver.ssh_argv(ATTACKER, "-N"), "127.0.0.1"]
    scene.receiver.tell_sshd(f"UnusedConnectionTimeout {sshd.UNUSED_SECONDS}\n", "UnusedConnectionTimeout 1\n")
    try:
        idle = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS)
    finally:
        scene.receiver.tell_sshd("UnusedConnectionTimeout 1\n", f"UnusedConnectionTimeout {sshd.UNUSED_SECONDS}\n")

    assert (idle.returncode, b"closed by remote host" in idle.stderr) == (255, True), idle.stderr


@pytest.mark.attack("fill the receiver's memory with sessions that say nothing", row="X4", outcome="four, and no more")
@pytest.mark.fault("X4")
def test_who_says_nothing_says_it_in_a_few_sessions_and_no_more(scene: Scene) -> None:
    silent = [*scene.receiver.ssh_argv(ATTACKER), "127.0.0.1", "hello"]
    with ExitStack() as held:
        for _ in range(MOST_SESSIONS):
            session = held.enter_context(subprocess.Popen(silent, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))
            held.callback(session.terminate)

        wait_until(lambda: scene.ask("hello").returncode == 75, "as many sessions as there may be")
        one_more = scene.ask("hello")
        neighbour = scene.neighbour_pushes()

    assert neighbour.returncode == 0, neighbour.stderr
    assert (one_more.returncode, b"host us0a has 4 sessions already" in one_more.stderr) == (75, True)
    wait_until(lambda: scene.ask("hello").returncode == 0, "the end of them")


@pytest.mark.attack("fill the receiver's memory by the log of its sshd", row="X4", outcome="begun anew at 4 MiB")
@pytest.mark.fault("X4")
def test_a_log_that_somebody_fills_is_begun_anew(scene: Scene) -> None:
    log = scene.receiver.root / "run/ebbtide/sshd.log"
    with log.open("ab") as file:
        file.write(b"x" * (sshd.LARGEST_LOG + 1))

    wait_until(lambda: log.stat().st_size < sshd.LARGEST_LOG, "the log to be begun anew")

    assert scene.ask("hello").returncode == 0


def test_where_nothing_divides_the_memory_the_receiver_says_so_once(scene: Scene) -> None:
    assert scene.receiver.log().count(confine.sentence(scene.receiver.kind)) == 1
    assert scene.receiver.log().count("nothing keeps a host's sessions from filling this machine's memory: there ") == 1
