"""The night after the night: the first region is out, and the second one proves that it has all it needs."""

from chalicelib.core import tags
from chalicelib.core.model import RestorePoint, Run, Snapshot
from ebbtide_console.sandbox.cloud import Cloud, Tell
from ebbtide_console.sandbox.stack import Stack
from ebbtide_console.sandbox.waiting import wait_for


def outlive(cloud: Cloud, standby: Stack, run: Run, tell: Tell) -> None:
    """Have the run's snapshot copied, put the first region out, and wait for its points in the second one."""
    there = standby.region.name
    copy = await_copy(cloud, run, there)
    tell(f"snapshot {run.snapshot_id} copied to {there} as {copy.id}")
    cloud.sandbox.quiet()
    tell(f"archive replicated to {there}: {len(standby.world.archive.list(''))} objects")
    cloud.sandbox.first.go_out()
    tell(f"{cloud.stack.region.name} is out: whoever asks there gets no answer any more")
    standby.region.schedule.fire("tick")
    points = wait_for(f"the points of {run.id} in {there}", lambda: _points_in(copy, standby))
    tell(f"{there}: the copy is {len(points)} restore points, with the reports and manifests of the replica")


def await_copy(cloud: Cloud, run: Run, region: str) -> Snapshot:
    """The complete copy of a run's snapshot.

    The run has asked for it at its end; the tick asks again, should an older copy have been under way then.
    """
    wanted = {tags.ROLE: tags.Role.COPY, tags.SOURCE: str(run.snapshot_id)}

    def complete() -> Snapshot | None:
        cloud.sandbox.quiet()
        copies = cloud.stack.world.copies.find(region, wanted)
        if not copies:
            cloud.sandbox.first.schedule.fire("tick")
        return next((copy for copy in copies if copy.state == "completed"), None)

    return wait_for(f"the copy of {run.snapshot_id} in {region}", complete)


def _points_in(copy: Snapshot, standby: Stack) -> list[RestorePoint] | None:
    return [point for point in standby.world.catalog.find_points() if point.snapshot_id == copy.id] or None
