"""The sandbox's clock: the real one, unless someone moves or freezes it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Real time plus what it was moved by; given `at`, it stands still there until it is moved."""

    def __init__(self, at: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._frozen = at
        self._offset = timedelta()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """Aware, UTC."""
        with self._lock:
            return self._now()

    def advance(self, by: timedelta) -> None:
        """Move on; when this returns, every schedule that came due has been fired."""
        with self._lock:
            self._move(self._now() + by)
        self._tell()

    def set(self, at: datetime) -> None:
        """Jump to `at`; when this returns, every schedule that came due has been fired."""
        with self._lock:
            self._move(at)
        self._tell()

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every jump, in the thread of whoever moved the clock."""
        self._listeners.append(listener)

    def _now(self) -> datetime:
        return self._frozen if self._frozen is not None else datetime.now(UTC) + self._offset

    def _move(self, at: datetime) -> None:
        if self._frozen is not None:
            self._frozen = at
        else:
            self._offset = at - datetime.now(UTC)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def wire_time(at: datetime) -> str:
    """`2026-11-23T02:00:00Z`, as AWS writes the time of an event."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moto_time(at: datetime) -> datetime:
    """Naive UTC, as moto keeps its times."""
    return at.astimezone(UTC).replace(tzinfo=None)
