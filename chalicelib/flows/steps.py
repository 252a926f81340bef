"""Each step of a night, done: one function a step, which gives back the run as it is stored afterwards.

None means that someone else won the conditional write: whoever gets None stops.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from chalicelib import wire
from chalicelib.core import night as plan
from chalicelib.core import tags
from chalicelib.core.ids import launch_token, volume_token
from chalicelib.core.model import SCHEMA, Machine, Run, Snapshot
from chalicelib.core.night import GRACE, Action, NightWorld
from chalicelib.core.policy import Policy
from chalicelib.core.userdata import render
from chalicelib.errors import CapacityError, TokenSpentError, TransientError
from chalicelib.ports import LaunchRequest, World


@dataclass(frozen=True)
class Night:
    """What every step may need: the run's frozen policy, what was observed, the world, and the time."""

    policy: Policy
    observed: NightWorld
    world: World
    now: datetime


def act(action: Action, run: Run, night: Night) -> Run | None:
    """The run after the step; None when someone else won the write."""
    world = night.world
    match action:
        case plan.Wait():
            pass
        case plan.CreateVolume():
            _create_volume(run, night)
        case plan.WriteBrief(volume_id):
            _write_brief(volume_id, run, night)
        case plan.LaunchReceiver():
            return _launch(action, run, night)
        case plan.AttachVolume(volume_id, machine_id):
            world.volumes.attach(volume_id, machine_id)
        case plan.AllowNetworks(networks):
            world.address.allow(networks)
        case plan.PointAddress(name, address):
            world.address.point(name, address)
        case plan.TerminateReceiver(machine_id):
            world.machines.terminate(machine_id)
        case plan.IntendSnapshot():
            return world.catalog.save_run(replace(run, snapshot_intended=night.now))
        case plan.TakeSnapshot():
            return _take_snapshot(action, run, night)
        case plan.AdoptSnapshot(snapshot_id):
            return world.catalog.save_run(replace(run, snapshot_id=snapshot_id))
        case plan.RecordPoints(points):
            for point in points:
                world.catalog.record_point(point)
        case plan.CloseRun():
            return _close(action, run, night)
        case _:
            assert_never(action)
    return run


def _create_volume(run: Run, night: Night) -> None:
    """From the receiver's newest snapshot where there is one: a lost volume costs a load, not a full push."""
    wanted = night.observed.receiver.volume
    world = night.world
    last = _find_newest_snapshot(run.id.receiver, world)
    world.volumes.create_volume(
        token=volume_token(run.id.receiver, _volume_number(run)),
        zone=world.machines.zone_of(world.settings.subnet),
        size_gib=max(wanted.size_gib, last.size_gib if last else 0),
        kind=wanted.type,
        tags={
            tags.NAME: f"ebbtide {run.id.receiver}",
            tags.SCHEMA: str(SCHEMA),
            tags.ROLE: tags.Role.DATA,
            tags.RECEIVER: run.id.receiver,
        },
        snapshot_id=last.id if last else None,
    )


def _find_newest_snapshot(receiver: str, world: World) -> Snapshot | None:
    found = world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RECEIVER: receiver})
    completed = (snapshot for snapshot in found if snapshot.state == "completed")
    return max(completed, key=lambda snapshot: (snapshot.started, snapshot.id), default=None)


def _volume_number(run: Run) -> int:
    """The same for every try of one run, another for every run: a lost volume's token is never asked for again."""
    return run.id.day.toordinal() * 1000 + run.id.attempt


def _write_brief(volume_id: str, run: Run, night: Night) -> None:
    brief = wire.receiver_brief(run, night.observed.receiver, night.policy.hosts, volume_id, GRACE)
    night.world.archive.put_once(wire.brief_key(run.id), brief)


def _launch(action: plan.LaunchReceiver, run: Run, night: Night) -> Run | None:
    """Claim the attempt, then ask. A token whose machine is gone costs the attempt, not the night."""
    claimed = night.world.catalog.save_run(replace(run, machine_attempt=action.attempt, machine_launched=action.since))
    if claimed is None:
        return None
    try:
        _launch_where_there_is_room(claimed, action, night)
    except TokenSpentError:
        spent = replace(claimed, machine_attempt=action.attempt + 1, machine_launched=night.now)
        return night.world.catalog.save_run(spent)
    return claimed


def _launch_where_there_is_room(run: Run, action: plan.LaunchReceiver, night: Night) -> Machine:
    full = []
    for instance_type in night.observed.receiver.instances:
        try:
            return night.world.machines.launch(_launch_request(instance_type, run, action, night))
        except CapacityError:
            full.append(instance_type)
    raise CapacityError(f"run {run.id}: no capacity for any of {', '.join(full)}; the next tick tries again")


def _launch_request(instance_type: str, run: Run, action: plan.LaunchReceiver, night: Night) -> LaunchRequest:
    """The same to the letter for every try of one attempt: EC2 refuses a token that comes with another request."""
    settings = night.world.settings
    end = run.deadline + GRACE
    return LaunchRequest(
        token=launch_token(run.id, action.attempt),
        instance_type=instance_type,
        subnet=settings.subnet,
        security_group=settings.receiver_group,
        user_data=render(
            role=tags.Role.RECEIVER,
            owner=str(run.id),
            attempt=action.attempt,
            bucket=settings.bucket,
            region=settings.region,
            brief_key=wire.brief_key(run.id),
            agent_key=settings.agent,
            power_off_minutes=max(1, (end - action.since) // timedelta(minutes=1)),
        ),
        tags={
            tags.NAME: f"ebbtide {run.id}",
            tags.SCHEMA: str(SCHEMA),
            tags.ROLE: tags.Role.RECEIVER,
            tags.RECEIVER: run.id.receiver,
            tags.RUN: str(run.id),
            tags.ATTEMPT: str(action.attempt),
            tags.EXPIRES: end.isoformat(),
        },
    )


def _take_snapshot(action: plan.TakeSnapshot, run: Run, night: Night) -> Run | None:
    """One attempt, and only if none shows by now. When the answer is lost, the next look will find it and adopt it."""
    volumes = night.world.volumes
    if volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP, tags.RUN: str(run.id)}):
        return run
    wanted = tags.snapshot_tags(run.id, action.complete, action.tree, action.consistency)
    try:
        taken = volumes.create_snapshot(action.volume_id, f"ebbtide {run.id}", wanted)
    except TransientError:
        return run
    return night.world.catalog.save_run(replace(run, snapshot_id=taken.id))


def _close(action: plan.CloseRun, run: Run, night: Night) -> Run | None:
    """The archive first: a run that is closed in the table has always said so there."""
    closed = replace(run, state=action.state, why=action.why, closed=night.now)
    night.world.archive.put_once(wire.closed_key(run.id), wire.closed_record(_record(closed, night)))
    saved = night.world.catalog.save_run(closed)
    if saved is not None:
        night.world.lambdas.invoke_later("prune", wire.prune_payload())
        if night.policy.copy is not None:
            night.world.lambdas.invoke_later("copy", wire.copy_payload())
    return saved


def _record(run: Run, night: Night) -> wire.Closed:
    hosts = tuple(
        wire.ClosedHost(host.name, host.id, plan.status_of(host.id, night.observed.results)) for host in run.hosts
    )
    return wire.Closed(run.id, run.state, run.closed or night.now, run.snapshot_id, run.why, hosts)
