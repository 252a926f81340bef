"""How far a first push is, and when it will be done, from what each night sent."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.host.long_push import LongPush, find_long_push
from ebbtide_agent.report import COMPLETE, FAILED, PARTIAL, WITH_WARNINGS, Report
from tests.unit.agent.test_survey import A_REPORT

FIRST = datetime(2026, 11, 23, 5, 59, tzinfo=UTC)
GIB = 1 << 30


def nights(*sent: int, total: int = 100 * GIB, status: str = PARTIAL, exit_code: int = 12) -> list[Report]:
    """One night after the other, each cut off."""
    return [
        replace(
            A_REPORT,
            status=status,
            exit_code=exit_code,
            bytes_sent=each,
            bytes_total=total,
            finished=FIRST + timedelta(days=number),
        )
        for number, each in enumerate(sent)
    ]


def test_it_is_done_when_nights_like_these_have_sent_the_rest() -> None:
    push = find_long_push(nights(20 * GIB, 30 * GIB))

    assert push == LongPush(2, 50 * GIB, 100 * GIB, date(2026, 11, 26))
    assert push.percent == 50


def test_only_what_was_sent_since_a_complete_night_counts() -> None:
    push = find_long_push([*nights(60 * GIB), *nights(100 * GIB, status=COMPLETE), *nights(10 * GIB)])

    assert push and (push.nights, push.percent) == (1, 10)


def test_a_night_that_failed_between_them_makes_it_slower() -> None:
    one, two = nights(20 * GIB, 20 * GIB)

    push = find_long_push([one, replace(one, status=FAILED, bytes_sent=0, exit_code=1), two])

    assert push and (push.nights, push.done_by) == (3, date(2026, 11, 24) + timedelta(days=5))


def test_where_nothing_was_sent_nobody_knows_when() -> None:
    push = find_long_push(nights(0))

    assert push and (push.percent, push.done_by) == (0, None)


@pytest.mark.parametrize(
    "past",
    [
        [],
        nights(GIB, status=COMPLETE, exit_code=0),
        nights(GIB, status=WITH_WARNINGS, exit_code=24),
        nights(GIB, exit_code=23),
        nights(GIB, status=FAILED),
        nights(GIB, total=0),
    ],
    ids=["no night", "complete", "with warnings", "unreadable files", "failed", "an unknown size"],
)
def test_what_was_not_cut_off_is_no_long_push(past: Sequence[Report]) -> None:
    assert find_long_push(past) is None


@given(some.lists(some.integers(0, 200 * GIB), min_size=1, max_size=40), some.integers(1, 100 * GIB))
def test_it_is_never_done_before_it_is_and_always_some_day(sent: Sequence[int], total: int) -> None:
    past = nights(*sent, total=total)

    push = find_long_push(past)

    assert push and 0 <= push.percent <= 99
    assert 0 <= push.sent <= push.total
    assert (push.done_by is None) == (sum(sent) * 3650 < (total - sum(sent)) * len(sent))
    assert push.done_by is None or push.done_by > past[-1].finished.date()
