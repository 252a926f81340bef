"""Moments as the wire writes them (ISO 8601, UTC, whole seconds, with a Z), and clocks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable

Clock = Callable[[], datetime]

_START = Path("/proc/sys/kernel/random/boot_id")


def steady(clock: Clock) -> Clock:
    """The time as a clock says it now, and from then on as if nobody ever set it."""
    began, up = clock(), seconds_up()
    return lambda: began + timedelta(seconds=seconds_up() - up)


def seconds_up() -> float:
    """Since this machine was started, also those in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Up:
    """So many seconds after this start of a machine: nobody sets that."""

    start: str
    seconds: float


def up() -> Up:
    """This machine, now."""
    return Up(_START.read_text().strip(), seconds_up())


def write(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def read(text: str) -> datetime:
    """Raises ValueError when it is not a moment with an offset, or none that UTC has a year for."""
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError(f"{text!r} has no year in UTC") from None
