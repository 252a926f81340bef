"""Trying again: pauses that grow and differ, and an end when the next attempt would come too late."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent import keys
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World, ask, pause_seconds, ssh, wait_or_give_up
from ebbtide_agent.host.login import Login
from ebbtide_agent.host.push import in_full, rsync
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_checks import an_sshd

needs_sshd = pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="OpenSSH's server is not installed")
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@contextmanager
def a_pinned_far_side(place: Path) -> Iterator[Login]:
    """One that answers until the end of the block, and lets nobody in."""
    with an_sshd(place) as (port, public):
        (place / "known_hosts").write_text(f"backup.example.org {public}\n")
        yield Login("backup.example.org", port, "us0", place / "key", place / "known_hosts", elsewhere="127.0.0.1")


@contextmanager
def an_agent_of_sshs(door: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One of our own until the end of the block."""
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(door)], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(door))
        while not door.exists() and agent.poll() is None:
            time.sleep(0.01)
        yield
    finally:
        agent.terminate()
        agent.wait()
        monkeypatch.delenv("SSH_AUTH_SOCK")


def test_pauses_double_up_to_two_minutes() -> None:
    assert [pause_seconds(attempt, 1.0) for attempt in range(8)] == [2, 4, 8, 16, 32, 64, 120, 120]


def test_chance_takes_off_up_to_half() -> None:
    assert (pause_seconds(3, 0.0), pause_seconds(3, 0.5)) == (8, 12)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_a_machine_that_stands_in_for_another_is_told_by_its_address_when_it_does_not_answer(tmp_path: Path) -> None:
    keys.make(tmp_path / "key", "us0")
    login = Login("backup.example.org", 1, "us0", tmp_path / "key", tmp_path / "known_hosts", elsewhere="127.0.0.1")

    with pytest.raises(TransientError, match=r"^list to 127\.0\.0\.1: ssh: connect to host 127\.0\.0\.1 port 1"):
        ask(login, "list")


@needs_sshd
@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("nothing", "Permission denied"),
        ("everything", "No such file or directory: ebbtide-agent install makes it"),
        ("a reader", "is open to others (0640): chmod 600 "),
        ("a line's end", "since its lines end as on Windows"),
    ],
)
def test_a_key_that_cannot_be_used_is_what_failed_where_somebody_answers(tmp_path: Path, lacks: str, said: str) -> None:
    key = tmp_path / "key"
    if lacks != "everything":
        keys.make(key, "us0")
    if lacks == "a reader":
        key.chmod(0o640)
    if lacks == "a line's end":
        key.write_bytes(key.read_bytes().replace(b"\n", b"\r\n"))

    with a_pinned_far_side(tmp_path) as login:
        with pytest.raises(TransientError if lacks == "nothing" else PermanentError, match=re.escape(said)):
            ask(login, "hello")
        with pytest.raises(TransientError, match="connect to host"):
            ask(replace(login, port=1), "hello")


@needs_sshd
def test_a_key_that_an_agent_of_sshs_may_hold_is_waited_with_and_so_is_one_that_nobody_can_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    keys.make(key, "us0")

    with a_pinned_far_side(tmp_path) as login:
        with an_agent_of_sshs(tmp_path / "agent", monkeypatch):
            subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
            subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], check=True, capture_output=True)
            with pytest.raises(TransientError, match="Permission denied"):
                ask(login, "hello")
        with pytest.raises(PermanentError, match="if it has a passphrase"):
            ask(login, "hello")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "ssh").symlink_to(str(shutil.which("ssh")))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(TransientError, match="Permission denied"):
            ask(login, "hello")


