"""Restore points from the tags of the stock alone; all that the archive adds is the adopted snapshot and manifests."""

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace

from chalicelib.core import tags
from chalicelib.core.backups import points_in, without_extras
from chalicelib.core.model import RestorePoint, RunId, Snapshot
from chalicelib.errors import PermanentError
from chalicelib.ports import World


def points_of_each_run(
    snapshots: Iterable[Snapshot], adopted: AbstractSet[str], faults: list[str]
) -> dict[RunId, tuple[RestorePoint, ...]]:
    """One of each host: that in an adopted snapshot, else in the oldest, which is the one its run will adopt.

    `adopted` are the ids of snapshots, or of those that they are copies of.
    """
    found: list[RestorePoint] = []
    ours: set[str] = set()
    for snapshot in snapshots:
        ours |= {snapshot.id} if adopted & {snapshot.id, origin_of(snapshot)} else set()
        try:
            found += points_in(snapshot)
        except PermanentError as fault:
            faults.append(f"snapshot {snapshot.id}: {fault}")
    of_run: dict[RunId, list[RestorePoint]] = defaultdict(list)
    for point in without_extras(found, ours):
        of_run[point.run].append(point)
    return {run: tuple(points) for run, points in of_run.items()}


def origin_of(snapshot: Snapshot) -> str:
    """The id its run knows it by: that of a copy's source."""
    return snapshot.tags.get(tags.SOURCE, snapshot.id)


def record_points(run_id: RunId, points: Iterable[RestorePoint], world: World) -> None:
    """With the manifests that the run's reports tell of, where there are any."""
    manifests = {result.id: result.manifest for result in world.catalog.find_results(run_id)}
    for point in points:
        world.catalog.record_point(replace(point, manifest=manifests.get(point.host_id)))
