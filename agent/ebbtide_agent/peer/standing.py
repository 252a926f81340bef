"""How a peer's guests stand: the last night and the snapshots of each, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ebbtide_agent import moments
from ebbtide_agent.errors import AgentError
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer.keeping import Keeper, shelf_of
from ebbtide_agent.peer.night import find_night
from ebbtide_agent.peer.register import Guest, Register
from ebbtide_agent.peer.sessions import find_server
from ebbtide_agent.peer.store import check_store
from ebbtide_agent.report import Report


@dataclass(frozen=True)
class Standing:
    """One guest. `run` is its last night, `status` what came of it, none while nothing was reported."""

    name: str
    id: str
    run: str | None
    status: str | None
    finished: str | None
    snapshots: tuple[str, ...]
    is_due: bool
    trouble: str | None

    def as_line(self) -> str:
        night = f"{self.status or 'not reported'} in {self.run}" if self.run else "was never here"
        kept = f"{len(self.snapshots)} snapshots{f', the newest {self.snapshots[-1]}' if self.snapshots else ''}"
        due = "; one is due" if self.is_due else ""
        return f"{self.name} ({self.id}): {night}; {kept}{due}{f': {self.trouble}' if self.trouble else ''}"

    def as_object(self) -> Mapping[str, object]:
        return {**vars(self), "snapshots": list(self.snapshots)}


def find_faults(register: Register, places: HostPaths) -> tuple[str, ...]:
    """What keeps everybody's backup from being taken."""
    paths = PeerPaths(places.state, register.store)
    faults = (
        []
        if find_server(paths) is not None
        else ["nobody serves: systemctl start ebbtide-peer, or ebbtide-agent peer serve"]
    )
    try:
        check_store(paths, register.mark, places.fstab)
    except AgentError as error:
        faults.append(str(error))
    return tuple(faults)


def standing_of(guest: Guest, paths: PeerPaths, clock: Clock) -> Standing:
    keeper = Keeper(paths, guest, clock, lambda _: None)
    night = find_night(paths.night(guest.id))
    report: Report | None = shelf_of(paths, guest).find_report(night.run, guest.id) if night else None
    return Standing(
        guest.name,
        guest.id,
        night.run if night else None,
        report.status if report else None,
        moments.write(report.finished) if report else None,
        keeper.rotation.complete(),
        keeper.find_due() is not None,
        keeper.find_trouble(),
    )
