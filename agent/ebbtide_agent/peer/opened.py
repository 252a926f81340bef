"""A guest at the door while it may read: its own snapshots, each by its name, and nothing is taken meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from ebbtide_agent import moments, snapshots
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.manifest_file import read_manifest
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.sessions import reader_name
from ebbtide_agent.points import Offer, Point, encode_offer
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.lease import leased
from ebbtide_agent.receiver.verbs import LIST, RSYNC
from ebbtide_agent.receiver.view import Readable, View
from ebbtide_agent.report import parse_report

# To its user the way to a guest's snapshots is closed but while they are read.
_OPEN, _SHUT = 0o711, 0o700


def shut(paths: PeerPaths, guest: Guest) -> None:
    paths.snapshots(guest.id).path.chmod(_SHUT)


@dataclass(frozen=True)
class Opened:
    """One guest before its past, until `until`."""

    paths: PeerPaths
    guest: Guest
    until: datetime
    clock: Clock

    def answer(self, verb: str, outward: BinaryIO) -> int:
        """List, or let rsync read; TransientError for all that would write."""
        if verb == LIST:
            outward.write(encode_offer(Offer(self.guest.name, self.guest.id, tuple(self._points()), self.until)))
            return 0
        if verb == RSYNC:
            return self._read()
        raise TransientError(f"{self.guest.name} may read its past until {moments.write(self.until)}: nothing is taken")

    def _names(self) -> tuple[str, ...]:
        return snapshots.find(path.name for path in self.paths.snapshots(self.guest.id).path.iterdir())

    def _points(self) -> Iterator[Point]:
        for name in self._names():
            report = parse_report(self.paths.snapshots(self.guest.id).report(name).read_bytes())
            yield Point(name, report.run, snapshots.moment_of(name), report.entries)

    def _read(self) -> int:
        """Several may read at once; when the time is up, all of them end."""
        self.paths.snapshots(self.guest.id).path.chmod(_OPEN)
        view = View(self.guest.uid, points=tuple(map(self._readable, self._names())))
        kind = self.paths.confinement.read_text().strip()
        reader = reader_name(self.guest, os.getpid())
        signal.setitimer(signal.ITIMER_REAL, max(1.0, (self.until - self.clock()).total_seconds()))
        try:
            with leased(self.paths, reader):
                return confine.serve(kind, view, self.paths.rsync_config(reader))
        finally:
            self.paths.lease(reader).unlink(missing_ok=True)
            self.paths.rsync_config(reader).unlink(missing_ok=True)

    def _readable(self, name: str) -> Readable:
        store = self.paths.snapshots(self.guest.id)
        try:
            with store.manifest(name).open("rb") as file:
                header, _ = read_manifest(file)
        except (OSError, EOFError, ValueError) as error:
            raise PermanentError(f"{store.manifest(name)} does not say what the tree is: {error}") from error
        return Readable(name, store.tree(name).resolve(), header.munged)
