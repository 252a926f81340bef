"""Who is at work on a peer while its operator says otherwise: the register counts as it is once one has a lease."""

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused, TransientError
from ebbtide_agent.moments import Up
from ebbtide_agent.peer.arrival import Arrival
from ebbtide_agent.peer.opened import Opened, shut_again
from ebbtide_agent.peer.register import encode_register
from ebbtide_agent.peer.sessions import forget_readers
from ebbtide_agent.receiver.lease import MOST_SESSIONS, leased, seated
from ebbtide_agent.receiver.verbs import HELLO, LIST, RSYNC, Asked
from tests.unit.agent.guests import Taking

HOUR = timedelta(hours=1)


@pytest.fixture
def taking(tmp_path: Path) -> Taking:
    return Taking(tmp_path)


def remove(taking: Taking) -> None:
    taking.peer.places.peer.write_bytes(encode_register(taking.peer.register.without("us0")))


def is_shut(taking: Taking) -> bool:
    return stat.S_IMODE(taking.store.path.stat().st_mode) == 0o700


def test_who_was_let_in_before_it_was_closed_and_has_no_lease_yet_reads_nothing(taking: Taking) -> None:
    until = taking.now + HOUR
    reader = Opened(taking.peer, replace(taking.guest, open_until=until), until)

    with pytest.raises(Refused, match="it was closed"):
        reader.answer(RSYNC, io.BytesIO())
    assert is_shut(taking)
    assert list(taking.paths.sessions.iterdir()) == []


def test_nor_does_who_was_let_in_before_it_was_removed(taking: Taking) -> None:
    until = taking.now + HOUR
    reader = Opened(taking.peer, replace(taking.guest, open_until=until), until)
    remove(taking)

    with pytest.raises(Refused, match="takes no backup of host us0a"):
        reader.answer(RSYNC, io.BytesIO())


def knocking(taking: Taking, meanwhile: Callable[[], None]) -> Arrival:
    """A guest that is known, and of which its operator says something else before it has its lease."""
    left = [meanwhile]

    def up() -> Up:
        if left:
            left.pop()()
        return taking.up()

    return Arrival(replace(taking.peer, up=up), "us0a")


@pytest.mark.parametrize("verb", [HELLO, RSYNC])
def test_whose_past_is_opened_while_it_knocks_brings_nothing(taking: Taking, verb: str) -> None:
    taking.say_hello()
    guest = knocking(taking, lambda: taking.open_for(HOUR))

    with pytest.raises(TransientError, match="opened just now"):
        guest.answer(Asked(verb), io.BytesIO(), io.BytesIO())


@pytest.mark.parametrize("verb", [HELLO, RSYNC])
def test_who_is_removed_while_it_knocks_brings_nothing(taking: Taking, verb: str) -> None:
    taking.say_hello()
    guest = knocking(taking, lambda: remove(taking))

    with pytest.raises(Refused, match="takes no backup of host us0a"):
        guest.answer(Asked(verb), io.BytesIO(), io.BytesIO())


def test_whom_a_peer_takes_is_looked_up_once_the_lease_is_held_and_not_before(taking: Taking) -> None:
    remove(taking)

    with leased(taking.paths, "us0a"), pytest.raises(TransientError, match="another session"):
        taking.peer.holding("us0a").__enter__()


@pytest.mark.parametrize("off", [timedelta(days=-1000), timedelta(minutes=-30), timedelta(days=1000)])
def test_an_opening_lasts_as_long_as_it_was_said_whatever_the_clock_is_set_to(taking: Taking, off: timedelta) -> None:
    taking.night()
    taking.open_for(HOUR)
    taking.peer = replace(taking.peer, clock=lambda: taking.now + off)

    taking.now += HOUR - timedelta(seconds=1)
    at_last = taking.offered()
    taking.now += timedelta(seconds=1)

    assert at_last == taking.snapshots and taking.offered() == ()


def test_what_was_open_when_the_machine_went_down_is_closed(taking: Taking) -> None:
    taking.open_for(HOUR)
    before = taking.guest.reads_until(taking.peer.up())

    taking.start = "the second"

    assert before and taking.guest.reads_until(taking.peer.up()) is None


def test_one_that_an_earlier_agent_wrote_down_is_none(taking: Taking) -> None:
    taking.change(open_until=taking.now + HOUR)

    assert taking.guest.reads_until(taking.peer.up()) is None


def test_the_way_is_shut_again_when_the_time_is_up_and_not_before(taking: Taking) -> None:
    taking.store.path.chmod(0o711)
    closed_as_it_was = taking.guest
    taking.open_for(HOUR)

    shut_again(taking.peer, closed_as_it_was)
    while_open = is_shut(taking)
    taking.now += HOUR
    shut_again(taking.peer, taking.guest)

    assert not while_open and is_shut(taking)


def test_what_readers_leave_that_were_killed_goes_and_nothing_else(taking: Taking) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = f"us0a.{os.getpid()}"
    left = [f"us0a.{gone.pid}.lock", f"us0a.{gone.pid}.rsyncd.conf"]
    stays = [f"{mine}.lock", f"{mine}.rsyncd.conf", "us0a.lock", "us0a.json", "us0a.rsyncd.conf", "us0a.reported"]
    for name in (*left, *stays):
        (taking.paths.sessions / name).touch()

    forget_readers(taking.paths)

    assert sorted(path.name for path in taking.paths.sessions.iterdir()) == sorted(stays)


@pytest.mark.parametrize("verb", [LIST, RSYNC])
def test_who_reads_has_a_few_sessions_at_once_and_the_next_one_is_to_come_again(taking: Taking, verb: str) -> None:
    taking.open_for(HOUR)

    with ExitStack() as sessions:
        for _ in range(MOST_SESSIONS):
            sessions.enter_context(seated(taking.paths, "us0a"))

        with pytest.raises(TransientError, match="host us0a has 4 sessions already"):
            Arrival(taking.peer, "us0a").answer(Asked(verb), io.BytesIO(), io.BytesIO())
