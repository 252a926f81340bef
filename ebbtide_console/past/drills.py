"""The last drill of each host, by what outlives the table: what was asked for and how it closed, in the archive."""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryKind
from chalicelib.errors import PermanentError
from chalicelib.flows.archived_recoveries import read_recovery
from chalicelib.ports import Archive
from ebbtide_console.past.points import Point


@dataclass(frozen=True)
class Proof:
    """The newest restore point of a host, and the last of its drills that has ended; none, if none has."""

    newest: Point
    drill: Recovery | None


def find_proofs(points: Iterable[Point], archive: Archive) -> tuple[list[Proof], tuple[str, ...]]:
    """One for each host that has a point, in the order of the points; and what could not be read."""
    newest = {point.host_id: point for point in points}
    faults: list[str] = []
    return [Proof(point, _last_drill(host_id, archive, faults)) for host_id, point in newest.items()], tuple(faults)


def _last_drill(host_id: str, archive: Archive, faults: list[str]) -> Recovery | None:
    """A drill that cannot be read is told, and the one before it stands in for it."""
    keys = archive.list(f"{wire.RECOVERIES}{host_id}/")
    for recovery_id in sorted(wire.closed_among(keys), reverse=True):
        try:
            recovery = read_recovery(recovery_id, archive)
        except PermanentError as fault:
            faults.append(f"recovery {recovery_id}: {fault}")
            continue
        if recovery is not None and recovery.kind is RecoveryKind.DRILL:
            return recovery
    return None
