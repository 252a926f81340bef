"""The way back from a directory of this host: every dated snapshot is whole, and read where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ebbtide_agent import snapshots
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.claim import check_place
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import AtHand, Restorable
from ebbtide_agent.host.target import Directory
from ebbtide_agent.paths import DirectoryPaths, HostPaths
from ebbtide_agent.report import parse_report
from ebbtide_agent.rotation import broken_in, whole_in


@dataclass(frozen=True)
class FromDirectory:
    """A directory of this host."""

    target: Directory
    config: Config
    paths: HostPaths

    @property
    def store(self) -> DirectoryPaths:
        return DirectoryPaths(self.target.path)

    def at_hand(self) -> AtHand:
        """Raises Refused when it is not the directory that the backups of this host go to."""
        check_place(self.store, self.paths, self.config.host)
        names = whole_in(self.store)
        broken = [
            f"{self.store.snapshot(name)} lacks its tree or its report: it is none" for name in broken_in(self.store)
        ]
        none = () if names else (f"{self.target} has no snapshot yet: the first complete night makes one",)
        return AtHand(tuple(map(self._point, names)), notes=(*broken, *none))

    @contextmanager
    def reached(self, point: Restorable) -> Iterator[Route]:
        yield lambda _: (f"{self.store.tree(point.name)}/",)

    def _point(self, name: str) -> Restorable:
        at = snapshots.moment_of(name)
        try:
            report = parse_report(self.store.report(name).read_bytes())
        except (OSError, PermanentError):
            # What cannot be read of it only adds to what the name says: that it is complete.
            return Restorable(name, "", at)
        return Restorable(name, report.run, at, report.entries)
