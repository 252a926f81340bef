"""When pruning says no as a whole: doubt deletes nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta

# Three nights without a good backup is no time to be deleting the old ones.
STALE_AFTER = timedelta(days=3)

# A healthy night lets go of one snapshot a receiver. Ten leave room for many receivers and a few missed nights, a third
# for large stocks; a rule set cut by mistake wants far more than either, and has to be confirmed.
ALWAYS_ALLOWED = 10
ALLOWED_SHARE = 3


def default_cap(backups: int) -> int:
    """The most snapshots one night may delete: ten, or a third of them where that is more."""
    return max(ALWAYS_ALLOWED, backups // ALLOWED_SHARE)


def is_stale(newest: datetime, now: datetime) -> bool:
    return now - newest > STALE_AFTER


def why_refused(backups: int, good: Sequence[datetime], known_points: int, now: datetime) -> str | None:
    """Of how many backup snapshots there are, when the good ones were taken, and how many points the catalogue has."""
    if not backups:
        return "no backup snapshot was found at all: check the listing before anything is deleted"
    if not good:
        return "no completed snapshot holds a complete host: there is nothing good to keep"
    if is_stale(max(good), now):
        days = (now - max(good)).days
        return f"the newest good snapshot is {days} days old: make backups run again before old ones go"
    if not known_points:
        return "the catalogue knows no restore point of all these snapshots: `ebbtide rebuild` it first"
    return None


def why_too_many(due: int, most: int) -> str | None:
    if due <= most:
        return None
    return (
        f"{due} snapshots would be deleted and one night may delete {most}: "
        f"check the retention rules, then confirm with `ebbtide prune --allow {due}`"
    )
