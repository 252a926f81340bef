"""The way back from a machine that is not ours: its one tree, and the report that says whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ebbtide_agent.host.far_place import FarPlace, Unreadable
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import CUT_SHORT, AtHand, Restorable
from ebbtide_agent.points import point_name


@dataclass(frozen=True)
class FromRemote:
    """This host's place over there."""

    place: FarPlace

    def at_hand(self) -> AtHand:
        """Raises Refused when what lies over there is not this host's."""
        older = f"older ones are what {self.place.target.name} itself keeps, in snapshots of its own for instance"
        try:
            report = self.place.find_report(self.place.world.clock())
        except Unreadable as error:
            return AtHand((Restorable(error.point, "", doubt="nobody knows whether it is"),), (str(error), older))
        if report is None:
            return AtHand(notes=(f"{self.place.target} has no report of a night",))
        doubt = "" if report.is_complete and report.receiver else CUT_SHORT
        point = Restorable(point_name(report.run), report.run, report.finished, report.entries or None, doubt)
        return AtHand((point,), (older,))

    @contextmanager
    def reached(self, point: Restorable) -> Iterator[Route]:
        yield self.place.route
