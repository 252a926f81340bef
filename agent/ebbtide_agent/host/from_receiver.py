"""The way back from a receiver: the points that a gate serves, of a machine that the operator has opened for it.

The night's receiver serves none: a key that was stolen must not read back the past. A gate that stands for good, a
peer's, serves them under the receiver's own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.errors import AgentError, PermanentError
from ebbtide_agent.host.address import Address
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.history import find_nights
from ebbtide_agent.host.link import World, ask, route
from ebbtide_agent.host.login import Login, login_of
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import AtHand, Restorable
from ebbtide_agent.host.target import Receiver
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.points import Offer, parse_offer

LIST = "list"
_SHOWN_NIGHTS = 10


@dataclass(frozen=True)
class FromReceiver:
    """A gate, under the receiver's name or at the address of a machine that was opened."""

    target: Receiver
    config: Config
    paths: HostPaths
    world: World
    address: Address | None = None
    sockets: Path | None = None

    @property
    def login(self) -> Login:
        """Wherever it is, it has to be the receiver by its pinned host key."""
        login = login_of(self.config, self.target, self.sockets)
        if self.address is None:
            return login
        return replace(login, elsewhere=self.address.name, port=self.address.port or login.port)

    def at_hand(self) -> AtHand:
        """Raises what `ask` raises when the machine that was named does not answer."""
        try:
            offer = parse_offer(ask(self.login, LIST))
        except AgentError as error:
            if self.address:
                raise
            return AtHand(notes=(f"no gate of {self.target} answers now: {error}", *self._what_to_ask_for()))
        if offer.host != self.config.host:
            raise PermanentError(
                f"the gate takes the key {self.config.key} for {offer.host}'s; HOST is {self.config.host}"
            )
        return self._offered(offer)

    @contextmanager
    def reached(self, point: Restorable) -> Iterator[Route]:
        yield lambda attempt: route(self.login, attempt, f"::{point.name}/")

    def _offered(self, offer: Offer) -> AtHand:
        points = tuple(Restorable(point.name, point.run, point.at, point.entries) for point in offer.points)
        if points:
            return AtHand(points, until=offer.until, left=offer.left)
        return AtHand(notes=(f"{self.target} serves no restore points by itself", *self._what_to_ask_for()))

    def _what_to_ask_for(self) -> Iterator[str]:
        complete = [night for night in find_nights(self.paths) if night.is_complete and night.receiver]
        if complete:
            days = ", ".join(f"{night.started:%Y-%m-%d %H:%M}" for night in complete[-_SHOWN_NIGHTS:])
            yield f"nights of this host that were recorded complete (UTC): {days}"
        day = f"{complete[-1].finished:%Y-%m-%d}" if complete else "DATE"
        yield f"ask the operator for: ebbtide open {self.config.host} --at {day} --for 2h"
        yield "it tells an address, and then: ebbtide-agent restore --from ADDRESS /path/to/what"
        yield f"where it is a server of yours, on that one: ebbtide-agent peer open {self.config.host} --for 2h"
