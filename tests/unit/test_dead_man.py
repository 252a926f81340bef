"""When nothing is wrong someone is told so: once a week, and after each good night; otherwise what is not."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.core.advice import Kind
from chalicelib.core.alarms import Facts, Trouble
from chalicelib.core.dead_man import Ages, ages, good_night, weekly
from chalicelib.core.model import HostStatus, RecoveryKind, RecoveryState, RunState, Times
from chalicelib.core.telling import GOOD_NIGHT, WEEKLY, Told, claim
from tests.builders import (
    a_disk,
    a_moment,
    a_night,
    a_point,
    a_policy,
    a_receiver,
    a_recovery,
    a_recovery_id,
    a_run_id,
    some_facts,
)

MONDAY = a_moment(8, day=23)
PROVEN = a_point("us0a", run_id=a_run_id(22), proven=a_moment(12, day=22))
WELL = some_facts(
    a_night(23), points=(PROVEN, a_point("eu0a", run_id=a_run_id(23)), a_point("us0a", run_id=a_run_id(23)))
)
A_TROUBLE = Trouble("host/us0a", Kind.MISSED, "host us0", "host us0 was not complete", MONDAY, "missed")


def told(about: str, occurrence: str) -> dict[str, Told]:
    return {about: Told(about, occurrence, about, "", True, MONDAY, MONDAY, MONDAY, version=2)}


# -- weekly -----------------------------------------------------------------------------------------------------------


def test_the_weekly_letter_tells_what_was_backed_up_and_what_was_proven() -> None:
    message = weekly(WELL, (), {}, MONDAY)

    assert message is not None
    assert message.subject == "weekly: all is well"
    assert message.body.splitlines()[1:-1] == [
        "",
        "the last runs:",
        "  main/2026-11-23/1: done, 2 of 2 hosts complete, 2,000 bytes sent",
        "",
        "hosts:",
        "  us0: newest point 2026-11-23 03:00 UTC, proven 2026-11-22 12:00 UTC",
        "  eu0: newest point 2026-11-23 03:00 UTC, never proven",
    ]


def test_the_weekly_letter_believes_no_host_that_it_has_sent_more_than_there_is() -> None:
    (night,) = WELL.nights["main"]
    lying = tuple(replace(result, bytes_sent=10**30) for result in night.results)
    measured = replace(night, run=replace(night.run, disk=a_disk(20)), results=lying)

    message = weekly(replace(WELL, nights={"main": (measured,)}), (), {}, MONDAY)

    assert message is not None
    assert f"2 of 2 hosts complete, {20 * 2**30:,} bytes sent" in message.body


def test_the_weekly_letter_tells_what_the_latest_drill_measured() -> None:
    drill = replace(a_recovery(), times=Times(a_moment(9, 3), {"compare": 4.0}))
    silent = replace(drill, id=a_recovery_id(attempt=2), opened=a_moment(15), times=None)
    of_old = replace(drill, id=a_recovery_id(attempt=3), kind=RecoveryKind.RESTORE, opened=a_moment(16))

    message = weekly(replace(WELL, recoveries=(drill, silent, of_old)), (), {}, MONDAY)

    assert message is not None
    us0 = next(line for line in message.body.splitlines() if line.startswith("  us0: newest"))
    assert us0.endswith(", RTO 2 min 56 s, RPO 6 h 0 min (measured 2026-11-23 09:00 UTC)")


def test_the_weekly_letter_tells_what_stands_open_and_nothing_of_what_is_over_or_coming() -> None:
    standing = replace(a_recovery(RecoveryKind.OPENING), verdict="opened", address="203.0.113.9")
    coming, over = replace(standing, verdict=None), replace(standing, state=RecoveryState.DONE)

    message = weekly(replace(WELL, recoveries=(coming, standing, over)), (), {}, MONDAY)

    assert message is not None
    listed = message.body.partition("open to their hosts:\n")[2].partition("\n\n")[0]
    assert listed == "  us0 as it was 2026-11-23 03:00 UTC, at 203.0.113.9 until 2026-11-23 11:00 UTC"
    assert message.is_well


@pytest.mark.parametrize(
    ("now", "is_due"),
    [
        (a_moment(7, 59, day=23), False),
        (a_moment(8, day=23), True),
        (a_moment(9, day=29), True),
    ],
)
def test_it_is_due_on_monday_morning_and_until_it_was_told(now: datetime, is_due: bool) -> None:
    last_week = told(WEEKLY, "2026-11-16")

    assert (weekly(WELL, (), last_week, now) is not None) == is_due
    assert weekly(WELL, (), told(WEEKLY, "2026-11-23"), now + timedelta(0)) is None or not is_due


def test_a_new_deployment_gets_its_first_letter_with_its_first_closed_run() -> None:
    thursday = a_moment(9, day=26)

    assert weekly(some_facts(), (), {}, thursday) is None
    assert weekly(WELL, (), {}, thursday) is not None


def test_when_not_all_is_well_the_letter_says_what_is_not() -> None:
    facts = replace(WELL, points=(PROVEN,))

    message = weekly(facts, (A_TROUBLE,), {}, MONDAY)

    assert message is not None
    assert message.subject == "weekly: not all is well: 2 to look at"
    assert message.body.splitlines()[2:5] == [
        "what is wrong:",
        "  host us0 was not complete",
        "  host eu0 has no restore point yet",
    ]


def test_the_letter_stays_readable_whatever_the_number_of_hosts() -> None:
    names = tuple(f"h{number:04}" for number in range(1000))
    points = tuple(a_point(f"{name}a", run_id=a_run_id(23)) for name in names)
    facts = replace(WELL, policy=a_policy(hosts=names), points=points)

    message = weekly(facts, (), {}, MONDAY)

    assert message is not None
    assert "  ... and 800 more" in message.body.splitlines()


# -- after a good night -----------------------------------------------------------------------------------------------


def test_a_good_night_owes_one_ping() -> None:
    message = good_night(WELL, (), {}, MONDAY)

    assert message is not None
    assert message.occurrence == "main/2026-11-23/1"
    assert good_night(WELL, (), {GOOD_NIGHT: replace(claim(message, MONDAY), told=MONDAY)}, a_moment(8, day=29)) is None


def test_the_next_good_night_owes_another() -> None:
    assert good_night(WELL, (), told(GOOD_NIGHT, "main/2026-11-22/1"), MONDAY) is not None


@pytest.mark.parametrize("state", [RunState.DEGRADED, RunState.FAILED])
def test_a_night_that_was_not_good_owes_none(state: RunState) -> None:
    facts = some_facts(a_night(22), a_night(23, state, us0=HostStatus.MISSING, eu0=HostStatus.COMPLETE))

    assert good_night(facts, (), {}, MONDAY) is None


def test_while_anything_is_wrong_there_is_no_ping() -> None:
    assert good_night(WELL, (A_TROUBLE,), {}, MONDAY) is None


def test_before_the_first_run_there_is_no_ping() -> None:
    assert good_night(some_facts(), (), {}, MONDAY) is None


# -- how old ----------------------------------------------------------------------------------------------------------


def test_a_receiver_is_as_old_as_its_worst_host() -> None:
    facts = replace(WELL, points=(PROVEN, a_point("eu0a", run_id=a_run_id(20)), a_point("us0a", run_id=a_run_id(23))))
    now = a_moment(3, day=24)

    assert ages(facts, now) == (Ages("main", timedelta(days=4), timedelta(days=4), 0),)


def test_a_host_that_was_never_proven_counts_from_its_oldest_point() -> None:
    never = tuple(a_point("us0a", run_id=a_run_id(day)) for day in (10, 23))
    facts = replace(WELL, policy=a_policy(hosts=("us0",)), points=never)

    (found,) = ages(facts, a_moment(3, day=24))

    assert (found.newest, found.proven) == (timedelta(days=1), timedelta(days=14))


def test_hosts_without_any_point_are_counted_and_have_no_age() -> None:
    facts = Facts(policy=a_policy(), nights={}, points=())

    assert ages(facts, MONDAY) == (Ages("main", None, None, 2),)


def test_a_receiver_does_not_answer_for_the_hosts_of_another() -> None:
    policy = a_policy()
    receivers = {"main": a_receiver(hosts=("us0",)), "other": a_receiver("other", hosts=("eu0",))}

    found = ages(replace(WELL, policy=replace(policy, receivers=receivers)), a_moment(3, day=24))

    assert [(each.receiver, each.proven) for each in found] == [
        ("main", timedelta(days=2)),
        ("other", timedelta(days=1)),
    ]
