"""A peer with one guest, whose nights are recorded as its gate records them; only the push itself is left out."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ebbtide_agent.moments import Up
from ebbtide_agent.paths import DirectoryPaths, HostPaths, PeerPaths
from ebbtide_agent.peer.arrival import Arrival
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import peer_at
from ebbtide_agent.peer.night import Night, find_night
from ebbtide_agent.peer.register import Guest, encode_register
from ebbtide_agent.peer.request import GuestRequest, Machine
from ebbtide_agent.peer.setup import plan_add
from ebbtide_agent.peer.shelf import Shelf
from ebbtide_agent.points import parse_offer
from ebbtide_agent.receiver.brief import Run
from ebbtide_agent.receiver.lease import Session, write_session
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.places import make_room
from ebbtide_agent.receiver.verbs import HELLO, LIST, Asked
from ebbtide_agent.report import COMPLETE, Report, encode_greeting, parse_hello
from ebbtide_agent.site import Site
from ebbtide_agent.steps import walk

NOW = datetime(2026, 11, 26, 2, 10, tzinfo=UTC)


class Taking:
    """eu0 at a time of our choosing, which takes us0."""

    def __init__(self, place: Path, keep: int = 7) -> None:
        places = HostPaths(place / "etc", place / "state")
        places.etc.mkdir()
        site = Site(places, place / "ebbtide-agent", "eu0", is_the_systems=False, has_systemd=False)
        request = GuestRequest("us0", "us0a", (f"ssh-ed25519 {'A' * 44}",), place / "store", keep=keep)
        self.machine = Machine(site, 1000, ("gate",))
        walk(plan_add(request, self.machine).steps, lambda _: None, dry_run=False)
        self.now, self.said = NOW, list[str]()
        self.start = "the first"
        self.peer = replace(peer_at(places, lambda: self.now), up=self.up)
        make_room(self.paths)

    @property
    def paths(self) -> PeerPaths:
        return self.peer.paths

    @property
    def guest(self) -> Guest:
        return self.peer.register.guest("us0a")

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.peer, self.guest, self.said.append)

    @property
    def store(self) -> DirectoryPaths:
        return self.paths.snapshots("us0a")

    @property
    def snapshots(self) -> tuple[str, ...]:
        return self.keeper.rotation.complete()

    def up(self) -> Up:
        """As long as nobody sets its clock."""
        return Up(self.start, (self.now - NOW).total_seconds())

    def open_for(self, span: timedelta) -> None:
        closes = replace(self.up(), seconds=self.up().seconds + span.total_seconds())
        self.change(open_until=self.now + span, closes=closes)

    def offered(self) -> tuple[str, ...]:
        """What the guest may read, as it is told."""
        answer = io.BytesIO()
        Arrival(self.peer, "us0a").answer(Asked(LIST), io.BytesIO(), answer)
        return tuple(point.name for point in parse_offer(answer.getvalue()).points)

    def days_pass(self, days: int = 1) -> None:
        self.now += timedelta(days=days)

    def change(self, **fields: object) -> None:
        """What the register says of the guest."""
        register = self.peer.register.with_guest(replace(self.guest, **fields))  # type: ignore[arg-type]
        self.peer.places.peer.write_bytes(encode_register(register))

    def say_hello(self, machine: str = "") -> Night:
        """As an agent does on a machine, or an older one, which does not say where it is."""
        answer, greeting = io.BytesIO(), encode_greeting(machine) if machine else b""
        Arrival(self.peer, "us0a").answer(Asked(HELLO), io.BytesIO(greeting), answer)
        night = find_night(self.paths.night("us0a"))
        assert night and night.run == parse_hello(answer.getvalue()).run
        return night

    def report(
        self, night: Night, status: str = COMPLETE, host_clock: datetime | None = None, guarded: bool = False
    ) -> Report:
        """What was pushed is recorded; the snapshot of it is due. A receiver's hosts are guarded, and no peer's."""
        write_session(self.paths, "us0a", Session(0, 1.0))
        finished = host_clock or self.now
        report = Report(night.run, "us0", "us0a", night.nonce, status, finished, finished, 0)
        guest = replace(self.guest.as_briefed(night.nonce), guarded=guarded)
        return self._ledger(night).record(guest, report, self.now)

    def cut_off(self, night: Night) -> None:
        """As a receiver does whose deadline has come; a peer waits for its guest."""
        self._ledger(night).record_cut_off(self.guest.as_briefed(night.nonce), self.now)

    def _ledger(self, night: Night) -> Ledger:
        return Ledger(self.paths, Run(night.run, "peer", night.deadline, nonce=""), Shelf.of(self.paths, "us0a"))

    def night(self, status: str = COMPLETE, host_clock: datetime | None = None) -> None:
        """A whole one: its snapshot is made, if one is due."""
        night = self.say_hello()
        (self.paths.tree("us0a") / "file").write_text(night.run)
        self.report(night, status, host_clock)
        self.keeper.keep()
