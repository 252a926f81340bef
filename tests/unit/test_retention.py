"""Retention: restic's counting rules by example, and the laws that hold for any points and any rules."""

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model import RestorePoint, RunId, TreeKind
from chalicelib.core.retention import NEWEST_PROVEN, NO_RULES, Rules, retain

AUCKLAND = ZoneInfo("Pacific/Auckland")
RULES = [field.name for field in fields(Rules)]


def a_point(at: datetime, snapshot_id: str = "") -> RestorePoint:
    run = RunId("main", at.date(), 1)
    return RestorePoint("us0a", at, snapshot_id or f"snap-{at.isoformat()}", run, TreeKind.FAKE_SUPER, None)


def nights(count: int, last: date = date(2026, 11, 23)) -> list[RestorePoint]:
    """One point at three in the morning of each of the last days, the oldest first."""
    newest = datetime(last.year, last.month, last.day, 3, tzinfo=UTC)
    return [a_point(newest - timedelta(days=back)) for back in reversed(range(count))]


def days_kept(points: list[RestorePoint], rules: Rules) -> list[str]:
    return [f"{kept.point.at:%m-%d}" for kept in retain(points, rules).kept]


counts = st.integers(-1, 6)
rule_sets = st.builds(Rules, *[counts] * len(RULES))
instants = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
# Few distinct instants, so that points share hours, days and even the moment.
crowded = st.integers(0, 400).map(lambda steps: datetime(2026, 12, 20, tzinfo=UTC) + timedelta(minutes=37 * steps))
point_lists = st.lists(st.tuples(st.one_of(instants, crowded), st.booleans()), max_size=40).map(
    lambda made: [
        replace(a_point(at, f"snap-{number:03}"), proven=at if is_proven else None)
        for number, (at, is_proven) in enumerate(made)
    ]
)


def test_last_keeps_that_many_of_the_newest() -> None:
    assert days_kept(nights(10), Rules(last=3)) == ["11-23", "11-22", "11-21"]


def test_the_newest_of_a_day_is_the_one_that_is_kept() -> None:
    morning, noon, evening = (a_point(datetime(2026, 11, 23, hour, tzinfo=UTC)) for hour in (6, 12, 18))
    day_before = a_point(datetime(2026, 11, 22, 6, tzinfo=UTC))

    retention = retain([noon, evening, morning, day_before], Rules(daily=2))

    assert [kept.point for kept in retention.kept] == [evening, day_before]
    assert retention.expired == (noon, morning)


def test_only_days_with_a_point_count_so_that_missed_nights_age_nothing_out() -> None:
    points = [*nights(3, date(2026, 9, 1)), *nights(2)]

    assert days_kept(points, Rules(daily=4)) == ["11-23", "11-22", "09-01", "08-31"]


def test_weeks_are_iso_weeks_across_the_end_of_the_year() -> None:
    points = nights(11, date(2027, 1, 7))

    # 2027-01-03 is the Sunday of week 53 of 2026; 2026-12-28 is the oldest, in that same week.
    retention = retain(points, Rules(weekly=2))

    assert [f"{kept.point.at:%Y-%m-%d}" for kept in retention.kept] == ["2027-01-07", "2027-01-03"]


def test_a_rule_that_is_not_yet_satisfied_keeps_the_oldest_too() -> None:
    retention = retain(nights(10), Rules(monthly=6))

    assert [(f"{kept.point.at:%m-%d}", kept.reasons) for kept in retention.kept] == [
        ("11-23", ("monthly snapshot",)),
        ("11-14", ("oldest monthly snapshot",)),
    ]


def test_a_satisfied_rule_no_longer_keeps_the_oldest() -> None:
    assert days_kept(nights(10), Rules(daily=7))[-1] == "11-17"


def test_one_point_may_be_kept_for_many_reasons() -> None:
    (kept,) = retain(nights(1), Rules(last=1, hourly=1, daily=1, weekly=1, monthly=1, yearly=1)).kept

    assert kept.reasons == tuple(f"{rule} snapshot" for rule in RULES)


@pytest.mark.parametrize("rule", RULES)
def test_minus_one_keeps_one_of_every_bucket_however_many_there_are(rule: str) -> None:
    year_ends = [a_point(datetime(year, 12, 31, 23, tzinfo=UTC)) for year in range(1990, 2027)]

    retention = retain(year_ends, replace(Rules(), **{rule: -1}))

    assert retention.expired == ()


def test_a_leap_day_is_a_day() -> None:
    assert days_kept(nights(3, date(2028, 3, 1)), Rules(daily=3)) == ["03-01", "02-29", "02-28"]


def test_the_notes_own_rules_keep_a_week_of_dailies_and_thin_the_rest() -> None:
    kept = days_kept(nights(365), Rules(daily=7, weekly=4, monthly=6))

    assert kept == ["11-23", "11-22", "11-21", "11-20", "11-19", "11-18", "11-17",
                    "11-15", "11-08", "10-31", "09-30", "08-31", "07-31", "06-30"]  # fmt: skip


