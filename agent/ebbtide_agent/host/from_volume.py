"""The way back from an EBS volume of this host's own: last night's tree, mounted read only for as long as it takes.

Mounted, it must meet neither a night nor another restore, so the night's lock is held. What was promised is kept:
a volume that was let go cleanly is not written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import AtHand, Restorable
from ebbtide_agent.host.target import Volume
from ebbtide_agent.host.to_volume import claim_of
from ebbtide_agent.paths import HostPaths, OwnVolumePaths, device_name
from ebbtide_agent.points import point_name
from ebbtide_agent.report import parse_report


@dataclass(frozen=True)
class FromVolume:
    """This host's volume."""

    target: Volume
    paths: HostPaths

    @property
    def store(self) -> OwnVolumePaths:
        return OwnVolumePaths(self.paths.volume, self.target.host_id)

    def at_hand(self) -> AtHand:
        """Raises Refused while a night is under way, or when it is not this host's volume."""
        with self._mounted():
            points = tuple(self._points())
        older = f"older ones are snapshots of {self.target.volume_id}: have the operator attach a volume made from one"
        return AtHand(points, (older,) if points else ("its tree is of a push that did not come to its end", older))

    @contextmanager
    def reached(self, point: Restorable) -> Iterator[Route]:
        with self._mounted():
            if point not in self._points():
                raise Refused(f"{point.name} is not what is on {self.target.volume_id} any more; ask again")
            yield lambda _: (f"{self.store.tree}/",)

    def _points(self) -> Iterator[Restorable]:
        """The report is there only while the tree is that of a complete night."""
        try:
            report = parse_report(self.store.report.read_bytes())
        except FileNotFoundError:
            return
        yield Restorable(point_name(report.run), report.run, report.finished, report.entries)

    @contextmanager
    def _mounted(self) -> Iterator[None]:
        with locked(self.paths.lock):
            volume.unmount(self.paths.volume)
            volume.mount(self.paths.disks / device_name(self.target.volume_id), self.paths.volume, read_only=True)
            try:
                self._check_mark()
                yield
            finally:
                volume.unmount(self.paths.volume)

    def _check_mark(self) -> None:
        if not claim_of(self.target, self.store).is_marked():
            raise PermanentError(f"{self.target.volume_id} is blank: no night of this host was ever on it")
