"""Which night is due: from its minute on, once, whatever the clocks do and whatever a wrong one has left behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbtide_agent.host.due import MOST_ANEW, Past, Times, is_due, is_given_up
from ebbtide_agent.host.schedule import DAY_MINUTES

LONDON = ZoneInfo("Europe/London")
AT_0230 = Times(LONDON, 2 * 60 + 30)
IN_THE_WINDOW = replace(AT_0230, end=6 * 60)
OVER_MIDNIGHT = Times(LONDON, 23 * 60 + 30, end=60)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def at(hour: int, minute: int = 0, day: int = 23, month: int = 11, fold: int = 0) -> datetime:
    """A moment, by the clocks of London."""
    return datetime(2026, month, day, hour, minute, tzinfo=LONDON, fold=fold).astimezone(UTC)


def a_past(begun: datetime | None, **other: object) -> Past:
    usual = Past(scheduled=LONG_AGO, begun=begun, unended=(), booted=LONG_AGO)
    return replace(usual, **other)  # type: ignore[arg-type]


LAST_NIGHT = a_past(at(2, 30, day=22))


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (at(2, 29), False),
        (at(2, 30), True),
        (at(14), True),
        (at(2, 29, day=24), True),
        (at(2, 30, day=27), True),
    ],
)
def test_a_night_is_due_from_its_minute_on_until_a_run_has_begun(now: datetime, due: bool) -> None:
    assert is_due(AT_0230, LAST_NIGHT, now) == due


@pytest.mark.parametrize("begun", [at(2, 30), at(9, 17)])
def test_one_that_was_begun_is_not_begun_again_however_it_ended(begun: datetime) -> None:
    assert not is_due(AT_0230, a_past(begun), at(14))
    assert is_due(AT_0230, a_past(begun), at(2, 30, day=24))


def test_a_run_by_hand_before_the_minute_is_not_the_nights() -> None:
    assert is_due(AT_0230, a_past(at(2, 10)), at(2, 30))


@pytest.mark.parametrize(("now", "due"), [(at(2, 30), True), (at(5, 59), True), (at(6), False), (at(2, 29), False)])
def test_a_receiver_is_there_until_the_end_of_its_window(now: datetime, due: bool) -> None:
    assert is_due(IN_THE_WINDOW, LAST_NIGHT, now) == due


@pytest.mark.parametrize(
    ("now", "due"),
    [(at(23, 29), False), (at(23, 30), True), (at(0, 30, day=24), True), (at(1, day=24), False)],
)
def test_a_window_may_go_over_midnight(now: datetime, due: bool) -> None:
    assert is_due(OVER_MIDNIGHT, a_past(at(23, 30, day=22)), now) == due


def test_on_a_host_that_never_ran_no_night_before_the_schedule_was_made_is_due() -> None:
    installed = a_past(None, scheduled=at(14))

    assert not is_due(AT_0230, installed, at(15))
    assert is_due(AT_0230, installed, at(2, 30, day=24))


@pytest.mark.parametrize(
    ("never_ended", "booted", "due"),
    [(True, at(4), True), (False, at(4), False), (True, at(2), False)],
    ids=["the machine went down", "it had ended", "somebody ended it"],
)
def test_a_night_that_went_down_with_its_machine_is_begun_anew(never_ended: bool, booted: datetime, due: bool) -> None:
    past = a_past(at(2, 30), unended=(at(2, 30),) if never_ended else (), booted=booted)

    assert is_due(AT_0230, past, at(4, 30)) == due
    assert not is_due(IN_THE_WINDOW, past, at(6, 30))


def test_one_that_goes_down_each_time_is_begun_anew_twice_and_then_left_until_the_next_night() -> None:
    runs: tuple[datetime, ...] = ()
    due, given_up = [], []
    for hour in range(2, 8):
        now = at(hour, 30)
        past = a_past(runs[-1] if runs else at(2, 30, day=22), unended=runs, booted=now - timedelta(minutes=10))
        due.append(is_due(AT_0230, past, now))
        given_up.append(is_given_up(AT_0230, past, now))
        runs = (*runs, now) if due[-1] else runs

    assert due == [True] * (1 + MOST_ANEW) + [False] * 3
    assert given_up == [not each for each in due]
    tomorrow = a_past(runs[-1], unended=runs, booted=at(7))
    assert is_due(AT_0230, tomorrow, at(2, 30, day=24)) and not is_given_up(AT_0230, tomorrow, at(2, 30, day=24))


def test_what_went_down_in_other_nights_does_not_count() -> None:
    earlier = tuple(at(hour, 30, day=22) for hour in (2, 3, 4))

    assert is_due(AT_0230, a_past(at(2, 30), unended=(*earlier, at(2, 30)), booted=at(4)), at(4, 30))


def test_a_night_that_ended_or_was_ended_is_none_that_was_given_up() -> None:
    runs = tuple(at(hour, 30) for hour in (2, 3, 4))

    assert not is_given_up(AT_0230, a_past(runs[-1], unended=runs, booted=at(4)), at(5, 30))
    assert not is_given_up(AT_0230, a_past(at(5), unended=(), booted=at(5, 10)), at(5, 30))


SKIPPED = Times(LONDON, 60 + 30)


@pytest.mark.parametrize(
    ("times", "begun", "now", "due"),
    [
        (SKIPPED, at(1, 30, 28, 3), at(0, 59, 29, 3), False),
        (SKIPPED, at(1, 30, 28, 3), at(2, 30, 29, 3), True),
        (SKIPPED, at(2, 0, 29, 3), at(3, 30, 29, 3), False),
        (replace(SKIPPED, end=4 * 60), at(1, 30, 28, 3), at(3, 59, 29, 3), True),
        (replace(SKIPPED, end=4 * 60), at(1, 30, 28, 3), at(4, 0, 29, 3), False),
    ],
    ids=["before", "after", "cron has started what was skipped", "window", "window over"],
)
def test_a_minute_that_the_clocks_skip_is_due_when_they_have_gone_on(
    times: Times, begun: datetime, now: datetime, due: bool
) -> None:
    assert is_due(times, a_past(begun), now) == due


def test_a_minute_that_the_clocks_show_twice_is_one_night() -> None:
    first, second = at(1, 30, 25, 10), at(1, 30, 25, 10, fold=1)

    assert second - first == timedelta(hours=1)
    assert is_due(SKIPPED, a_past(at(1, 30, 24, 10)), first)
    assert not is_due(SKIPPED, a_past(first), second)
    assert is_due(SKIPPED, a_past(at(1, 30, 24, 10)), second)


def test_what_a_clock_that_was_ahead_has_left_holds_nothing_up() -> None:
    assert is_due(AT_0230, a_past(at(2, 30, day=25)), at(2, 30))
    assert is_due(AT_0230, a_past(None, scheduled=at(2, 30, day=25)), at(2, 30))


moments = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
times = st.builds(
    Times, st.sampled_from([LONDON, ZoneInfo("Australia/Lord_Howe"), UTC]), st.integers(0, DAY_MINUTES - 1)
)
pasts = st.builds(Past, moments, st.none() | moments, st.lists(moments, max_size=4).map(tuple), moments)


@given(times, pasts, moments)
def test_whatever_is_remembered_a_day_and_two_hours_pass_with_a_night(times: Times, past: Past, now: datetime) -> None:
    """Asked every hour, and every time that says yes a run begins: no past can keep a host from its nights."""
    hours = [now + timedelta(hours=hour) for hour in range(27)]

    begun = []
    for hour in hours:
        if is_due(times, past, hour):
            begun.append(hour)
            past = replace(past, begun=hour, unended=())

    began_just_before = past.begun is not None and past.begun <= now and now - past.begun < timedelta(hours=26)
    assert begun or began_just_before
    assert len(begun) <= 3
