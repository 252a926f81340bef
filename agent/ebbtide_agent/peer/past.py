"""What is kept of a guest: its snapshots, and of each the night that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ebbtide_agent import snapshots
from ebbtide_agent.errors import AgentError
from ebbtide_agent.manifest_file import DAMAGE, read_manifest
from ebbtide_agent.paths import DirectoryPaths
from ebbtide_agent.report import Report, parse_report
from ebbtide_agent.rotation import names_in


@dataclass(frozen=True)
class Snapshot:
    """One that is whole; `munged` as its tree was written."""

    name: str
    report: Report
    munged: bool

    @property
    def at(self) -> datetime:
        return snapshots.moment_of(self.name)


@dataclass(frozen=True)
class Past:
    """All there are, the oldest first. What does not say itself what it is counts as none of them: it is damaged."""

    whole: tuple[Snapshot, ...]
    damaged: tuple[str, ...]

    def expired(self, days: int) -> tuple[str, ...]:
        """Those that go when all of the last `days` days stay. What is damaged goes with its day, and lets none go."""
        whole = {snapshot.name for snapshot in self.whole}
        names = sorted({*whole, *self.damaged})
        return tuple(name for name in names if name in snapshots.expire_days(tuple(sorted({*whole, name})), days))


def read_past(store: DirectoryPaths) -> Past:
    found = [(name, _find_whole(store, name)) for name in names_in(store)]
    return Past(
        tuple(snapshot for _, snapshot in found if snapshot),
        tuple(name for name, snapshot in found if not snapshot),
    )


def find_newest(store: DirectoryPaths) -> Snapshot | None:
    """The newest of those that are whole; nothing is read of the older ones."""
    return next(filter(None, (_find_whole(store, name) for name in reversed(names_in(store)))), None)


def _find_whole(store: DirectoryPaths, name: str) -> Snapshot | None:
    try:
        with store.manifest(name).open("rb") as file:
            header, _ = read_manifest(file)
        return Snapshot(name, parse_report(store.report(name).read_bytes()), header.munged)
    except (*DAMAGE, AgentError):
        return None
