"""Whether a night is due that nobody has begun: asked each hour, by cron or by systemd. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

_A_DAY = timedelta(days=1)
# A backup that takes its machine down would otherwise do so every hour.
MOST_ANEW = 2
# By then most nights are over, and one that stands still is about to be ended.
LONG = timedelta(hours=12)
BETWEEN_LOOKS = timedelta(hours=1)


@dataclass(frozen=True)
class Times:
    """When a host's nights are: at this minute of its day; until the window's `end`, if the target goes then."""

    zone: tzinfo
    minute: int
    end: int | None = None


@dataclass(frozen=True)
class Past:
    """When the schedule was made, when a run last began, and when the machine started.

    `unended` is when each of the last runs began, if none of them came to its end. All by this host's clock, which may
    have been wrong then.
    """

    scheduled: datetime
    begun: datetime | None
    unended: tuple[datetime, ...]
    booted: datetime


def is_due(times: Times, past: Past, now: datetime) -> bool:
    """True from the night's minute on, until a run has begun, its receiver's window is over, or the next night is due.

    A night that has failed is over, and is not tried again; one that went down with its machine is begun anew, twice at
    most. What is said to have been in the future says nothing: the clock was wrong then, and a night too many is none
    too few.
    """
    day, at = _last_night(times, now)
    if times.end is not None and now >= _end_of(times, day):
        return False
    if at < past.scheduled <= now:
        return False
    return not _has_begun(times, day, past, now) or (_went_down(past) and not _is_enough(times, day, past, now))


def is_given_up(times: Times, past: Past, now: datetime) -> bool:
    """True when the last night went down with its machine every time that it was begun, and is left as it is."""
    day, _ = _last_night(times, now)
    return _has_begun(times, day, past, now) and _went_down(past) and _is_enough(times, day, past, now)


def is_long_under_way(past: Past, now: datetime) -> bool:
    """Whether the run that goes on now began so long ago, or whole days longer: true at one look in twenty-four."""
    if past.begun is None or not _is_unended(past):
        return False
    longer = now - past.begun - LONG + BETWEEN_LOOKS / 2
    return longer >= timedelta(0) and longer % _A_DAY < BETWEEN_LOOKS


def _last_night(times: Times, now: datetime) -> tuple[date, datetime]:
    """The last one whose minute has come."""
    day = now.astimezone(times.zone).date()
    while (at := _moment(times.zone, day, times.minute)) > now:
        day -= _A_DAY
    return day, at


def _end_of(times: Times, day: date) -> datetime:
    assert times.end is not None
    return _moment(times.zone, day if times.end > times.minute else day + _A_DAY, times.end)


def _has_begun(times: Times, day: date, past: Past, now: datetime) -> bool:
    return past.begun is not None and _earliest(times, day) <= past.begun <= now


def _earliest(times: Times, day: date) -> datetime:
    """Where the clocks skip a minute, as early as they could have meant it: cron starts what was skipped at once."""
    return min(_moment(times.zone, day, times.minute, fold) for fold in (0, 1))


def _went_down(past: Past) -> bool:
    return past.begun is not None and _is_unended(past) and past.begun < past.booted


def _is_unended(past: Past) -> bool:
    return past.begun is not None and past.begun in past.unended[-1:]


def _is_enough(times: Times, day: date, past: Past, now: datetime) -> bool:
    return sum(_earliest(times, day) <= begun <= now for begun in past.unended) > MOST_ANEW


def _moment(zone: tzinfo, day: date, minute: int, fold: int = 0) -> datetime:
    """The first time that the clocks there show this, or would if they did not skip it."""
    shown = datetime.combine(day, time(minute // 60, minute % 60, fold=fold), tzinfo=zone)
    return shown.astimezone(timezone.utc)