@needs_sshd
def test_a_receiver_that_nobody_has_pinned_is_what_failed_and_one_with_another_key_may_go(tmp_path: Path) -> None:
    keys.make(tmp_path / "key", "us0")
    with an_sshd(tmp_path) as (port, public):
        login = Login("backup.example.org", port, "us0", tmp_path / "key", tmp_path / "known", elsewhere="127.0.0.1")

        login.known_hosts.write_text(f"[backup.example.org]:{port} {public}\n")
        with pytest.raises(PermanentError, match=r"has no key of backup\.example\.org, but one of "):
            ask(login, "hello")
        for vouched in ("", "@cert-authority *.example.org,"):
            login.known_hosts.write_text(f"{vouched}backup.example.org {keys.public(login.key)}\n")
            with pytest.raises(TransientError, match=r"who answers is not the backup\.example\.org of "):
                ask(login, "hello")


@needs_sshd
def test_a_key_that_is_lost_is_in_nobodys_way_while_the_next_one_can_be_used(tmp_path: Path) -> None:
    keys.make(keys.next_of(tmp_path / "key"), "us0")

    with a_pinned_far_side(tmp_path) as login, pytest.raises(TransientError, match="Permission denied"):
        ask(login, "hello")


@pytest.mark.fault("N2")
def test_it_waits_and_says_why() -> None:
    slept: list[float] = []
    said: list[str] = []
    world = World(lambda: NOW, slept.append, lambda: 1.0, said.append)

    wait_or_give_up(1, NOW + timedelta(minutes=1), world, TransientError("no address"))

    assert slept == [4.0]
    assert said == ["no address; trying again in 4 s"]


@pytest.mark.fault("N2")
def test_it_gives_up_with_the_reason_when_the_next_attempt_would_be_too_late() -> None:
    slept: list[float] = []
    world = World(lambda: NOW, slept.append, lambda: 1.0)

    with pytest.raises(TransientError, match="no address"):
        wait_or_give_up(5, NOW + timedelta(minutes=1), world, TransientError("no address"))

    assert slept == []


@pytest.mark.fault("H8")
@pytest.mark.parametrize("off", [timedelta(days=365), timedelta(days=-365)], ids=["ahead", "back"])
def test_how_long_it_waits_is_not_told_by_a_clock_that_somebody_sets(off: timedelta) -> None:
    elapsed = timedelta()
    world = World(lambda: NOW + off, lambda _: None, lambda: 1.0, steady=lambda: NOW + elapsed)
    until, error = NOW + timedelta(minutes=1), TransientError("no address")

    wait_or_give_up(1, until, world, error)
    elapsed = timedelta(minutes=1)
    with pytest.raises(TransientError):
        wait_or_give_up(1, until, world, error)


@pytest.mark.fault("H8")
def test_the_real_world_waits_by_a_clock_that_goes_on_when_the_other_one_is_set() -> None:
    times = iter([NOW, NOW + timedelta(days=365)])
    world = World.around(lambda: next(times))

    assert world.clock() - world.waiting() > timedelta(days=364)


@pytest.mark.fault("N4")
def test_whoever_falls_silent_is_given_up_within_ten_minutes(tmp_path: Path) -> None:
    words = ssh(Login("backup.example.org", 22, "root", Path("/key"), Path("/known"), Path("/sockets")))
    (tmp_path / "backup_config").write_text("HOST=us0\nTARGET=receiver://backup.example.org\nKEEP=7\n")
    config = load(HostPaths(tmp_path, tmp_path))

    options = dict(word.split("=", 1) for word in words if "=" in word)
    alive = int(options["ServerAliveInterval"]) * int(options["ServerAliveCountMax"])
    assert 0 < alive <= 600 and 0 < int(options["ConnectTimeout"]) <= 600
    assert "--timeout=600" in rsync(config, ("there",), in_full(config))


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_ssh_believes_nobody_but_who_is_pinned_under_the_name_and_asks_nobody() -> None:
    words = ssh(Login("backup.example.org", 22, "root", Path("/key"), Path("/known")))

    argv = [*words, "-G", "198.51.100.7"]
    composed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()

    assert {
        "stricthostkeychecking true",
        "userknownhostsfile /known",
        "globalknownhostsfile /dev/null",
        "hostkeyalias backup.example.org",
        "updatehostkeys false",
        "identitiesonly yes",
        "identityfile /key",
        "batchmode yes",
    } <= {*composed}
