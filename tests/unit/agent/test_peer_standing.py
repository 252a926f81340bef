"""What `peer status` says of a guest, and when a person should look."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.peer.standing import Standing, find_faults, find_silence, standing_of
from ebbtide_agent.receiver.durable import NOT_KEPT
from ebbtide_agent.receiver.places import make_room
from ebbtide_agent.report import PARTIAL
from tests.unit.agent.guests import NOW, Taking

DAY = timedelta(days=1)


@pytest.fixture
def taking(tmp_path: Path) -> Taking:
    return Taking(tmp_path)


def standing(taking: Taking) -> Standing:
    return standing_of(taking.guest, taking.peer)


@pytest.mark.parametrize("ago", [0 * DAY, 2 * DAY, -1 * DAY])
def test_who_came_in_time_is_nothing_to_look_at(ago: timedelta) -> None:
    assert find_silence(NOW - ago, NOW - 99 * DAY, NOW, 2) is None


def test_who_stopped_coming_is_named_with_its_last_complete_night() -> None:
    silence = find_silence(NOW - 3 * DAY, NOW - 99 * DAY, NOW, 2)

    assert silence == "no complete night since 2026-11-23T02:10:00Z, and 2 days are the most there should be"


def test_who_was_added_and_never_came_is_named_too() -> None:
    assert find_silence(None, NOW - DAY, NOW, 2) is None
    assert "since it was added, 2026-11-23" in str(find_silence(None, NOW - 3 * DAY, NOW, 2))


def test_a_night_that_is_not_complete_is_none(taking: Taking) -> None:
    taking.night()
    for _ in range(3):
        taking.days_pass()
        taking.night(status=PARTIAL)

    found = standing(taking)

    assert found.status == "partial" and found.snapshots == ("2026-11-26T02-10-00Z",)
    assert "no complete night since 2026-11-26" in found.as_line()


def test_each_guest_may_stay_away_as_long_as_was_said(taking: Taking) -> None:
    taking.night()
    taking.change(alarm_after=8)
    taking.days_pass(8)

    within = standing(taking).faults
    taking.days_pass()

    assert within == () and standing(taking).faults


def test_a_guest_that_is_new_has_time(taking: Taking) -> None:
    owner = taking.paths.owner("us0a")
    os.utime(owner, (NOW.timestamp(), NOW.timestamp()))

    assert standing(taking).faults == ()
    taking.days_pass(3)
    assert len(standing(taking).faults) == 1


def test_a_newest_snapshot_from_the_future_does_not_pass_for_one_of_last_night(taking: Taking) -> None:
    taking.days_pass(1000)
    taking.night()
    taking.now = NOW + 5 * DAY

    assert "is dated 2029-08-22T02:10:00Z" in standing(taking).as_line()


def test_a_snapshot_that_is_damaged_is_named(taking: Taking) -> None:
    taking.night()
    (snapshot,) = taking.snapshots
    taking.store.report(snapshot).unlink()

    (fault,) = [each for each in standing(taking).faults if "damaged" in each]

    assert fault.startswith(str(taking.store.snapshot(snapshot)))


def test_a_disk_that_did_not_keep_what_was_written_is_named_until_the_peer_is_started_anew(taking: Taking) -> None:
    taking.paths.not_kept.write_text("Input/output error")
    faults = find_faults(taking.peer)
    make_room(taking.paths)

    (fault,) = set(faults) - set(find_faults(taking.peer))

    assert fault.startswith(
        f"{NOT_KEPT}: nothing is taken until somebody has looked at the disk of {taking.paths.store}"
    )


def test_a_guest_that_may_read_is_told_to_be_refused_until_then_which_is_no_fault(taking: Taking) -> None:
    taking.night()
    shut = standing(taking)
    taking.open_for(timedelta(hours=2))
    opened = standing(taking)
    taking.now += timedelta(hours=2)

    assert "open until 2026-11-26T04:10:00Z, and its nights are refused until then" in opened.as_line()
    assert (opened.as_object()["open_until"], opened.faults) == ("2026-11-26T04:10:00Z", ())
    assert shut == standing(taking) and "open" not in shut.as_line()
