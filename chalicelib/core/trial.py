"""A trial of retention rules on bare times, so that an operator sees what they mean before applying them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.core.retention import Rules, reasons_to_keep

EXPECTED = "a time in ISO 8601 like 2026-11-23T03:00:00Z"


@dataclass(frozen=True)
class Tried:
    """One time, in UTC, and why it stays; without a reason it expires."""

    at: datetime
    reasons: tuple[str, ...]


def try_rules(times: Iterable[datetime], rules: Rules) -> tuple[Tried, ...]:
    """Every time, the newest first. The same instant twice is two points, as two of one instant are to restic."""
    newest_first = sorted((at.astimezone(UTC) for at in times), reverse=True)
    return tuple(map(Tried, newest_first, reasons_to_keep(newest_first, rules)))


def parse_times(lines: Iterable[str]) -> tuple[tuple[datetime, ...], tuple[str, ...]]:
    """The times, one a line, and a fault for every line that is none. Blank lines are passed over.

    A time without an offset is taken as UTC.
    """
    times, faults = [], []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            times.append(_in_utc(datetime.fromisoformat(text)))
        except (ValueError, OverflowError):
            faults.append(f"line {number}: {text[:80]!r}, expected {EXPECTED}")
    return tuple(times), tuple(faults)


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
