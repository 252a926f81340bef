"""Which restore points of one host stay and why: rules count, nothing here reads a clock.

The rules mean what `restic forget --keep-*` means (https://restic.readthedocs.io/en/stable/060_forget.html).
Each walks from the newest point back and keeps the newest one of every hour, day, ISO week, month or year that has
any, until it has counted enough. A rule that runs out of points first keeps the oldest one as well, so that history
is as long as it can be while the count is not reached. A point stays if any rule keeps it. Days are days in UTC.

Whatever the rules say, two points of a host stay: the newest, which every rule counts first, and the newest that a
drill or a restore has proven, which is the last one known to work.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.core.model import RestorePoint

_Bucket = Callable[[datetime, int], Hashable]

# What makes two points the same to a rule: for `last`, only being the same one.
_BUCKETS: dict[str, _Bucket] = {
    "last": lambda at, place: place,
    "hourly": lambda at, place: (at.date(), at.hour),
    "daily": lambda at, place: at.date(),
    "weekly": lambda at, place: at.isocalendar()[:2],
    "monthly": lambda at, place: (at.year, at.month),
    "yearly": lambda at, place: at.year,
}

KEEP_ALL = -1
NO_RULES = "no rule says that anything expires"
NEWEST_PROVEN = "newest proven point"


@dataclass(frozen=True)
class Rules:
    """How many to keep by each rule, with the meaning of `restic forget --keep-*`; -1 keeps all."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    @property
    def are_empty(self) -> bool:
        return self == Rules()

    def at_least(self, floor: "Rules") -> "Rules":
        """Rules that keep whatever either keeps. Where these are empty nothing expires, whatever the floor says."""
        if self.are_empty or floor.are_empty:
            return Rules() if self.are_empty else self
        return Rules(**{rule: _larger(getattr(self, rule), getattr(floor, rule)) for rule in _BUCKETS})


def _larger(count: int, other: int) -> int:
    return KEEP_ALL if KEEP_ALL in (count, other) else max(count, other)


@dataclass(frozen=True)
class Kept:
    """A point that stays, with every reason for it, such as `daily snapshot` or `oldest monthly snapshot`."""

    point: RestorePoint
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Retention:
    """Every point of a host exactly once, the newest first."""

    kept: tuple[Kept, ...]
    expired: tuple[RestorePoint, ...]


def retain(points: Iterable[RestorePoint], rules: Rules) -> Retention:
    """What stays of one host's points. Without any rule nothing expires."""
    newest_first = sorted(points, key=_by_age, reverse=True)
    by_rules = reasons_to_keep([point.at for point in newest_first], rules)
    proven = next((point for point in newest_first if point.proven is not None), None)
    kept = [
        Kept(point, (*reasons, NEWEST_PROVEN) if point is proven else reasons)
        for point, reasons in zip(newest_first, by_rules, strict=True)
    ]
    return Retention(
        kept=tuple(each for each in kept if each.reasons),
        expired=tuple(each.point for each in kept if not each.reasons),
    )


def _by_age(point: RestorePoint) -> tuple[datetime, str]:
    """Two points of one instant have an order as well, so that the order of the input never matters."""
    return point.at, point.snapshot_id


def reasons_to_keep(newest_first: Sequence[datetime], rules: Rules) -> list[tuple[str, ...]]:
    """Why the rules keep each of these times, beside the times; no reason at all for what expires."""
    if rules.are_empty:
        return [(NO_RULES,)] * len(newest_first)
    by_rule = [_kept_by(rule, getattr(rules, rule), newest_first) for rule in _BUCKETS]
    return [tuple(kept[index] for kept in by_rule if index in kept) for index in range(len(newest_first))]


def _kept_by(rule: str, count: int, newest_first: Sequence[datetime]) -> dict[int, str]:
    """The places of the times this one rule keeps, each with the reason."""
    if count == 0 or not newest_first:
        return {}
    firsts = _first_of_each_bucket(_BUCKETS[rule], newest_first)
    wanted = firsts if count == KEEP_ALL else firsts[:count]
    kept = dict.fromkeys(wanted, f"{rule} snapshot")
    oldest = len(newest_first) - 1
    if count == KEEP_ALL or len(wanted) < count:
        kept.setdefault(oldest, f"oldest {rule} snapshot")
    return kept


def _first_of_each_bucket(bucket: _Bucket, newest_first: Sequence[datetime]) -> list[int]:
    buckets = [bucket(at.astimezone(UTC), index) for index, at in enumerate(newest_first)]
    return [index for index, value in enumerate(buckets) if index == 0 or value != buckets[index - 1]]
