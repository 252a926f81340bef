"""One night of a host with a volume of its own, decided: what is known of its run in, the next steps out.

The host has copied itself into its volume, let go of it, and reported before the run is even opened. What is left is
the run's one snapshot, while the host leaves the volume alone: until the run's deadline, as it has promised. After that
it may be writing again, and a snapshot would hold a mixed tree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.actions import Wait
from chalicelib.core.model import HostResult, Run, RunState, Snapshot, TreeKind, Volume
from chalicelib.core.night_actions import CloseRun, RecordPoints, RunAction, TakeSnapshot
from chalicelib.core.night_end import closing_with, points_of
from chalicelib.core.night_world import complete_results
from chalicelib.core.one_snapshot import (
    adopt_what_is_there,
    after_it,
    has_one,
    may_still_show,
    take_once,
    why_no_other,
)

# The host's clock and ours may differ by this much, and a request that is on its way still takes effect: so long
# before the promise ends no snapshot is asked for any more.
MARGIN = timedelta(minutes=10)
# A tag that the operator is just putting right, or that EC2 does not show: so long it is looked at again.
VOLUME_SETTLES = timedelta(minutes=15)
# However often a host reports: every snapshot has to go again some day, and pruning refuses too many at once.
APART = timedelta(hours=1)


@dataclass(frozen=True)
class OwnReport:
    """What only such a host says: which volume holds its tree, and whether it could let go of it."""

    volume_id: str
    tree: TreeKind
    unmounted: bool


@dataclass(frozen=True)
class VolumeWorld:
    """`volumes` are all that are tagged as this host's; `instance_id` is the policy's word for where the host runs.

    `report` is None for one that cannot be read, and then `unreadable` says why. `last_taken` is when the newest
    snapshot of an earlier run of this host was taken.
    """

    instance_id: str
    volumes: tuple[Volume, ...]
    report: OwnReport | None
    unreadable: str | None
    results: tuple[HostResult, ...]
    snapshots: tuple[Snapshot, ...]
    last_taken: datetime | None = None


def plan_volume(run: Run, world: VolumeWorld, now: datetime) -> tuple[RunAction, ...]:
    """The next steps of this run, in order; empty when it is closed."""
    if run.state.is_final:
        return ()
    if has_one(run, world.snapshots):
        found = after_it(run, world.snapshots, now)
        return _close_with(found, run, world) if isinstance(found, Snapshot) else (found,)
    if adopted := adopt_what_is_there(world.snapshots):
        return adopted
    if world.report is None:
        return _close_without(f"its report does not count: {world.unreadable}")
    if not complete_results(run, world.results):
        return (closing_with((), run, world.results),)
    if why := _why_not(run, world, now):
        return _close_without(why)
    return _towards_the_snapshot(run, world.report, world, now)


def _why_not(run: Run, world: VolumeWorld, now: datetime) -> str | None:
    """Why there will be no snapshot, though the host is complete; None while there may be one."""
    if why := why_no_other(world.snapshots):
        return why
    if run.opened > now + MARGIN:
        return f"its report is of {run.opened.isoformat()}, which is to come: the host's clock is ahead"
    if now > run.deadline - MARGIN and not may_still_show(run, now):
        late = f"no snapshot could be taken while the volume was left alone, until {run.deadline.isoformat()}"
        return f"{late}: {unfit}" if (unfit := _why_unfit(run, world)) else late
    return _why_unfit(run, world) if now >= run.opened + VOLUME_SETTLES else None


def _why_unfit(run: Run, world: VolumeWorld) -> str | None:
    """What keeps the volume from being known for certain: nothing is guessed."""
    expected = f"expected one that is tagged {tags.ROLE} = {tags.Role.HOST}, {tags.HOST} = {run.hosts[0].id}"
    if not world.volumes:
        return f"there is no volume of it: {expected}"
    if len(world.volumes) > 1:
        return f"{', '.join(_ids(world.volumes))} are all tagged as its volume: {expected}"
    (volume,) = world.volumes
    if world.report is not None and world.report.volume_id != volume.id:
        return f"it reports volume {world.report.volume_id}, and tagged as its own is {volume.id}"
    if volume.attached_to not in (None, world.instance_id):
        return f"volume {volume.id} is attached to {volume.attached_to}, and the policy says {world.instance_id}"
    return None


def _towards_the_snapshot(run: Run, report: OwnReport, world: VolumeWorld, now: datetime) -> tuple[RunAction, ...]:
    if why := _why_unfit(run, world):
        return (Wait(why),)
    if world.last_taken is not None and now < world.last_taken + APART:
        return (Wait(f"an hour to pass since this host's last snapshot, of {world.last_taken.isoformat()}"),)
    (volume,) = world.volumes
    consistency = tags.Consistency.RELEASED if report.unmounted else tags.Consistency.CRASH
    complete = tuple(result.id for result in complete_results(run, world.results))
    return take_once(run, TakeSnapshot(volume.id, complete, report.tree, consistency), now)


def _close_with(snapshot: Snapshot, run: Run, world: VolumeWorld) -> tuple[RunAction, ...]:
    points = points_of(snapshot, run, world.results)
    return (RecordPoints(points), closing_with(points, run, world.results))


def _close_without(why: str) -> tuple[RunAction, ...]:
    return (CloseRun(RunState.FAILED, why),)


def _ids(volumes: Iterable[Volume]) -> list[str]:
    return sorted(volume.id for volume in volumes)
