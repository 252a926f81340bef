"""What drills have proven of restore points: it holds as long as the snapshot is there, whatever the catalogue lost."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from chalicelib.core.model import Recovery, RestorePoint
from chalicelib.core.verdicts import PROVEN

# When, by the host's id and the snapshot's.
Proofs = Mapping[tuple[str, str], datetime]


def proofs_of(recoveries: Iterable[Recovery]) -> Proofs:
    return {
        (each.point.host_id, each.point.snapshot_id): each.closed
        for each in recoveries
        if each.verdict == PROVEN and each.closed
    }


def with_its_proof(point: RestorePoint, proofs: Proofs) -> RestorePoint:
    when = proofs.get((point.host_id, point.snapshot_id))
    return replace(point, proven=when) if when else point
