"""A guest at the door while it may read: its own snapshots, each by its name, and nothing is taken meanwhile."""

from __future__ import annotations

import os
import signal
import stat
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from ebbtide_agent import moments
from ebbtide_agent.errors import Refused, TransientError
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.machine import Peer
from ebbtide_agent.peer.past import read_past
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.sessions import reader_name
from ebbtide_agent.points import Offer, Point, encode_offer
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.lease import leased
from ebbtide_agent.receiver.verbs import LIST, RSYNC
from ebbtide_agent.receiver.view import Readable, View

# To its user the way to a guest's snapshots is closed but while they are read.
_OPEN, _SHUT = 0o711, 0o700


def shut(paths: PeerPaths, guest: Guest) -> None:
    paths.snapshots(guest.id).path.chmod(_SHUT)


def shut_again(peer: Peer, guest: Guest) -> None:
    """What was open and is no more. Raises TransientError while a session of the guest is under way."""
    way = peer.paths.snapshots(guest.id).path
    if stat.S_IMODE(way.stat().st_mode) == _SHUT or guest.reads_until(peer.up()):
        return
    with peer.holding(guest.id) as now:
        if not now.reads_until(peer.up()):
            shut(peer.paths, now)


@dataclass(frozen=True)
class Opened:
    """One guest before its past, until `until`."""

    peer: Peer
    guest: Guest
    until: datetime

    def answer(self, verb: str, outward: BinaryIO) -> int:
        """List, or let rsync read; TransientError for all that would write."""
        if verb == LIST:
            outward.write(encode_offer(self._offer()))
            return 0
        if verb == RSYNC:
            return self._read()
        raise TransientError(f"{self.guest.name} may read its past until {moments.write(self.until)}: nothing is taken")

    def _offer(self) -> Offer:
        whole = read_past(self.peer.paths.snapshots(self.guest.id)).whole
        points = tuple(Point(each.name, each.report.run, each.at, each.report.entries) for each in whole)
        return Offer(self.guest.name, self.guest.id, points, self.until, self.peer.clock())

    def _read(self) -> int:
        """Several may read at once; when the time is up, all of them end."""
        paths, reader = self.peer.paths, reader_name(self.guest, os.getpid())
        try:
            with leased(paths, reader):
                self._check_open()
                store = paths.snapshots(self.guest.id)
                store.path.chmod(_OPEN)
                whole = read_past(store).whole
                points = tuple(Readable(each.name, store.tree(each.name).resolve(), each.munged) for each in whole)
                kind = paths.confinement.read_text().strip()
                signal.setitimer(signal.ITIMER_REAL, max(1.0, self.guest.seconds_open(self.peer.up())))
                return confine.serve(kind, View(self.guest.uid, points=points), paths.rsync_config(reader))
        finally:
            paths.lease(reader).unlink(missing_ok=True)
            paths.rsync_config(reader).unlink(missing_ok=True)

    def _check_open(self) -> None:
        """Who closes it ends those who have a lease, and we have had none until now. Raises Refused."""
        if not self.peer.register.guest(self.guest.id).reads_until(self.peer.up()):
            raise Refused(f"{self.guest.name} may not read its past any more: it was closed")
