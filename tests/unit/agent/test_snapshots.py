"""Names of snapshots: found among anything, given in order whatever the clock says, and never the newest one let go."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.snapshots import expire, find, moment_of, name_next

NOW = datetime(2026, 11, 23, 2, 12, 30, tzinfo=UTC)
_MOMENTS = some.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=some.just(UTC))


def named(moments: list[datetime]) -> tuple[str, ...]:
    """The snapshots of nights that ended at these moments, in the order in which they were made."""
    names: tuple[str, ...] = ()
    for moment in moments:
        names = (*names, name_next(moment, names))
    return names


_SNAPSHOTS = some.lists(_MOMENTS, max_size=20).map(named)


def test_a_name_is_the_moment_to_the_second() -> None:
    assert name_next(NOW, ()) == "2026-11-23T02-12-30Z"
    assert moment_of("2026-11-23T02-12-30Z") == NOW


def test_only_what_is_named_like_a_snapshot_is_one() -> None:
    others = [".incomplete", ".expired", "lost+found", "ebbtide.json", "2026-11-23", "2026-13-23T02-12-30Z",
              "2026-11-23T02-12-30Z.old", "2026-11-23T02-12-30Z\n", "٢٠٢٦-11-23T02-12-30Z"]  # fmt: skip

    assert find([*others, "2026-11-24T02-00-00Z", "2026-11-23T02-12-30Z"]) == (
        "2026-11-23T02-12-30Z",
        "2026-11-24T02-00-00Z",
    )


@given(_SNAPSHOTS, _MOMENTS)
def test_the_next_one_is_the_newest_whatever_the_clock_says(snapshots: tuple[str, ...], now: datetime) -> None:
    name = name_next(now, snapshots)

    assert find([name, *reversed(snapshots)]) == (*snapshots, name)
    assert moment_of(name) >= now.replace(microsecond=0)


@given(_SNAPSHOTS, some.integers(-1, 30))
def test_what_goes_and_what_stays_are_all_there_were_and_the_newest_stays(
    snapshots: tuple[str, ...], keep: int
) -> None:
    gone = expire(snapshots, keep)
    stay = snapshots[len(gone) :]

    assert (*gone, *stay) == snapshots
    assert len(stay) == min(len(snapshots), max(keep, 1))
    assert expire(stay, keep) == ()


@given(_SNAPSHOTS, some.integers(1, 30))
def test_to_keep_more_lets_none_go_that_stayed(snapshots: tuple[str, ...], keep: int) -> None:
    assert set(expire(snapshots, keep + 1)) <= set(expire(snapshots, keep))


def test_a_clock_that_was_set_back_costs_a_second() -> None:
    assert name_next(NOW - timedelta(days=1), ("2026-11-23T02-12-30Z",)) == "2026-11-23T02-12-31Z"
