"""A guest of a peer and a copy of it: while the night of one lasts, the other begins none."""

from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.peer.night import LASTS
from ebbtide_agent.peer.register import encode_register
from ebbtide_agent.peer.setup import plan_remove
from ebbtide_agent.receiver.lease import Session, write_session
from ebbtide_agent.steps import walk
from tests.unit.agent.guests import Taking

ORIGINAL, COPY = "3f2a91c07d52e1aa", "91c07d52e1aa3f2a"


@pytest.fixture
def taking(tmp_path: Path) -> Taking:
    return Taking(tmp_path)


def is_refused(taking: Taking, machine: str) -> bool:
    try:
        taking.say_hello(machine)
    except Refused as refused:
        assert f"us0a is machine {ORIGINAL} in peer/2026-11-26/1" in str(refused)
        return True
    return False


@pytest.mark.fault("H7")
@pytest.mark.parametrize("pushed", [False, True], ids=["before the push", "after it"])
@pytest.mark.parametrize("later", [timedelta(minutes=5), timedelta(hours=2)])
def test_between_a_hello_and_its_report_a_copy_begins_no_night(taking: Taking, pushed: bool, later: timedelta) -> None:
    night = taking.say_hello(ORIGINAL)
    if pushed:
        write_session(taking.paths, "us0a", Session(0, 1.0))
    taking.now += later

    assert is_refused(taking, COPY) and is_refused(taking, "")
    assert taking.report(night).status == "complete"


def test_the_machine_itself_begins_another_night_when_it_was_cut_off(taking: Taking) -> None:
    taking.say_hello(ORIGINAL)
    write_session(taking.paths, "us0a", Session(None, 1.0))

    assert taking.say_hello(ORIGINAL).run == "peer/2026-11-26/2"


def test_a_guest_that_is_removed_and_added_again_may_be_another_machine(taking: Taking) -> None:
    taking.say_hello(ORIGINAL)
    again = taking.guest

    walk(plan_remove("us0", False, taking.machine).steps, lambda _: None, dry_run=False)
    taking.peer.places.peer.write_bytes(encode_register(taking.peer.register.with_guest(again)))

    assert not is_refused(taking, COPY)


@pytest.mark.parametrize("later", [LASTS, -LASTS])
def test_a_night_that_never_ended_is_waited_for_no_longer_than_it_lasts(taking: Taking, later: timedelta) -> None:
    taking.say_hello(ORIGINAL)
    taking.now += later

    assert not is_refused(taking, COPY)


def test_once_it_has_reported_the_machine_may_be_another_one(taking: Taking) -> None:
    taking.report(taking.say_hello(ORIGINAL))
    taking.keeper.keep()

    assert not is_refused(taking, COPY)