def test_a_day_is_a_day_in_utc_whatever_zone_a_point_carries() -> None:
    one_day_in_utc = [a_point(datetime(2026, 11, 23, hour, tzinfo=UTC)) for hour in (3, 18)]
    two_days_in_auckland = [replace(point, at=point.at.astimezone(AUCKLAND)) for point in one_day_in_utc]

    retention = retain([*two_days_in_auckland, *nights(1, date(2026, 11, 1))], Rules(daily=2))

    assert retention.expired == (two_days_in_auckland[0],)


@given(point_lists, rule_sets)
def test_kept_and_expired_part_the_points_and_every_kept_one_has_a_reason(
    points: list[RestorePoint], rules: Rules
) -> None:
    retention = retain(points, rules)

    kept = [each.point for each in retention.kept]
    assert sorted([*kept, *retention.expired], key=str) == sorted(points, key=str)
    assert all(each.reasons for each in retention.kept)


@given(point_lists.filter(bool), rule_sets)
def test_the_newest_is_always_kept(points: list[RestorePoint], rules: Rules) -> None:
    newest = max(point.at for point in points)

    assert newest in [kept.point.at for kept in retain(points, rules).kept]


def test_the_newest_proven_point_stays_when_the_rules_let_it_go() -> None:
    proven = [replace(point, proven=point.at) for point in nights(10)[:3]]

    retention = retain([*proven, *nights(7)], Rules(last=1))

    assert [(f"{kept.point.at:%m-%d}", kept.reasons) for kept in retention.kept] == [
        ("11-23", ("last snapshot",)),
        ("11-16", (NEWEST_PROVEN,)),
    ]


@given(point_lists.filter(lambda points: any(point.proven for point in points)), rule_sets)
def test_the_newest_proven_is_always_kept(points: list[RestorePoint], rules: Rules) -> None:
    newest = max(point.at for point in points if point.proven)

    assert newest in [kept.point.at for kept in retain(points, rules).kept if kept.point.proven]


@given(point_lists)
def test_without_rules_nothing_expires(points: list[RestorePoint]) -> None:
    retention = retain(points, Rules())

    assert retention.expired == ()
    assert all(kept.reasons[0] == NO_RULES for kept in retention.kept)


@given(point_lists, rule_sets.filter(lambda rules: not rules.are_empty), st.sampled_from(RULES), st.integers(-1, 12))
def test_a_rule_more_never_keeps_less(points: list[RestorePoint], rules: Rules, rule: str, more: int) -> None:
    given_count = getattr(rules, rule)
    wider = -1 if -1 in (given_count, more) else max(given_count, more)

    before = {kept.point for kept in retain(points, rules).kept}
    after = {kept.point for kept in retain(points, replace(rules, **{rule: wider})).kept}

    assert before <= after


@given(point_lists, rule_sets, rule_sets)
def test_with_a_floor_rules_keep_whatever_either_would(points: list[RestorePoint], rules: Rules, floor: Rules) -> None:
    with_floor = {kept.point for kept in retain(points, rules.at_least(floor)).kept}

    by_rules = {kept.point for kept in retain(points, rules).kept}
    by_floor = set() if floor.are_empty else {kept.point for kept in retain(points, floor).kept}
    assert by_rules | by_floor <= with_floor


def test_a_floor_makes_nothing_expire_that_did_not_before() -> None:
    assert Rules().at_least(Rules(daily=7)) == Rules()
    assert Rules(daily=7).at_least(Rules()) == Rules(daily=7)


@given(point_lists, rule_sets)
def test_planning_what_was_kept_again_expires_nothing(points: list[RestorePoint], rules: Rules) -> None:
    kept = [each.point for each in retain(points, rules).kept]

    assert retain(kept, rules).expired == ()


@given(st.data(), point_lists, rule_sets)
def test_the_order_of_the_points_does_not_matter(data: st.DataObject, points: list[RestorePoint], rules: Rules) -> None:
    shuffled = data.draw(st.permutations(points))

    assert retain(shuffled, rules) == retain(points, rules)


@given(point_lists, st.integers(1, 8), st.integers(1, 5))
def test_as_many_days_and_weeks_are_kept_as_there_are_up_to_the_count(
    points: list[RestorePoint], daily: int, weekly: int
) -> None:
    kept = [each.point.at for each in retain(points, Rules(daily=daily, weekly=weekly)).kept]

    days, weeks = {point.at.date() for point in points}, {point.at.isocalendar()[:2] for point in points}
    assert len({at.date() for at in kept}) >= min(daily, len(days))
    assert len({at.isocalendar()[:2] for at in kept}) >= min(weekly, len(weeks))
