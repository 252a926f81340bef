"""The last drill of each host, by what outlives the table: what was asked for and how it closed, in the archive."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from chalicelib import wire
from chalicelib.core.drilling import stands_against
from chalicelib.core.model import Recovery, RecoveryKind, RunId
from chalicelib.errors import PermanentError
from chalicelib.flows.archived_recoveries import read_recovery
from chalicelib.ports import Archive
from ebbtide_console.past.points import Point


@dataclass(frozen=True)
class Proof:
    """The newest restore point of a host, and the last drill that has ended, of that point or of the newest that was
    drilled; none, if none has. `is_gone` says that there is no such point any more."""

    newest: Point
    drill: Recovery | None
    is_gone: bool = False


def find_proofs(points: Sequence[Point], archive: Archive) -> tuple[list[Proof], tuple[str, ...]]:
    """One for each host that has a point, in the order of the points; and what could not be read."""
    newest = {point.host_id: point for point in points}
    there = {(point.host_id, point.run) for point in points}
    faults: list[str] = []
    proofs = [_proof(point, _last_drill(point, there, archive, faults), there) for point in newest.values()]
    return proofs, tuple(faults)


def _proof(newest: Point, drill: Recovery | None, there: Container[tuple[str, RunId]]) -> Proof:
    return Proof(newest, drill, drill is not None and (newest.host_id, drill.point.run) not in there)


def _last_drill(
    newest: Point, there: Container[tuple[str, RunId]], archive: Archive, faults: list[str]
) -> Recovery | None:
    """A drill that cannot be read is told, and the one before it stands in for it. None is read that was begun before
    there was the point of one that was."""
    last: Recovery | None = None
    keys = archive.list(f"{wire.RECOVERIES}{newest.host_id}/")
    for recovery_id in sorted(wire.closed_among(keys), reverse=True):
        if last is not None and (last.point.at >= newest.at or recovery_id.day < last.point.at.date()):
            break
        try:
            recovery = read_recovery(recovery_id, archive)
        except PermanentError as fault:
            faults.append(f"recovery {recovery_id}: {fault}")
            continue
        if recovery is not None and recovery.kind is RecoveryKind.DRILL:
            last = recovery if last is None or stands_against(recovery, last, there) else last
    return last
