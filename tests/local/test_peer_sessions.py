"""Who comes to a peer while its operator opens, closes and removes, and who never goes by himself."""

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.moments import seconds_up
from ebbtide_agent.peer.night import LASTS, find_night, write_night
from tests.local.own_nights import differing, entries
from tests.local.peers import STRONGEST, Trio, a_peer_and_its_guests
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a user id for each host needs root")


@pytest.fixture(scope="module")
def peer() -> Iterator[Trio]:
    """The same for all: who is removed is taken again."""
    with a_peer_and_its_guests(STRONGEST) as trio:
        yield trio


def test_where_nothing_divides_the_memory_a_peer_says_so_once(peer: Trio) -> None:
    eu0, *_ = peer

    assert eu0.said().count("nothing keeps a host's sessions from filling this machine's memory: there ") == 1


def test_a_guest_that_stopped_coming_is_told_with_an_exit_code(peer: Trio) -> None:
    eu0, _, us1 = peer
    assert eu0.peer("remove", "us1", "--forget", "--yes").returncode == 0
    eu0.take(us1)
    days_ago = time.time() - 3 * 86_400
    os.utime(eu0.store.owner(us1.id), (days_ago, days_ago))

    told = eu0.peer("status")
    given_longer = eu0.peer("add", "us1", "--alarm-after", "8")

    assert told.returncode == 1 and "us1 (us1a): was never here; 0 snapshots; no complete night since" in told.stdout
    assert given_longer.returncode == 0, given_longer.stderr
    assert eu0.peer("status").returncode == 0


def test_who_is_removed_gets_in_no_more_and_what_is_kept_goes_only_when_it_is_said(peer: Trio) -> None:
    eu0, _, us1 = peer
    us1.complete_night(eu0)

    shown = eu0.peer("remove", "us1")
    removed = eu0.peer("remove", "us1", "--yes")
    refused = us1.ssh(eu0, "hello")
    stays = eu0.snapshots_of(us1)
    eu0.take(us1)
    forgotten = eu0.peer("remove", "us1", "--forget", "--yes")
    gone = not eu0.store.host(us1.id).exists()
    eu0.take(us1)

    assert shown.returncode == 77 and "say --yes" in shown.stderr
    assert removed.returncode == 0, removed.stderr
    assert refused.returncode == 255 and b"Permission denied" in refused.stderr
    assert len(stays) == 1
    assert forgotten.returncode == 0, forgotten.stderr
    assert gone and not eu0.ended()


def test_a_host_reads_its_past_while_it_is_open_and_neither_before_nor_after(peer: Trio) -> None:
    eu0, us0, us1 = peer
    name = us0.complete_night(eu0)[-1]

    before = us0.past("list")
    opened = eu0.peer("open", "us0", "--for", "1h")
    listed = us0.past("list")
    of_another = us1.ssh(eu0, "list")
    fetched = us0.past("restore", str(us0.tree / "a"), "--into", str(us0.place / "back"), "--yes")
    pushed = us0.ssh(eu0, "hello")
    writing = ["rsync", "-a", "-e", shlex.join(us0.ssh_argv(eu0)), f"{us0.tree}/a/file", f"127.0.0.1::{name}/evil"]
    written = subprocess.run(writing, capture_output=True)
    closed = eu0.peer("close", "us0")
    after = us0.past("restore", str(us0.tree / "a"), "--into", str(us0.place / "late"), "--yes")

    assert before.returncode == 1 and "peer open us0 --for 2h" in before.stdout
    assert opened.returncode == 0, opened.stderr
    assert listed.returncode == 0 and name in listed.stdout, listed.stderr
    assert of_another.returncode == 0 and b'"points": []' in of_another.stdout
    assert fetched.returncode == 0, fetched.stderr
    assert differing(entries(us0.place / "back/a"), entries(us0.tree / "a")) == {}
    assert pushed.returncode == 75 and b"may read its past" in pushed.stderr
    assert written.returncode != 0 and not (eu0.snapshot(us0, name) / "evil").exists()
    assert closed.returncode == 0, closed.stderr
    assert after.returncode != 0 and not (us0.place / "late").exists()
    us0.complete_night(eu0)


