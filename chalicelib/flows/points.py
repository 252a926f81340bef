"""Restore points from the tags of the stock alone; all that the archive adds is the adopted snapshot and manifests."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.model import RestorePoint, RunId, Snapshot
from chalicelib.errors import PermanentError
from chalicelib.ports import World


def points_of_each_run(
    snapshots: Iterable[Snapshot], adopted: Mapping[RunId, str], faults: list[str]
) -> dict[RunId, tuple[RestorePoint, ...]]:
    """Those in the snapshot its run adopted, else in the oldest completed one, which is the one it will adopt."""
    chosen: dict[RunId, tuple[RestorePoint, ...]] = {}
    for snapshot in sorted(snapshots, key=lambda snapshot: (snapshot.started, snapshot.id)):
        try:
            points = points_in(snapshot)
        except PermanentError as fault:
            faults.append(f"snapshot {snapshot.id}: {fault}")
            continue
        if points and adopted.get(points[0].run, origin_of(snapshot)) == origin_of(snapshot):
            chosen.setdefault(points[0].run, points)
    return chosen


def origin_of(snapshot: Snapshot) -> str:
    """The id its run knows it by: that of a copy's source."""
    return snapshot.tags.get(tags.SOURCE, snapshot.id)


def record_points(run_id: RunId, points: Iterable[RestorePoint], world: World) -> None:
    """With the manifests that the run's reports tell of, where there are any."""
    manifests = {result.id: result.manifest for result in world.catalog.find_results(run_id)}
    for point in points:
        world.catalog.record_point(replace(point, manifest=manifests.get(point.host_id)))
