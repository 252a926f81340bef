"""Whether a receiver's volume, or a host's quota on it, fills up: what its nights measured in, how full it is out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from statistics import median

from chalicelib.core.model import Disk, Quota

# Told from here on, whatever the growth; and with the second of them once more.
FULL, ALMOST_FULL = 0.90, 0.95
# Time to order more, and for a night to pass until it is there.
WITHIN_DAYS = 14.0
# Two nights have one difference between them, which may be anything.
FEWEST_NIGHTS = 3
# As many as growth is judged by.
MOST_NIGHTS = 14

_A_DAY = timedelta(days=1)
GIB = 1024**3


@dataclass(frozen=True)
class Measured:
    """What a night left behind."""

    at: datetime
    disk: Disk


@dataclass(frozen=True)
class Filling:
    """How full a disk is, in parts of the whole, and what it grows by. `days_left` is None while it does not grow."""

    disk: Disk
    full: float
    inodes_full: float
    bytes_a_day: float | None
    days_left: float | None

    @property
    def is_too_full(self) -> bool:
        soon = self.days_left is not None and self.days_left <= WITHIN_DAYS
        return max(self.full, self.inodes_full) >= FULL or soon

    @property
    def is_almost_full(self) -> bool:
        return max(self.full, self.inodes_full) >= ALMOST_FULL


def of_quota(at: datetime, quota: Quota | None) -> Measured | None:
    """A quota is to its host what a volume is to a receiver. None where nobody measured it, or there is none."""
    if quota is None or quota.most is None or quota.used is None:
        return None
    return Measured(at, Disk(quota.most, quota.used, max(quota.most - quota.used, 0), inodes=0, inodes_used=0))


def how_full(found: Filling) -> str:
    if found.inodes_full > found.full:
        return f"has used {found.inodes_full:.0%} of its inodes"
    soon = f", and may be full in {found.days_left:.0f} days" if found.days_left is not None else ""
    return f"is {found.full:.0%} full{soon}"


def filling(nights: Sequence[Measured]) -> Filling | None:
    """By the latest of these nights, in whatever order they come; None without any."""
    if not nights:
        return None
    disk = max(nights, key=lambda night: night.at).disk
    growth = growth_of(nights)
    left = disk.free / growth if growth is not None and growth > 0 else None
    # What is in reserve is neither used nor free, and no room for a host.
    return Filling(disk, _part(disk.used, disk.used + disk.free), _part(disk.inodes_used, disk.inodes), growth, left)


def growth_of(nights: Sequence[Measured]) -> float | None:
    """Bytes a day; None for fewer than three nights.

    The smaller of two medians, so that neither of two ordinary things is a forecast: the median from night to night
    does not see the one night on which a new host pushed all it has, and the median between every two nights (Theil
    and Sen) does not see logs that grow for a week and are then let go. A line of least squares would see both. What
    grows by leaps only is told when the disk is as full as that.
    """
    if len(nights) < FEWEST_NIGHTS:
        return None
    in_order = sorted(nights, key=lambda night: night.at)
    nightly = [_slope(*pair) for pair in pairwise(in_order)]
    overall = [_slope(*pair) for pair in combinations(in_order, 2)]
    return min(median(nightly), median(overall))


def _slope(earlier: Measured, later: Measured) -> float:
    """Of two at the same moment it is that of a day."""
    days = (later.at - earlier.at) / _A_DAY
    return (later.disk.used - earlier.disk.used) / (days or 1.0)


def _part(used: int, size: int) -> float:
    """Of an unlimited whole nothing is used."""
    return used / size if size else 0.0