def ended_by_its_time(peer: Trio, give: Callable[[timedelta], None]) -> int:
    """The exit code of a session of us0's that begins before the time is up that it is given."""
    eu0, us0, _ = peer
    for seconds in (4, 40, 400):  # a machine that has a lot else to do takes longer to shake hands
        give(timedelta(seconds=seconds))
        begun = us0.find_session(eu0)
        if begun:
            return begun.wait(PATIENCE_SECONDS + seconds)
    pytest.fail("no session began in time")


@needs_root
def test_who_still_reads_when_the_time_is_up_is_ended(peer: Trio) -> None:
    eu0, _, _ = peer

    def open_for(time: timedelta) -> None:
        assert eu0.peer("open", "us0", "--for", "1h").returncode == 0
        register = json.loads(eu0.places.peer.read_bytes())
        (guest,) = (each for each in register["guests"] if each["name"] == "us0")
        guest["closes"]["seconds"] = seconds_up() + time.total_seconds()
        eu0.places.peer.write_text(json.dumps(register))

    assert ended_by_its_time(peer, open_for) == 128 + signal.SIGALRM


@pytest.mark.parametrize("words", [("close", "us0"), ("remove", "us0", "--yes")], ids=["closed", "removed"])
def test_who_still_reads_when_it_is_closed_is_ended(peer: Trio, words: tuple[str, ...]) -> None:
    eu0, us0, _ = peer
    assert eu0.peer("open", "us0", "--for", "1h").returncode == 0
    reading = us0.session(eu0)

    closed = eu0.peer(*words)

    assert closed.returncode == 0, closed.stderr
    assert reading.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    eu0.take(us0)


def test_what_a_reader_that_was_killed_leaves_is_gone_with_the_next_night(peer: Trio) -> None:
    eu0, us0, _ = peer
    assert eu0.peer("open", "us0", "--for", "1h").returncode == 0
    reading = us0.session(eu0)
    (lease,) = eu0.store.sessions.glob("us0a.*.lock")

    os.kill(int(lease.read_text()), signal.SIGKILL)
    reading.wait(PATIENCE_SECONDS)
    left_behind = lease.exists()
    assert eu0.peer("close", "us0").returncode == 0
    us0.complete_night(eu0)

    assert left_behind
    wait_until(lambda: not [*eu0.store.sessions.glob("us0a.*.lock")], "the peer to clear up")


def test_a_session_that_never_ends_keeps_no_key_that_is_to_go(peer: Trio) -> None:
    eu0, us0, _ = peer
    assert us0.ssh(eu0, "hello").returncode == 0
    pushing = us0.session(eu0)

    removed = eu0.peer("remove", "us0", "--yes")

    assert removed.returncode == 0, removed.stderr
    assert pushing.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    assert b"Permission denied" in us0.ssh(eu0, "hello").stderr
    assert not eu0.ended()
    eu0.take(us0)


def test_a_push_that_never_ends_ends_with_its_night(peer: Trio) -> None:
    eu0, us0, _ = peer

    def leave_of_the_night(time: timedelta) -> None:
        assert us0.ssh(eu0, "hello").returncode == 0
        night = find_night(eu0.store.night(us0.id))
        assert night
        write_night(eu0.store.night(us0.id), replace(night, opened=datetime.now(UTC) - LASTS + time))

    assert ended_by_its_time(peer, leave_of_the_night) == 128 + signal.SIGALRM
    us0.complete_night(eu0)


def test_one_that_was_killed_leaves_no_sshd_behind_and_the_next_one_has_its_port(peer: Trio) -> None:
    eu0, us0, _ = peer

    server = eu0.store.serving.read_text()
    (listener,) = Path(f"/proc/{server}/task/{server}/children").read_text().split()

    os.kill(int(server), signal.SIGKILL)
    wait_until(eu0.ended, "the peer's end")
    try:
        wait_until(lambda: nobody_listens(eu0.port), "the end of its sshd")
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(listener), signal.SIGKILL)
    eu0.serve()

    us0.complete_night(eu0)


def nobody_listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) != 0
