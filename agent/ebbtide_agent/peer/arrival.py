"""A guest at the door: its hello begins a night of its own, and all else is the receiver's gate."""

from __future__ import annotations

import secrets
import signal
from dataclasses import dataclass
from typing import BinaryIO

from ebbtide_agent.errors import Refused, TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import Peer
from ebbtide_agent.peer.night import Night, find_night, night_of_hello, write_night
from ebbtide_agent.peer.opened import Opened, shut
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.shelf import Shelf
from ebbtide_agent.points import Offer, encode_offer
from ebbtide_agent.receiver.brief import Run
from ebbtide_agent.receiver.gate import Gate, introduced
from ebbtide_agent.receiver.heard import hear
from ebbtide_agent.receiver.lease import find_session, seated
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.verbs import HELLO, LIST, RSYNC, Asked

_NONCE_BYTES = 16


@dataclass(frozen=True)
class Arrival:
    """One guest at the door of a peer."""

    peer: Peer
    host_id: str

    def answer(self, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        """As the gate does. Raises what it raises, and TransientError beside other sessions, or while a
        snapshot of the tree is due."""
        self.peer.check_store()
        guest = self.peer.register.guest(self.host_id)
        with seated(self.peer.paths, self.host_id):
            return self._answer(guest, asked, inward, outward)

    def _answer(self, guest: Guest, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        if until := guest.reads_until(self.peer.up()):
            return Opened(self.peer, guest, until).answer(asked.verb, outward)
        if asked.verb == LIST:
            outward.write(encode_offer(Offer(guest.name, guest.id)))
            return 0
        asked = introduced(asked, inward)
        with self.peer.holding(self.host_id) as guest:
            return self._take(guest, asked, inward, outward)

    def _take(self, guest: Guest, asked: Asked, inward: BinaryIO, outward: BinaryIO) -> int:
        """What it brings, with its lease held; nothing while it has been opened since it knocked."""
        if guest.reads_until(self.peer.up()):
            raise TransientError(f"the past of {guest.name} was opened just now: nothing is taken")
        if asked.verb == HELLO:
            self._begin(guest, asked.machine)
        night = find_night(self.peer.paths.night(guest.id))
        if night is None:
            raise Refused(f"{guest.id} has not said hello")
        self._recall(guest, night)
        if asked.verb == RSYNC:
            # Nobody else ends a push that never ends, and while it lasts there is no other night.
            left = (night.deadline - self.peer.clock()).total_seconds()
            signal.setitimer(signal.ITIMER_REAL, max(1.0, left))
        return self._gate(guest, night).take(asked, inward, outward)

    def _begin(self, guest: Guest, machine: str) -> None:
        """Nothing begins before the last complete tree is safe in a snapshot, nor beside another machine's night."""
        paths = self.peer.paths
        shut(paths, guest)
        keeper = Keeper(self.peer, guest)
        if keeper.find_due():
            why = keeper.find_trouble()
            raise TransientError(f"the snapshot of the last night is not made yet{f': {why}' if why else ''}")
        last, now = find_night(paths.night(guest.id)), self.peer.clock()
        if last and last.lasts(now) and keeper.find_report() is None:
            hear(paths, guest.as_briefed(), _run(last), machine, now)
        reported, session = paths.reported(guest.id), paths.session(guest.id)
        touched = reported.exists() or find_session(paths, guest.id) is not None
        runs = Shelf.of(paths, guest.id).runs()
        night = night_of_hello(last, touched, runs, now, secrets.token_hex(_NONCE_BYTES))
        if night != last:
            write_night(paths.night(guest.id), night)
            session.unlink(missing_ok=True)
            reported.unlink(missing_ok=True)

    def _recall(self, guest: Guest, night: Night) -> None:
        """A crash may have come between a record and the note that nothing may be pushed any more."""
        paths = self.peer.paths
        if Shelf.of(paths, guest.id).find_report(night.run, guest.id):
            write_whole(paths.reported(guest.id), b"")

    def _gate(self, guest: Guest, night: Night) -> Gate:
        paths, run = self.peer.paths, _run(night)
        ledger = Ledger(paths, run, Shelf.of(paths, guest.id))
        return Gate(paths, run, guest.as_briefed(night.nonce), ledger, self.peer.clock)


def _run(night: Night) -> Run:
    return Run(night.run, "peer", night.deadline, nonce="")
