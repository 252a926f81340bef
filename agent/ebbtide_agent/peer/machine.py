"""This machine as it takes backups: whom, as its register says at this moment, and where everything lies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from ebbtide_agent.moments import Clock, Up, up
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer.register import Guest, Register, get_register
from ebbtide_agent.peer.store import check_store
from ebbtide_agent.receiver.lease import leased


@dataclass(frozen=True)
class Peer:
    """One machine, whose operator may change what it does at any time."""

    places: HostPaths
    paths: PeerPaths
    clock: Clock
    up: Callable[[], Up] = up

    @property
    def register(self) -> Register:
        """As it is now."""
        return get_register(self.places.peer)

    def check_store(self) -> None:
        """Raises Refused unless the store is there, and is this machine's."""
        check_store(self.paths, self.register.mark, self.places.fstab)

    @contextlib.contextmanager
    def holding(self, host_id: str) -> Iterator[Guest]:
        """Hold a guest's lease, and have it as it is now: nobody opens its past, or removes it, until we let go.

        Raises TransientError while somebody else holds it, and Refused when this machine does not take it any more.
        """
        with leased(self.paths, host_id):
            yield self.register.guest(host_id)


def peer_at(places: HostPaths, clock: Clock) -> Peer:
    """Raises PermanentError on a machine that takes nobody's backups."""
    return Peer(places, PeerPaths(places.state, get_register(places.peer).store), clock)
