"""Which of a vault's copies EBS is to lock in compliance mode, so that not even who rules there can delete them."""

from collections.abc import Iterable
from datetime import timedelta

from chalicelib.core.copying import as_taken, points_of
from chalicelib.core.model import RestorePoint, Snapshot, SnapshotLock

# How long a lock can be taken back: as long as EBS lets it be. A lock of a day's typing error costs years of storage.
# https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-lock-concepts.html
COOL_OFF = timedelta(hours=72)
# EBS's bound, in days: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
LONGEST_LOCK = 36500
# A week, and half a day less: a night that is done a little earlier than the last one was is no day too early.
A_WEEK = timedelta(days=6, hours=12)

# EC2's words for a lock, by what can still be done about it.
COOLING_OFF, FOR_GOOD = "compliance-cooloff", ("compliance", "expired")


def plan_locks(copies: Iterable[Snapshot], locks: Iterable[SnapshotLock]) -> tuple[str, ...]:
    """The ids of the copies to lock now: each that is the newest of a host which has none locked of the week before.

    Only restore points count: what is not complete, or was found damaged, is locked for nobody. A lock that has run out
    counts as well, so that the last copy of a host that is no more is not locked over and over.
    """
    known = {lock.snapshot_id for lock in locks}
    points = sorted(points_of(map(as_taken, copies)).values(), key=lambda point: (point.at, point.snapshot_id))
    newest = {point.host_id: point for point in points}
    locked = {point.host_id: point for point in points if point.snapshot_id in known}
    return tuple(sorted({each.snapshot_id for each in newest.values() if _is_due(each, locked.get(each.host_id))}))


def not_yet_for_good(locks: Iterable[SnapshotLock]) -> tuple[SnapshotLock, ...]:
    """Those that can still be taken back and last longer than any that cannot: what nobody was shown before."""
    locks = list(locks)
    longest = max((lock.days for lock in locks if lock.state in FOR_GOOD), default=0)
    return tuple(lock for lock in locks if lock.state == COOLING_OFF and lock.days > longest)


def _is_due(newest: RestorePoint, locked: RestorePoint | None) -> bool:
    return locked is None or newest.at - locked.at >= A_WEEK
