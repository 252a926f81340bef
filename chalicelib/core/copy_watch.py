"""What lacks its copy, remembered from one look to the next, and when that is worth an alarm."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.copying import CopyFailure
from chalicelib.core.model import Copying, Snapshot, Uncopied

# A copy that has failed is asked for again an hour later, and its source stays until one is complete: nothing is lost
# by one failure, and the second attempt mends most. So nobody is woken by the first, but by the second.
FAILURES_TOLD = 2

# A night's copy should be there before the next night: one that waits or is under way for longer is overdue, and so is
# the look itself (the region may be out of reach, or the function `copy`).
OVERDUE = timedelta(days=1)

# Every tick asks for a lock that was refused once more: what stands after an hour does not mend itself.
UNLOCKED_FOR_LONG = timedelta(hours=1)

# One record holds them all, and DynamoDB takes 400 KB. What is cut off is counted from when there is room again.
MOST_REMEMBERED = 500
_LONGEST_WHY = 300


def seen(
    place: str,
    wanted: Iterable[Snapshot],
    failed: Iterable[CopyFailure],
    before: Copying | None,
    now: datetime,
    unlocked: Iterable[str] = (),
) -> Copying:
    """What to remember of this look: each snapshot lacks its copy since the first look that saw it lacking.

    `unlocked` is why copies are not locked that are to be.
    """
    since = {each.snapshot_id: each.since for each in before.uncopied} if before else {}
    failures = {each.snapshot_id: each for each in failed}
    uncopied = [_uncopied(each, since.get(each.id, now), failures.get(each.id)) for each in wanted]
    why_unlocked = tuple(why[:_LONGEST_WHY] for why in unlocked)[:MOST_REMEMBERED]
    return Copying(
        place=place,
        seen=now,
        uncopied=tuple(sorted(uncopied, key=_worst_first)[:MOST_REMEMBERED]),
        unlocked=why_unlocked,
        unlocked_since=(before and before.unlocked_since) or now if why_unlocked else None,
        version=before.version if before else 0,
    )


def unseen(place: str, why: str, before: Copying | None, now: datetime) -> Copying:
    """What to remember when one could not look: all that was known, and what kept us from looking."""
    return replace(before or Copying(place, seen=now), blind=why[:_LONGEST_WHY])


def laggards(copying: Copying, now: datetime) -> tuple[Uncopied, ...]:
    """Those to be told: failed more than once, or wanted for more than a day; the worst first."""
    return tuple(each for each in copying.uncopied if each.failures >= FAILURES_TOLD or now - each.since > OVERDUE)


def is_unseen_for_long(copying: Copying, now: datetime) -> bool:
    return now - copying.seen > OVERDUE


def is_unlocked_for_long(copying: Copying, now: datetime) -> bool:
    return copying.unlocked_since is not None and now - copying.unlocked_since >= UNLOCKED_FOR_LONG


def _uncopied(source: Snapshot, since: datetime, failure: CopyFailure | None) -> Uncopied:
    return Uncopied(
        snapshot_id=source.id,
        run=source.tags.get(tags.RUN, ""),
        since=since,
        failures=failure.failures if failure else 0,
        why=failure.why[:_LONGEST_WHY] if failure else None,
    )


def _worst_first(each: Uncopied) -> tuple[bool, datetime, str]:
    return each.failures == 0, each.since, each.snapshot_id
