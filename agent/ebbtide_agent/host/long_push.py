"""A first push that outlasts its night: how far it is, and which night will finish it. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ebbtide_agent.host.outcome import WORTH_ANOTHER_TRY
from ebbtide_agent.report import PARTIAL, Report

# Ten years say no more than never.
_MOST_NIGHTS = 3650


@dataclass(frozen=True)
class LongPush:
    """What `nights` nights have sent of the tree, in bytes; `done_by` is the date of the last one it will take.

    That is by the average of these nights, and unknown while next to nothing was sent.
    """

    nights: int
    sent: int
    total: int
    done_by: date | None

    @property
    def percent(self) -> int:
        """Never a hundred: what is sent may have changed meanwhile, and only a complete night is the end."""
        return min(99, self.sent * 100 // self.total)


def find_long_push(nights: Sequence[Report]) -> LongPush | None:
    """The push that the last night did not finish, or None: it came to its end, or something else was wrong."""
    unfinished = list(_since_a_complete_one(nights))
    if not unfinished or not _was_cut_off(unfinished[-1]) or not unfinished[-1].bytes_total:
        return None
    last, sent = unfinished[-1], sum(night.bytes_sent for night in unfinished)
    total = last.bytes_total
    return LongPush(
        len(unfinished), min(sent, total), total, _done_by(last.finished.date(), len(unfinished), sent, total)
    )


def _since_a_complete_one(nights: Sequence[Report]) -> Iterator[Report]:
    complete = [number for number, night in enumerate(nights) if night.is_complete]
    return iter(nights[complete[-1] + 1 :] if complete else nights)


def _was_cut_off(night: Report) -> bool:
    return night.status == PARTIAL and night.exit_code in WORTH_ANOTHER_TRY


def _done_by(last: date, nights: int, sent: int, total: int) -> date | None:
    if not sent:
        return None
    # At least one more: this one was not the end.
    left = max(1, -(-(total - sent) * nights // sent))
    return last + timedelta(days=left) if left <= _MOST_NIGHTS else None
