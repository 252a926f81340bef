"""The gate of an opened machine: it lists the one restore point that is served, and lets it be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from ebbtide_agent import moments
from ebbtide_agent.errors import Refused
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.points import Offer, encode_offer
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.lease import leased, seated
from ebbtide_agent.receiver.opened import header_of, reader_name
from ebbtide_agent.receiver.opening import Opening, parse_opening
from ebbtide_agent.receiver.verbs import LIST, RSYNC
from ebbtide_agent.receiver.view import Readable, View


def arrive(paths: MachinePaths, host_id: str, clock: Clock) -> OpenedGate:
    """The gate for the host whose key it was. Raises Refused for another host than the one it was opened for."""
    opening = parse_opening(paths.brief.read_bytes())
    if opening.host.id != host_id:
        raise Refused(f"this machine is open to {opening.host.id}, not to {host_id}")
    return OpenedGate(paths, opening, clock)


@dataclass(frozen=True)
class OpenedGate:
    """The host at the door of its restore point."""

    paths: MachinePaths
    opening: Opening
    clock: Clock

    def answer(self, verb: str, inward: BinaryIO, outward: BinaryIO) -> int:
        """Do what was asked and return the exit code. Raises Refused, or TransientError beside other sessions."""
        self._check_open()
        with seated(self.paths, self.opening.host.id):
            return self._answer(verb, outward)

    def _answer(self, verb: str, outward: BinaryIO) -> int:
        if verb == LIST:
            outward.write(encode_offer(self._offer()))
            return 0
        if verb == RSYNC:
            reader = reader_name(self.opening, os.getpid())
            with leased(self.paths, reader):
                return self._read(reader)
        point, until = self.opening.point.name, moments.write(self.opening.until)
        raise Refused(f"this machine takes no backup: it is open for reading {point} until {until}")

    def _check_open(self) -> None:
        if self.paths.closing.exists() or self.clock() >= self.opening.until:
            raise Refused(f"{self.opening.point.name} is closed: ask the operator to open it again")

    def _offer(self) -> Offer:
        opening = self.opening
        return Offer(opening.host.name, opening.host.id, (opening.point,), opening.until, self.clock())

    def _read(self, reader: str) -> int:
        host = self.opening.host
        place = self.paths.tree(host.id).resolve()
        point = Readable(self.opening.point.name, place, header_of(self.opening, self.paths).munged)
        kind = self.paths.confinement.read_text().strip()
        return confine.serve(kind, View(host.uid, points=(point,)), self.paths.rsync_config(reader))
