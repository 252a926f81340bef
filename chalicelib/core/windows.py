"""When a receiver's night is: local hours of a time zone, turned into instants. The only room that knows local time."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from zoneinfo import ZoneInfo

from chalicelib.core.model import Run
from chalicelib.core.policy import ReceiverPolicy

# A night that nobody opened in time (the tick was down) is still opened this long after its deadline, to be recorded
# as the failure it was. Later than that, another day's silence is what tells.
CATCH_UP = timedelta(hours=6)

# Below the one there is no time for a receiver that had to be replaced (`night.READY_WITHIN`) to be pushed to. Above
# the other a receiver that uses its grace still stands when the next night begins: where the clocks go forward by two
# hours, that is 22 hours after this one, and by one, as nearly everywhere, 23.
SHORTEST = timedelta(minutes=30)
LONGEST = timedelta(hours=21)

_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """One night: the local date on which it opens, and its two instants in UTC."""

    day: date
    opens: datetime
    deadline: datetime


def length_of(start: time, end: time) -> timedelta:
    """How long a window is on the clock; one that ends before it starts ends on the next date."""
    begun, ended = (datetime.combine(date.min, at) for at in (start, end))
    return ended - begun if ended > begun else ended + _A_DAY - begun


def window_on(receiver: ReceiverPolicy, day: date) -> Window:
    """The receiver's window that opens on this local date. One that ends before it starts ends on the next date.

    A time that the spring change skips moves to the first instant after the gap; one that autumn brings twice is the
    first of the two. A window that lies in the gap altogether keeps its length.
    """
    zone = ZoneInfo(receiver.timezone)
    start = datetime.combine(day, receiver.start)
    end = datetime.combine(day, receiver.end)
    if end <= start:
        end += _A_DAY
    opens, deadline = _instant(start, zone), _instant(end, zone)
    return Window(day, opens, deadline if deadline > opens else opens + (end - start))


def due(receiver: ReceiverPolicy, now: datetime, run_days: Collection[date]) -> Window | None:
    """The window to open now, if any: the latest that has begun, unless it had a run or ended too long ago.

    `run_days` are the local dates this receiver has runs on. The deadline may have passed: see CATCH_UP. A receiver
    that never had a run has missed nothing, so its first window is one that is still open.
    """
    window = _latest_begun(receiver, now)
    if window.day in run_days:
        return None
    grace = CATCH_UP if run_days else timedelta(0)
    return window if now < window.deadline + grace else None


def nights_had(receiver: ReceiverPolicy, runs: Iterable[Run]) -> frozenset[date]:
    """The local dates whose window needs no run any more.

    It had one; or one that was begun by hand before it was closed only after its deadline, and left it no time.
    """
    return frozenset(day for run in runs for day in _nights_of(receiver, run))


def _nights_of(receiver: ReceiverPolicy, run: Run) -> Iterator[date]:
    for window in (window_on(receiver, run.id.day), window_on(receiver, run.id.day + _A_DAY)):
        is_its_own = run.id.day == window.day and run.opened >= window.opens
        if is_its_own or (run.opened < window.opens and run.closed is not None and run.closed >= window.deadline):
            yield window.day


def window_from(receiver: ReceiverPolicy, now: datetime) -> Window:
    """A night begun by hand: as long as the receiver's own, from now on.

    Inside a window it belongs to that window's date, so that an operator and the tick cannot both open that night.
    """
    latest = _latest_begun(receiver, now)
    today = now.astimezone(ZoneInfo(receiver.timezone)).date()
    usual = latest if now < latest.deadline else window_on(receiver, today)
    return Window(usual.day, now, now + (usual.deadline - usual.opens))


def _latest_begun(receiver: ReceiverPolicy, now: datetime) -> Window:
    today = now.astimezone(ZoneInfo(receiver.timezone)).date()
    windows = (window_on(receiver, today - back * _A_DAY) for back in count())
    return next(window for window in windows if window.opens <= now)


@lru_cache(maxsize=1024)  # every tick asks for the same few of every receiver
def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which a clock in the zone shows this minute or, where it skips it, the next it shows."""
    minutes = (local + timedelta(minutes=later) for later in count())
    return next(_as_utc(minute, zone) for minute in minutes if _exists(minute, zone))


def _exists(local: datetime, zone: ZoneInfo) -> bool:
    return _as_utc(local, zone).astimezone(zone).replace(tzinfo=None) == local


def _as_utc(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)
