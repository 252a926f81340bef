"""What lacks its copy is remembered from one look to the next, and is told when it should no longer lack it."""

from datetime import timedelta

from chalicelib.core.copy_watch import (
    FAILURES_TOLD,
    MOST_REMEMBERED,
    OVERDUE,
    is_unseen_for_long,
    laggards,
    seen,
    unseen,
)
from chalicelib.core.copying import CopyFailure
from chalicelib.core.model import Copying, Uncopied
from tests.builders import a_moment, a_run_id, a_snapshot

THERE = "eu-central-1"
NOW = a_moment(5)
A_TICK = timedelta(minutes=5)
NIGHT = a_snapshot("snap-23")
A_FAILURE = CopyFailure("snap-23", 1, "the key is disabled")


def late(copying: Copying, after: timedelta) -> list[str]:
    return [each.snapshot_id for each in laggards(copying, NOW + after)]


def test_a_snapshot_lacks_its_copy_since_the_first_look_that_saw_it() -> None:
    first = seen(THERE, [NIGHT], [], None, NOW)

    second = seen(THERE, [NIGHT, a_snapshot("snap-24", a_run_id(24))], [], first, NOW + A_TICK)

    assert [(each.snapshot_id, each.run, each.since) for each in second.uncopied] == [
        ("snap-23", "main/2026-11-23/1", NOW),
        ("snap-24", "main/2026-11-24/1", NOW + A_TICK),
    ]


def test_it_is_late_after_a_day_whatever_keeps_it() -> None:
    copying = seen(THERE, [NIGHT], [], None, NOW)

    assert (late(copying, OVERDUE), late(copying, OVERDUE + A_TICK)) == ([], ["snap-23"])


def test_once_it_is_copied_it_is_late_no_more_and_counts_anew_if_it_ever_lacks_it_again() -> None:
    first = seen(THERE, [NIGHT], [], None, NOW)
    copied = seen(THERE, [], [], first, NOW + A_TICK)

    again = seen(THERE, [NIGHT], [], copied, NOW + OVERDUE)

    assert (late(copied, 2 * OVERDUE), late(again, OVERDUE + A_TICK)) == ([], [])


def test_the_first_failure_wakes_nobody_and_the_second_does() -> None:
    once, twice = (seen(THERE, [NIGHT], [CopyFailure("snap-23", n, "no key")], None, NOW) for n in (1, FAILURES_TOLD))

    assert (late(once, A_TICK), late(twice, A_TICK)) == ([], ["snap-23"])


def test_what_fails_is_told_before_what_only_waits() -> None:
    waiting = [a_snapshot(f"snap-{day}", a_run_id(day)) for day in (20, 21)]

    copying = seen(THERE, [*waiting, NIGHT], [A_FAILURE], None, NOW)

    assert copying.uncopied[0] == Uncopied("snap-23", "main/2026-11-23/1", NOW, 1, "the key is disabled")


def test_a_look_that_failed_forgets_nothing_and_says_why() -> None:
    before = seen(THERE, [NIGHT], [], None, NOW)

    copying = unseen(THERE, "no answer", before, NOW + OVERDUE + A_TICK)

    assert (copying.seen, copying.blind) == (NOW, "no answer")
    assert late(copying, OVERDUE + A_TICK) == ["snap-23"]


def test_it_is_told_that_nobody_looked_for_a_day_also_when_nobody_ever_could() -> None:
    looked = unseen(THERE, "no answer", None, NOW)
    again = unseen(THERE, "no answer", looked, NOW + OVERDUE)

    assert not is_unseen_for_long(again, NOW + OVERDUE)
    assert is_unseen_for_long(again, NOW + OVERDUE + A_TICK)


def test_a_look_that_succeeds_is_blind_no_more() -> None:
    assert seen(THERE, [], [], unseen(THERE, "no answer", None, NOW), NOW).blind is None


def test_however_many_lack_their_copies_the_record_fits_into_one_item() -> None:
    """At DynamoDB's most of 400 KB."""
    many = [a_snapshot(f"snap-{number:017}", a_run_id(23)) for number in range(MOST_REMEMBERED + 100)]
    failing = [CopyFailure(each.id, 3, "x" * 10_000) for each in many]

    copying = seen(THERE, many, failing, None, NOW)

    assert len(copying.uncopied) == MOST_REMEMBERED
    assert len(repr(copying)) < 300_000
