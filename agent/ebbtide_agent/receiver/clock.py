"""The receiver's clock against the archive's: who says when a night is over has to know what time it is."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.moments import Clock
from ebbtide_agent.orders import Order
from ebbtide_agent.receiver.station import say

MOST_WRONG = timedelta(seconds=30)
# chrony and systemd-timesyncd set a clock within seconds of their start; a volume may take ten minutes after this.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 2.0


def await_right(cloud: Cloud, key: str, now: Clock, stop: Order) -> None:
    """Return once the clock is right: this machine's own time service mends it, and is given the time to.

    `key` is any object of the archive. Raises PermanentError when the clock stays wrong, and Stopped.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    is_told = False
    while fault := _what_is_wrong(cloud, key, now):
        if time.monotonic() >= deadline:
            raise PermanentError(
                f"{fault}, and did not become right within {PATIENCE_SECONDS:.0f} s: nobody is let in; see why chrony "
                "or systemd-timesyncd of this image does not set it (EC2's source of time is 169.254.169.123)"
            )
        if not is_told:
            say(f"{fault}; waiting for the time service of this machine")
        is_told = True
        stop.pause(PAUSE_SECONDS)


def _what_is_wrong(cloud: Cloud, key: str, now: Clock) -> str:
    """Nothing when the archive's time lies between the question and the answer, as far as it may be off."""
    asked = now()
    there = cloud.read_clock(key)
    difference = _outside(there, asked, now())
    if abs(difference) <= MOST_WRONG:
        return ""
    seconds, side = abs(difference).total_seconds(), "behind" if difference > timedelta(0) else "ahead of"
    return f"the clock of this machine is {seconds:.0f} s {side} the archive's"


def _outside(moment: datetime, first: datetime, last: datetime) -> timedelta:
    """How much later a moment is than the last of two, or, as less than zero, how much earlier than the first."""
    return max(moment - last, timedelta(0)) + min(moment - first, timedelta(0))
