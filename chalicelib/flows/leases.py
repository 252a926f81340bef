"""A lease: one invocation at a time acts, and one that died is taken over when its time is up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core.model import Lease
from chalicelib.errors import TransientError
from chalicelib.ports import World

# Longer than any function lives (15 minutes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html),
# so whoever let its lease run out is gone.
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
def leased(name: str, world: World, now: datetime) -> Iterator[Leased]:
    """Act alone under this name. Raises TransientError while someone else does, or has died within the lease's time."""
    held = _take(name, world, now)
    try:
        yield held
    finally:
        held.release(now)


def _take(name: str, world: World, now: datetime) -> Leased:
    found = world.catalog.find_lease(name)
    if found is not None and found.until > now:
        raise TransientError(
            f"{name} is under way already, until {found.until:%H:%M} UTC at the latest: ask again then"
        )
    saved = world.catalog.save_lease(replace(found or Lease(name, now), until=now + LASTS))
    if saved is None:
        raise TransientError(f"{name} was begun by another invocation just now: ask again when it is over")
    return Leased(saved, world)
