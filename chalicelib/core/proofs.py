"""What drills and restores have proven of restore points: it holds as long as the snapshot is there, whatever the
catalogue lost, and no later one of the same point finds the contrary.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from operator import attrgetter

from chalicelib.core.model import Recovery, RestorePoint
from chalicelib.core.verdicts import DIFFERENT, PROVEN, VERDICTS

# Points by the host's id and the snapshot's: when they were proven, None where that was contradicted since; and those
# that were not the last time somebody tried.
_Key = tuple[str, str]
Proofs = Mapping[_Key, datetime | None]
Doubts = frozenset[_Key]


def proofs_of(recoveries: Iterable[Recovery]) -> Proofs:
    judged = (each for each in recoveries if each.verdict in (PROVEN, DIFFERENT))
    return {
        _key(each.point): (each.closed or each.opened) if each.verdict == PROVEN else None
        for each in sorted(judged, key=attrgetter("id"))
    }


def doubts_of(recoveries: Iterable[Recovery]) -> Doubts:
    """Whatever the reason was: it may have been want of a machine."""
    tried = (each for each in recoveries if each.verdict in VERDICTS)
    last = {_key(each.point): each.verdict for each in sorted(tried, key=attrgetter("id"))}
    return frozenset(key for key, verdict in last.items() if verdict != PROVEN)


def with_its_proof(point: RestorePoint, proofs: Proofs) -> RestorePoint:
    return replace(point, proven=proofs.get(_key(point), point.proven))


def newest_undoubted(points: Iterable[RestorePoint], doubted: Doubts) -> Collection[RestorePoint]:
    """Of each host the newest one that is proven, and was the last time somebody tried."""
    certain = (point for point in points if point.proven and _key(point) not in doubted)
    return {point.host_id: point for point in sorted(certain, key=attrgetter("at", "snapshot_id"))}.values()


def _key(point: RestorePoint) -> _Key:
    return point.host_id, point.snapshot_id
