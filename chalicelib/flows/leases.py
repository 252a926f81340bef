"""A lease: one invocation at a time acts; one that died is taken over by its own retry, or when its time is up.

Lambda tries an invocation again one and two minutes after it ended, under the same request id, and may in rare cases
deliver it twice at once. Whoever comes with the holder's id takes over, which moves the fencing number on: should the
one before still live, its next `confirm` fails, so it does nothing more that cannot be undone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core.model import Lease
from chalicelib.errors import TransientError, UnderWayError
from chalicelib.ports import World

# Longer than any function lives (15 minutes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html),
# so whoever let its lease run out is gone, whoever it was.
LASTS = timedelta(minutes=16)


class Leased:
    """The right to act alone. Every `confirm` is a conditional write that moves the fencing number on."""

    def __init__(self, lease: Lease, world: World) -> None:
        self._lease = lease
        self._world = world

    def confirm(self) -> None:
        """Just before an act that cannot be undone. Raises TransientError when someone else has taken over."""
        self._save(self._lease.until)

    def release(self, now: datetime) -> None:
        self._save(now)

    def _save(self, until: datetime) -> None:
        saved = self._world.catalog.save_lease(replace(self._lease, until=until))
        if saved is None:
            raise TransientError(f"lease {self._lease.name} was taken over by another invocation: it goes on")
        self._lease = saved


@contextmanager
def leased(name: str, holder: str | None, world: World, now: datetime, lasts: timedelta = LASTS) -> Iterator[Leased]:
    """Act alone under this name. Raises UnderWayError while someone else does, or has died within the lease's time.

    `holder` is the invocation's id, the same in each of its retries; None for one that is never retried. `lasts` is
    longer than its function lives.
    """
    held = _take(name, holder, world, now, lasts)
    try:
        yield held
    finally:
        held.release(now)


def _take(name: str, holder: str | None, world: World, now: datetime, lasts: timedelta) -> Leased:
    found = world.catalog.find_lease(name)
    is_ours = found is not None and holder is not None and found.holder == holder
    if found is not None and found.until > now and not is_ours:
        raise UnderWayError(f"{name} is under way already, until {found.until:%H:%M} UTC at the latest: ask again then")
    saved = world.catalog.save_lease(replace(found or Lease(name, now), until=now + lasts, holder=holder))
    if saved is None:
        raise UnderWayError(f"{name} was begun by another invocation just now: ask again when it is over")
    return Leased(saved, world)
