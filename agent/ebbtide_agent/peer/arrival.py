"""A guest at the door: its hello begins a night of its own, and all else is the receiver's gate."""

from __future__ import annotations

import secrets
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ebbtide_agent.errors import Refused, TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.keeping import Keeper, shelf_of
from ebbtide_agent.peer.night import Night, find_night, night_of_hello, write_night
from ebbtide_agent.peer.opened import Opened, shut
from ebbtide_agent.peer.register import Guest, Register
from ebbtide_agent.peer.store import check_store
from ebbtide_agent.points import Offer, encode_offer
from ebbtide_agent.receiver.brief import Run
from ebbtide_agent.receiver.gate import Gate
from ebbtide_agent.receiver.lease import find_session, leased
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.verbs import HELLO, LIST, RSYNC

_NONCE_BYTES = 16


@dataclass(frozen=True)
class Arrival:
    """One guest at the door of a peer."""

    paths: PeerPaths
    register: Register
    guest: Guest
    clock: Clock
    fstab: Path

    def answer(self, verb: str, inward: BinaryIO, outward: BinaryIO) -> int:
        """As the gate does. Raises what it raises, and TransientError while a snapshot of the tree is due."""
        check_store(self.paths, self.register.mark, self.fstab)
        if until := self.guest.reads_until(self.clock()):
            return Opened(self.paths, self.guest, until, self.clock).answer(verb, outward)
        if verb == LIST:
            outward.write(encode_offer(Offer(self.guest.name, self.guest.id)))
            return 0
        if verb == HELLO:
            with leased(self.paths, self.guest.id):
                self._begin()
        night = find_night(self.paths.night(self.guest.id))
        if night is None:
            raise Refused(f"{self.guest.id} has not said hello")
        self._recall(night)
        if verb == RSYNC:
            # Nobody else ends a push that never ends, and while it lasts there is no other night.
            signal.setitimer(signal.ITIMER_REAL, max(1.0, (night.deadline - self.clock()).total_seconds()))
        return self._gate(night).answer(verb, inward, outward)

    def _begin(self) -> None:
        """Nothing begins before the last complete tree is safe in a snapshot."""
        shut(self.paths, self.guest)
        keeper = Keeper(self.paths, self.guest, self.clock, lambda _: None)
        if keeper.find_due():
            why = keeper.find_trouble()
            raise TransientError(f"the snapshot of the last night is not made yet{f': {why}' if why else ''}")
        last = find_night(self.paths.night(self.guest.id))
        reported, session = self.paths.reported(self.guest.id), self.paths.session(self.guest.id)
        touched = reported.exists() or find_session(self.paths, self.guest.id) is not None
        runs = shelf_of(self.paths, self.guest).runs()
        night = night_of_hello(last, touched, runs, self.clock(), secrets.token_hex(_NONCE_BYTES))
        if night != last:
            write_night(self.paths.night(self.guest.id), night)
            session.unlink(missing_ok=True)
            reported.unlink(missing_ok=True)

    def _recall(self, night: Night) -> None:
        """A crash may have come between a record and the note that nothing may be pushed any more."""
        if shelf_of(self.paths, self.guest).find_report(night.run, self.guest.id):
            write_whole(self.paths.reported(self.guest.id), b"")

    def _gate(self, night: Night) -> Gate:
        host = self.guest.as_briefed(night.nonce)
        run = Run(night.run, "peer", night.deadline)
        ledger = Ledger(self.paths, run, shelf_of(self.paths, self.guest))
        return Gate(self.paths, run, host, ledger, self.clock)
