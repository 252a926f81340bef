"""How a run ends: its restore points, the volumes it lets go, its state and why. A part of `night.plan`.

What a volume holds and no completed snapshot does is never given up. A zone is left only before anything was received
there; the volume that stays behind goes when every host is complete in a later snapshot, and not before. An ephemeral
volume goes when its own snapshot is complete; one whose night failed is what the next night goes on with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chalicelib.core import tags
from chalicelib.core.model import HostResult, RestorePoint, Run, RunState, Snapshot, Volume
from chalicelib.core.night_actions import Action, CloseRun, DeleteVolume, RecordPoints, TerminateReceiver
from chalicelib.core.night_world import (
    NightWorld,
    complete_results,
    has_received,
    held_volume,
    is_made_for,
    latest_attempt,
    standing,
    status_of,
)


def close_with(snapshot: Snapshot, run: Run, world: NightWorld) -> tuple[Action, ...]:
    """The end of a run whose snapshot is complete."""
    points = points_of(snapshot, run, world.results)
    closing = _with_their_words(closing_with(points, run, world.results), world)
    return (RecordPoints(points), *_let_volumes_go(snapshot, closing, world), closing)


def close_without_snapshot(run: Run, world: NightWorld, why: str) -> tuple[Action, ...]:
    """Nothing of ours keeps running. A volume stays, but for one made tonight and never pushed to that is beside
    another, or has nothing but what the newest snapshot has, or never had a machine: the next night makes one anew, and
    knows that it did.
    """
    machines = (TerminateReceiver(machine.id, why) for machine in standing(world.machines))
    unused = (
        DeleteVolume(volume.id, "nothing was pushed to it")
        for volume in world.volumes
        if is_made_for(run, volume)
        and volume.state == "available"
        and (held_volume(run, world) is not None or _is_in(world.newest, volume) or _had_no_machine(volume, run, world))
    )
    closing = _with_their_words(CloseRun(RunState.FAILED, why), world)
    return (*machines, *(() if has_received(world) else unused), closing)


def _with_their_words(closing: CloseRun, world: NightWorld) -> CloseRun:
    """Who reads why a night is not done reads what the last receiver that let nobody in said of that, too."""
    last = max(world.refused.items(), default=None)
    if closing.why is None or last is None:
        return closing
    return replace(closing, why=f"{closing.why}; receiver {last[0]} says: {last[1]}")


def _is_in(newest: Snapshot | None, volume: Volume) -> bool:
    return newest is not None and volume.tags.get(tags.MADE_FROM) == newest.id


def _had_no_machine(volume: Volume, run: Run, world: NightWorld) -> bool:
    """Whether EC2 has refused every receiver that was asked for where it is: it is as empty as it was made. The first
    night leaves one in each zone like this, and the next one would be held to one of them, with room there or not.
    """
    return volume.zone in run.full_zones and latest_attempt(run, world) == 1 and not world.machines


def points_of(snapshot: Snapshot, run: Run, results: Iterable[HostResult]) -> tuple[RestorePoint, ...]:
    """What the snapshot's own tags say is complete: the catalogue can be rebuilt to exactly this."""
    tagged = tags.unpack(snapshot.tags)
    return tuple(
        RestorePoint(result.id, snapshot.started, snapshot.id, run.id, result.tree, result.manifest)
        for result in complete_results(run, results)
        if result.id in tagged
    )


def _let_volumes_go(snapshot: Snapshot, closing: CloseRun, world: NightWorld) -> tuple[Action, ...]:
    """Its own volume when it is ephemeral; those left in other zones only when no host's latest push is theirs."""
    is_ephemeral = world.receiver.volume.mode == "ephemeral"
    return tuple(
        DeleteVolume(volume.id, f"snapshot {snapshot.id} is complete")
        for volume in world.volumes
        if volume.state == "available"
        and (is_ephemeral if volume.id == snapshot.volume_id else closing.state is RunState.DONE)
    )


def closing_with(points: Iterable[RestorePoint], run: Run, results: Sequence[HostResult]) -> CloseRun:
    """The state of a run that has these points, and the hosts that lack one."""
    pointed = {point.host_id for point in points}
    lacking = [f"{host.name} {status_of(host.id, results)}" for host in run.hosts if host.id not in pointed]
    if not lacking:
        return CloseRun(RunState.DONE, None)
    return CloseRun(RunState.DEGRADED if pointed else RunState.FAILED, "not complete: " + ", ".join(lacking))
