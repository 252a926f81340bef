"""Which copies of a vault EBS locks, and when: every law, on values."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.copying import as_taken, copy_tags
from chalicelib.core.locking import A_WEEK, not_yet_for_good, plan_locks
from chalicelib.core.model import Snapshot, SnapshotLock
from tests.builders import a_moment, a_run_id, a_snapshot

HERE = "us-east-1"
Night = tuple[int, int, tuple[str, ...], str]


def a_copy(
    day: int, complete: tuple[str, ...] = ("us0a",), minute: int = 0, state: str = "completed", damaged: bool = False
) -> Snapshot:
    """Copied all at once, long after the nights."""
    source = a_snapshot(f"snap-{day:02}", a_run_id(day), complete)
    taken = datetime.combine(source.started.date(), time(3, minute), UTC)
    tagged = copy_tags(source, HERE) | {tags.TAKEN: taken.isoformat()} | ({tags.DAMAGED: "yes"} if damaged else {})
    return Snapshot(f"copy-{day:02}", state, a_moment(12, day=30), "vol-ffffffff", 80, 100, tagged)


def a_lock(of: str, state: str = "compliance", days: int = 30) -> SnapshotLock:
    return SnapshotLock(of, state, a_moment(day=30), days, a_moment(12))


def nightly(nights: Iterable[Snapshot]) -> list[str]:
    """What is locked in the end when one night after the other is copied, and looked at twice."""
    copies: list[Snapshot] = []
    locks: list[SnapshotLock] = []
    for copy in nights:
        copies.append(copy)
        for _ in range(2):
            locks += [a_lock(each) for each in plan_locks(copies, locks)]
    return [lock.snapshot_id for lock in locks]


def test_the_first_copy_is_locked_and_from_then_on_one_a_week() -> None:
    assert nightly(a_copy(day) for day in range(1, 24)) == ["copy-01", "copy-08", "copy-15", "copy-22"]


def test_a_night_that_is_done_a_little_earlier_makes_it_no_day_later() -> None:
    assert nightly(a_copy(day, minute=60 - 2 * day) for day in range(1, 24)) == [
        "copy-01",
        "copy-08",
        "copy-15",
        "copy-22",
    ]


def test_a_host_that_was_not_complete_that_night_has_the_next_one_locked_that_it_is_in() -> None:
    both, one = ("eu0a", "us0a"), ("us0a",)

    assert nightly([a_copy(1, both), *(a_copy(day, one) for day in range(2, 11)), a_copy(11, both)]) == [
        "copy-01",
        "copy-08",
        "copy-11",
    ]


def test_what_is_not_complete_or_is_damaged_is_locked_for_nobody() -> None:
    unfit = [a_copy(3, state="pending"), a_copy(4, state="error"), a_copy(5, damaged=True), a_copy(6, complete=())]

    assert plan_locks(unfit, ()) == ()
    assert plan_locks([a_copy(2), *unfit], ()) == ("copy-02",)


def test_the_last_copy_of_a_host_that_is_no_more_is_not_locked_over_and_over() -> None:
    assert plan_locks([a_copy(1)], [a_lock("copy-01", "expired")]) == ()


def test_only_locks_that_can_be_taken_back_and_outlast_all_that_cannot_are_new_to_anybody() -> None:
    month, year = a_lock("copy-08", "compliance-cooloff", 30), a_lock("copy-15", "compliance-cooloff", 365)

    assert not_yet_for_good([month]) == (month,)
    assert not_yet_for_good([a_lock("copy-01"), month, year]) == (year,)
    assert not_yet_for_good([a_lock("copy-01", "expired", 365), year]) == ()


# -- laws -------------------------------------------------------------------------------------------------------------

NIGHTS = some.lists(
    some.tuples(
        some.integers(1, 29),
        some.integers(0, 59),
        some.sampled_from([("us0a",), ("eu0a",), ("eu0a", "us0a"), ()]),
        some.sampled_from(["completed", "completed", "completed", "pending", "error"]),
    ),
    max_size=29,
    unique_by=lambda night: night[0],
)


@given(NIGHTS, some.randoms(use_true_random=False))
def test_every_host_has_one_locked_of_the_week_before_its_newest_and_a_second_look_locks_nothing(
    nights: Sequence[Night], chance: object
) -> None:
    copies = [a_copy(day, hosts, minute, state) for day, minute, hosts, state in nights]
    before = [a_lock(each.id) for each in chance.sample(copies, len(copies) // 3)]  # type: ignore[attr-defined]

    due = plan_locks(chance.sample(copies, len(copies)), before)  # type: ignore[attr-defined]

    locks = [*before, *map(a_lock, due)]
    assert due == plan_locks(copies, before)
    assert plan_locks(copies, locks) == ()
    points = [point for copy in copies for point in points_in(as_taken(copy))]
    locked = {lock.snapshot_id for lock in locks}
    for newest in {point.host_id: point for point in sorted(points, key=lambda each: each.at)}.values():
        mine = [point.at for point in points if point.host_id == newest.host_id and point.snapshot_id in locked]
        assert newest.at - max(mine) < A_WEEK
    assert {each.snapshot_id for each in points} >= {*due}


@given(NIGHTS)
def test_of_one_host_no_two_nights_of_a_week_are_locked(nights: Sequence[Night]) -> None:
    copies = [a_copy(day, minute=minute, state=state) for day, minute, _, state in sorted(nights)]
    taken = {copy.id: as_taken(copy).started for copy in copies}

    locked = [taken[each] for each in nightly(copies)]

    gaps = [later - earlier for earlier, later in pairwise(locked)]
    assert all(gap > timedelta(days=6) for gap in gaps)
