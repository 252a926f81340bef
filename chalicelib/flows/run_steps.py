"""Each step that every run has, done: its one snapshot, its restore points, its closing.

None means that someone else won the conditional write: whoever gets None stops.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from chalicelib import wire
from chalicelib.core import actions, tags
from chalicelib.core import night_actions as plan
from chalicelib.core.model import HostResult, Run
from chalicelib.core.night_actions import RunAction
from chalicelib.core.night_world import status_of
from chalicelib.core.one_snapshot import sound
from chalicelib.core.policy import Policy
from chalicelib.errors import TransientError
from chalicelib.ports import World


@dataclass(frozen=True)
class Ground:
    """What every step stands on: the run's frozen policy, what its hosts reported, the world, and the time."""

    policy: Policy
    results: tuple[HostResult, ...]
    world: World
    now: datetime


def act(action: RunAction, run: Run, ground: Ground) -> Run | None:
    """The run after the step; None when someone else won the write."""
    catalog = ground.world.catalog
    match action:
        case actions.Wait():
            pass
        case plan.IntendSnapshot():
            return catalog.save_run(replace(run, snapshot_intended=ground.now))
        case plan.TakeSnapshot():
            return _take_snapshot(action, run, ground.world)
        case plan.AdoptSnapshot(snapshot_id):
            return catalog.save_run(replace(run, snapshot_id=snapshot_id))
        case plan.RecordPoints(points):
            for point in points:
                catalog.record_point(point)
        case plan.CloseRun():
            return _close(action, run, ground)
        case _:
            assert_never(action)
    return run


def _take_snapshot(action: plan.TakeSnapshot, run: Run, world: World) -> Run | None:
    """One attempt, and only if none shows by now. When the answer is lost, the next look will find it and adopt it."""
    if sound(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RUN: str(run.id)})):
        return run
    wanted = tags.snapshot_tags(run.id, action.complete, action.tree, action.consistency)
    try:
        taken = world.volumes.create_snapshot(action.volume_id, f"ebbtide {run.id}", wanted)
    except TransientError:
        return run
    return world.catalog.save_run(replace(run, snapshot_id=taken.id))


def _close(action: plan.CloseRun, run: Run, ground: Ground) -> Run | None:
    """The archive first, and what it says holds: a closing cut short is finished as it was begun."""
    key, world = wire.closed_key(run.id), ground.world
    closing = replace(run, state=action.state, why=action.why, closed=ground.now)
    world.archive.put_once(key, wire.closed_record(_record(closing, ground)))
    begun = wire.parse_closed(world.archive.get(key))
    saved = world.catalog.save_run(
        replace(closing, state=begun.state, why=begun.why, closed=begun.closed, snapshot_id=begun.snapshot_id)
    )
    if saved is not None:
        world.lambdas.invoke_later("prune", wire.prune_payload())
        if ground.policy.copy or ground.policy.vault:
            world.lambdas.invoke_later("copy", wire.copy_payload())
        world.lambdas.invoke_later("tell_operators", wire.telling_payload())
    return saved


def _record(run: Run, ground: Ground) -> wire.Closed:
    hosts = tuple(wire.ClosedHost(host.name, host.id, status_of(host.id, ground.results)) for host in run.hosts)
    return wire.Closed(run.id, run.state, run.closed or ground.now, run.snapshot_id, run.why, hosts)
