"""The way back from a machine that is not ours: its one tree, and the report that says whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.errors import Refused
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.link import World
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import AtHand, Restorable
from ebbtide_agent.host.target import Remote
from ebbtide_agent.host.to_remote import TREE, ToRemote
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.points import point_name


@dataclass(frozen=True)
class FromRemote:
    """A directory over there."""

    target: Remote
    config: Config
    paths: HostPaths
    world: World
    sockets: Path | None = None

    @property
    def there(self) -> ToRemote:
        return ToRemote(self.target, self.config, self.paths, self.world, self.sockets)

    def at_hand(self) -> AtHand:
        """Raises Refused when what lies over there is not this host's."""
        report = self.there.find_report(self.world.clock())
        if report is None:
            return AtHand(notes=(f"{self.target} has no report of a night",))
        if report.host != self.config.host:
            raise Refused(f"{self.target} holds the backup of {report.host}; HOST is {self.config.host}")
        is_whole = report.is_complete and report.receiver is not None
        point = Restorable(point_name(report.run), report.run, report.finished, report.entries or None, is_whole)
        older = f"older ones are what {self.target.name} itself keeps, in snapshots of its own for instance"
        return AtHand((point,), (older,))

    @contextmanager
    def reached(self, point: Restorable) -> Iterator[Route]:
        yield lambda attempt: ("-M--fake-super", *self.there.far.route(attempt, f"{TREE}/"))
