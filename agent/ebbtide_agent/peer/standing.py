"""How a peer's guests stand: the last night and the snapshots of each, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ebbtide_agent import moments
from ebbtide_agent.errors import AgentError
from ebbtide_agent.peer.keeping import Keeper
from ebbtide_agent.peer.machine import Peer
from ebbtide_agent.peer.night import find_night
from ebbtide_agent.peer.past import Past
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.peer.sessions import find_server
from ebbtide_agent.receiver.durable import find_why_lost
from ebbtide_agent.snapshots import FAR_AHEAD


@dataclass(frozen=True)
class Standing:
    """One guest. `run` is its last night, `status` what came of it, none while nothing was reported.

    `open_until` then it may read its snapshots and its nights are refused; none when it may not. `faults` are what a
    person should look at.
    """

    name: str
    id: str
    run: str | None
    status: str | None
    finished: str | None
    snapshots: tuple[str, ...]
    is_due: bool
    open_until: str | None
    faults: tuple[str, ...]

    def as_line(self) -> str:
        night = f"{self.status or 'not reported'} in {self.run}" if self.run else "was never here"
        kept = f"{len(self.snapshots)} snapshots{f', the newest {self.snapshots[-1]}' if self.snapshots else ''}"
        due = "; one is due" if self.is_due else ""
        reads = f"; open until {self.open_until}, and its nights are refused until then" if self.open_until else ""
        return f"{self.name} ({self.id}): {night}; {kept}{due}{reads}{''.join(f'; {fault}' for fault in self.faults)}"

    def as_object(self) -> Mapping[str, object]:
        return {**vars(self), "snapshots": list(self.snapshots), "faults": list(self.faults)}


def find_faults(peer: Peer) -> tuple[str, ...]:
    """What keeps everybody's backup from being taken."""
    faults = []
    if find_server(peer.paths) is None:
        faults.append("nobody serves: systemctl start ebbtide-peer, or ebbtide-agent peer serve")
    if why := find_why_lost(peer.paths):
        faults.append(
            f"{why}: nothing is taken until somebody has looked at the disk of {peer.paths.store} and at the kernel's"
            " log, and serves anew: systemctl restart ebbtide-peer, or ebbtide-agent peer serve"
        )
    try:
        peer.check_store()
    except AgentError as error:
        faults.append(str(error))
    return tuple(faults)


def standing_of(guest: Guest, peer: Peer) -> Standing:
    keeper = Keeper(peer, guest)
    past = keeper.past()
    until = guest.reads_until(peer.up())
    night, report = find_night(peer.paths.night(guest.id)), keeper.find_report()
    return Standing(
        guest.name,
        guest.id,
        night.run if night else None,
        report.status if report else None,
        moments.write(report.finished) if report else None,
        tuple(snapshot.name for snapshot in past.whole),
        keeper.find_due() is not None,
        moments.write(until) if until else None,
        tuple(_faults(guest, peer, keeper, past)),
    )


def _faults(guest: Guest, peer: Peer, keeper: Keeper, past: Past) -> Iterator[str]:
    if trouble := keeper.find_trouble():
        yield f"no snapshot could be made: {trouble}"
    for name in past.damaged:
        yield f"{keeper.store.snapshot(name)} is damaged, and will go with its day"
    added = datetime.fromtimestamp(peer.paths.owner(guest.id).stat().st_mtime, timezone.utc)
    last = past.whole[-1].at if past.whole else None
    if silence := find_silence(last, added, peer.clock(), guest.alarm_after):
        yield silence


def find_silence(last: datetime | None, added: datetime, now: datetime, days: int) -> str | None:
    """What is wrong with the moment of a guest's last complete night, if it may be `days` ago and no more.

    A guest that had none yet has as long, from when it was added.
    """
    if last and last > now + FAR_AHEAD:
        return f"the newest snapshot is dated {moments.write(last)}: this machine's clock was, or is, wrong"
    if now - (last or added) <= timedelta(days=days):
        return None
    since = f"since {moments.write(last)}" if last else f"since it was added, {moments.write(added)}"
    return f"no complete night {since}, and {days} days are the most there should be"
