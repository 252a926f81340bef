"""Which night a hello begins on a peer, and which snapshots go: values in, values out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.errors import Refused
from ebbtide_agent.peer.night import MOST_A_DAY, Night, night_of_hello
from ebbtide_agent.snapshots import FAR_AHEAD, date_anew, expire_days, find, moment_of

NOW = datetime(2026, 11, 26, 2, 10, tzinfo=UTC)
LAST = Night("peer/2026-11-26/1", "its nonce", NOW)
_MOMENTS = some.datetimes(datetime(2026, 1, 1), datetime(2026, 2, 1), timezones=some.just(UTC))
_SNAPSHOTS = some.lists(_MOMENTS, max_size=30).map(lambda found: find({f"{at:%Y-%m-%dT%H-%M-%SZ}" for at in found}))


def test_the_first_hello_of_a_day_begins_its_first_night() -> None:
    night = night_of_hello(None, False, (), NOW, "new")

    assert night == Night("peer/2026-11-26/1", "new", NOW)
    assert night.deadline == NOW + timedelta(hours=24)


def test_a_hello_after_a_push_begins_another_night_with_another_nonce() -> None:
    night = night_of_hello(LAST, True, (), NOW + timedelta(minutes=5), "new")

    assert (night.run, night.nonce) == ("peer/2026-11-26/2", "new")


def test_a_second_hello_at_once_is_of_the_same_night() -> None:
    assert night_of_hello(LAST, False, (), NOW + timedelta(minutes=5), "new") == LAST


@pytest.mark.parametrize("later", [timedelta(hours=24), timedelta(days=-3)])
def test_a_hello_that_led_to_nothing_is_not_waited_for_whatever_the_clock_says(later: timedelta) -> None:
    assert night_of_hello(LAST, False, (), NOW + later, "new").nonce == "new"


def test_a_run_that_was_recorded_is_never_begun_again() -> None:
    runs = ("peer/2026-11-26/3", "peer/2026-11-25/9", "peer/2026-11-26/2")

    assert night_of_hello(LAST, True, runs, NOW, "new").run == "peer/2026-11-26/4"


def test_a_key_begins_only_so_many_nights_a_day() -> None:
    last = Night(f"peer/2026-11-26/{MOST_A_DAY}", "n", NOW)

    with pytest.raises(Refused, match="no more in a day"):
        night_of_hello(last, True, (), NOW, "new")
    assert night_of_hello(last, True, (), NOW + timedelta(days=1), "new").run == "peer/2026-11-27/1"


def test_all_of_the_last_days_stay() -> None:
    names = ("2026-11-21T02-00-00Z", "2026-11-23T02-00-00Z", "2026-11-23T12-00-00Z", "2026-11-26T02-00-00Z")

    assert expire_days(names, 2) == names[:1]
    assert expire_days(names, 1) == names[:3]
    assert expire_days(names, 0) == names[:3]


@given(_SNAPSHOTS, some.integers(1, 30), _MOMENTS)
def test_many_in_a_day_let_go_no_more_than_one_would(snapshots: tuple[str, ...], days: int, at: datetime) -> None:
    """Whoever has taken a host over can push as often as he likes, and begins no day of ours."""
    one = f"{at:%Y-%m-%d}T00-00-00Z"
    many = [f"{at:%Y-%m-%d}T{hour:02}-00-00Z" for hour in range(24)]
    with_one, with_many = find({*snapshots, one}), find({*snapshots, one, *many})

    gone = set(expire_days(with_many, days)) & set(with_one)

    assert gone == set(expire_days(with_one, days))


@given(_SNAPSHOTS, some.integers(-1, 30))
def test_the_newest_stays_and_what_stays_is_the_newest(snapshots: tuple[str, ...], days: int) -> None:
    gone = expire_days(snapshots, days)
    stay = snapshots[len(gone) :]

    assert (*gone, *stay) == snapshots
    assert bool(stay) == bool(snapshots)
    assert len({name[:10] for name in stay}) <= max(days, 1)
    assert expire_days(stay, days) == ()


@given(_SNAPSHOTS, _MOMENTS)
def test_what_is_dated_anew_keeps_its_order_and_lies_in_the_past(snapshots: tuple[str, ...], latest: datetime) -> None:
    limit = latest + FAR_AHEAD
    renamed = dict(date_anew(snapshots, latest))

    after_it = [renamed.get(name, name) for name in snapshots]

    assert after_it == sorted(set(after_it)) and len(after_it) == len(snapshots)
    assert all(name in renamed for name in snapshots if moment_of(name) > limit)
    assert all(moment_of(name) > limit and renamed[name] < name for name in renamed)
    sound = [moment_of(name) for name in snapshots if name not in renamed]
    assert all(
        moment_of(right) < max([latest, *(at + timedelta(minutes=1) for at in sound)]) for right in renamed.values()
    )
