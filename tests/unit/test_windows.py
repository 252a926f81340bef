"""Windows: one a local date, in any zone and year, whatever the clocks do that night."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.model import RunState
from chalicelib.core.night import GRACE
from chalicelib.core.policy import ReceiverPolicy, VolumePolicy
from chalicelib.core.windows import CATCH_UP, LONGEST, SHORTEST, due, length_of, nights_had, window_from, window_on
from tests.builders import a_run, a_run_id

DAY = date(2026, 11, 23)
EARLIER_RUN = DAY - timedelta(days=1)


def a_receiver(window: str = "02:00-06:00", timezone: str = "UTC") -> ReceiverPolicy:
    start, end = (time.fromisoformat(text) for text in window.split("-"))
    receiver = ReceiverPolicy(
        "main", start, end, timezone, "backup.example.org", "route53", ("198.51.100.0/24",), ("t4g.small",),
        VolumePolicy(80), ("us0",),
    )  # fmt: skip
    return replace(receiver, timezone=timezone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


zones = st.sampled_from(sorted(zone for zone in available_timezones() if "/" in zone))
minutes = st.times().map(lambda at: at.replace(second=0, microsecond=0))
# From 2015 on every change of a clock leaves each local date at least some of its hours.
days = st.dates(date(2015, 1, 1), date(2037, 12, 30))
receivers = (
    st.tuples(minutes, minutes)
    .filter(lambda pair: pair[0] != pair[1])
    .flatmap(lambda pair: st.builds(lambda zone: replace(a_receiver(timezone=zone), start=pair[0], end=pair[1]), zones))
)


@pytest.mark.parametrize(
    ("window", "zone", "day", "opens", "deadline"),
    [
        ("02:00-06:00", "Europe/London", "2026-11-23", "2026-11-23T02:00", "2026-11-23T06:00"),
        ("02:00-06:00", "Europe/London", "2026-07-01", "2026-07-01T01:00", "2026-07-01T05:00"),
        ("22:30-04:00", "America/New_York", "2026-12-31", "2027-01-01T03:30", "2027-01-01T09:00"),
        # Spring: 01:00 to 02:00 does not happen in London on 29 March 2026.
        ("01:30-05:00", "Europe/London", "2026-03-29", "2026-03-29T01:00", "2026-03-29T04:00"),
        ("00:30-01:30", "Europe/London", "2026-03-29", "2026-03-29T00:30", "2026-03-29T01:00"),
        ("01:10-01:50", "Europe/London", "2026-03-29", "2026-03-29T01:00", "2026-03-29T01:40"),
        # Autumn: 01:00 to 02:00 happens twice on 25 October 2026; the first one counts.
        ("01:30-05:00", "Europe/London", "2026-10-25", "2026-10-25T00:30", "2026-10-25T05:00"),
        ("00:30-01:30", "Europe/London", "2026-10-25", "2026-10-24T23:30", "2026-10-25T00:30"),
        # Half an hour's change, and a gap at midnight itself.
        ("02:15-06:00", "Australia/Lord_Howe", "2026-10-04", "2026-10-03T15:30", "2026-10-03T19:00"),
        ("00:00-04:00", "America/Santiago", "2026-09-06", "2026-09-06T04:00", "2026-09-06T07:00"),
    ],
)
def test_local_hours_become_these_instants(window: str, zone: str, day: str, opens: str, deadline: str) -> None:
    found = window_on(a_receiver(window, zone), date.fromisoformat(day))

    assert (found.opens, found.deadline) == (utc(opens), utc(deadline))


@given(receivers, days)
def test_a_window_ends_after_it_opens_and_within_a_day_and_a_change_of_clocks(
    receiver: ReceiverPolicy, day: date
) -> None:
    window = window_on(receiver, day)

    assert timedelta(0) < window.deadline - window.opens <= timedelta(hours=27)
    assert window.opens.tzinfo is UTC
    assert window.deadline.tzinfo is UTC


@given(receivers, days)
def test_a_window_opens_on_its_own_local_date_and_before_the_next_days(receiver: ReceiverPolicy, day: date) -> None:
    window, next_window = window_on(receiver, day), window_on(receiver, day + timedelta(days=1))

    assert window.opens.astimezone(ZoneInfo(receiver.timezone)).date() == day
    assert window.opens < next_window.opens


@given(receivers, days)
def test_a_window_opens_at_the_time_of_the_policy_or_just_after_a_gap(receiver: ReceiverPolicy, day: date) -> None:
    local = window_on(receiver, day).opens.astimezone(ZoneInfo(receiver.timezone))

    shown = local.replace(tzinfo=None)
    wanted = datetime.combine(day, receiver.start)
    minute_before = (local.astimezone(UTC) - timedelta(minutes=1)).astimezone(local.tzinfo).replace(tzinfo=None)
    assert shown == wanted or minute_before < wanted < shown


@given(receivers, days)
def test_every_date_has_its_window_due_once_when_it_opens(receiver: ReceiverPolicy, day: date) -> None:
    window = window_on(receiver, day)
    yesterday = day - timedelta(days=1)

    assert due(receiver, window.opens, {yesterday}) == window
    assert due(receiver, window.opens, {yesterday, day}) is None


fit_receivers = receivers.filter(lambda each: SHORTEST <= length_of(each.start, each.end) <= LONGEST)


@given(receivers, days)
def test_the_windows_of_two_dates_in_a_row_do_not_overlap(receiver: ReceiverPolicy, day: date) -> None:
    assert window_on(receiver, day).deadline <= window_on(receiver, day + timedelta(days=1)).opens


@given(fit_receivers, days)
def test_a_receiver_that_uses_its_grace_is_gone_before_its_next_window(receiver: ReceiverPolicy, day: date) -> None:
    assert window_on(receiver, day).deadline + GRACE <= window_on(receiver, day + timedelta(days=1)).opens


@given(fit_receivers, days)
def test_two_windows_at_the_change_of_clocks_are_hours_apart_on_the_clock(receiver: ReceiverPolicy, day: date) -> None:
    opens = [window_on(receiver, day + timedelta(days=later)).opens for later in (0, 1)]

    assert timedelta(hours=21) < opens[1] - opens[0] < timedelta(hours=27)


@settings(max_examples=30, deadline=None)
@given(receivers, days, st.integers(0, 299))
def test_with_a_tick_every_five_minutes_no_date_is_skipped_and_none_comes_twice(
    receiver: ReceiverPolicy, day: date, second: int
) -> None:
    now, opened = window_on(receiver, day).opens + timedelta(seconds=second), [day - timedelta(days=1)]
    end = window_on(receiver, day + timedelta(days=3)).opens + timedelta(minutes=10)

    while now < end:
        if window := due(receiver, now, opened):
            assert now - window.opens < timedelta(minutes=5)
            opened.append(window.day)
        now += timedelta(minutes=5)

    assert opened == [day + timedelta(days=later) for later in (-1, 0, 1, 2, 3)]


@pytest.mark.parametrize("day", [date(2028, 2, 28), date(2028, 2, 29), date(2027, 2, 28), date(2027, 12, 31)])
def test_leap_days_and_the_turn_of_the_year_have_their_window(day: date) -> None:
    over_midnight = a_receiver("22:00-04:00")

    window = window_on(over_midnight, day)

    assert due(over_midnight, window.opens + timedelta(hours=3), {day - timedelta(days=1)}) == window
    assert window.deadline.date() == day + timedelta(days=1)


def test_the_night_of_a_window_begun_by_hand_is_the_windows_own() -> None:
    over_midnight = a_receiver("22:00-04:00")

    inside, outside = (window_from(over_midnight, utc(f"2026-11-24T0{hour}:00")) for hour in (1, 9))

    assert (inside.day, inside.opens, inside.deadline) == (DAY, utc("2026-11-24T01:00"), utc("2026-11-24T07:00"))
    assert (outside.day, outside.opens) == (date(2026, 11, 24), utc("2026-11-24T09:00"))


HAND_BEGUN = {
    "and closed before the window": ("2026-11-23T00:30", "2026-11-23T01:30", frozenset()),
    "and closed within it, with time left": ("2026-11-23T01:00", "2026-11-23T05:00", frozenset()),
    "and closed after its deadline": ("2026-11-23T01:00", "2026-11-23T06:10", frozenset({DAY})),
    "inside it": ("2026-11-23T02:30", "2026-11-23T03:00", frozenset({DAY})),
    "after it": ("2026-11-23T09:00", "2026-11-23T10:00", frozenset({DAY})),
}


@pytest.mark.parametrize("case", HAND_BEGUN)
def test_a_run_begun_by_hand_stands_for_the_night_or_does_not(case: str) -> None:
    opened, closed, nights = HAND_BEGUN[case]
    run = replace(a_run(a_run_id(23), state=RunState.DONE), opened=utc(opened), closed=utc(closed))

    assert nights_had(a_receiver(), [run]) == nights


def test_a_run_begun_by_hand_the_evening_before_may_stand_for_the_next_date() -> None:
    receiver = a_receiver("00:10-04:00")
    run = replace(
        a_run(a_run_id(23), state=RunState.DONE), opened=utc("2026-11-23T23:50"), closed=utc("2026-11-24T04:30")
    )

    assert date(2026, 11, 24) in nights_had(receiver, [run])


@given(receivers, days, st.lists(st.integers(1, 600), min_size=1, max_size=60))
def test_however_irregular_the_ticks_a_date_is_never_opened_twice(
    receiver: ReceiverPolicy, day: date, gaps: list[int]
) -> None:
    now, opened = window_on(receiver, day).opens, [day - timedelta(days=1)]

    for gap in gaps:
        window = due(receiver, now, opened)
        if window is not None:
            opened.append(window.day)
            assert window.opens <= now
        now += timedelta(minutes=gap)

    assert opened == sorted(set(opened))


def test_nothing_is_due_before_the_window_opens() -> None:
    assert due(a_receiver(), utc("2026-11-23T01:59"), {date(2026, 11, 22)}) is None


def test_a_late_tick_still_opens_the_window() -> None:
    found = due(a_receiver(), utc("2026-11-23T05:00"), {EARLIER_RUN})

    assert found == window_on(a_receiver(), DAY)


def test_a_missed_night_is_opened_up_to_six_hours_after_its_deadline_to_be_recorded() -> None:
    deadline = window_on(a_receiver(), DAY).deadline

    assert due(a_receiver(), deadline + CATCH_UP - timedelta(seconds=1), {EARLIER_RUN}) is not None
    assert due(a_receiver(), deadline + CATCH_UP, {EARLIER_RUN}) is None


def test_a_new_receiver_is_not_blamed_for_the_night_before_it_existed() -> None:
    assert due(a_receiver(), utc("2026-11-23T07:00"), ()) is None
    assert due(a_receiver(), utc("2026-11-23T05:00"), ()) is not None


def test_a_window_over_midnight_belongs_to_the_date_it_opens_on() -> None:
    found = due(a_receiver("22:00-04:00"), utc("2026-11-24T01:00"), {EARLIER_RUN})

    assert found is not None
    assert found.day == DAY


def test_once_the_next_window_has_begun_the_missed_one_is_past() -> None:
    all_day = a_receiver("02:00-01:00")

    found = due(all_day, utc("2026-11-24T02:00"), {EARLIER_RUN})

    assert found == window_on(all_day, date(2026, 11, 24))
