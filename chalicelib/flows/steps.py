"""Each step of a receiver's night, done: one function a step, which gives back the run as it is stored afterwards.

None means that someone else won the conditional write: whoever gets None stops. Those of every run are in `run_steps`.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.core import actions, tags
from chalicelib.core import night_actions as plan
from chalicelib.core.ids import launch_token, volume_token
from chalicelib.core.model import SCHEMA, Run
from chalicelib.core.night import GRACE
from chalicelib.core.night_actions import Action
from chalicelib.core.night_world import NightWorld, can_be_made, distrusts, find_source, has_received, next_zone
from chalicelib.core.policy import Policy
from chalicelib.core.userdata import render
from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TransientError
from chalicelib.flows import run_steps
from chalicelib.flows.launching import launch_where_there_is_room, place_of
from chalicelib.flows.run_steps import Ground
from chalicelib.ports import LaunchRequest, World

# Long enough for a person to copy from a damaged volume what is in no snapshot; one that was made from a snapshot
# tonight has nothing else.
KEPT_ASIDE, KEPT_WITH_NOTHING = timedelta(days=30), timedelta(0)


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
        case plan.CreateVolume():
            return _create_volume(action, run, night)
        case plan.GrowVolume():
            return _grow_volume(action, run, night)
        case actions.WriteBrief(volume_id):
            _write_brief(volume_id, run, night)
        case plan.SetAside(volume_id):
            return _set_aside(volume_id, run, night)
        case plan.LaunchReceiver():
            return _launch(action, run, night)
        case actions.AttachVolume(volume_id, machine_id):
            world.volumes.attach(volume_id, machine_id)
        case plan.AllowNetworks(networks):
            world.address.allow(networks)
        case plan.PointAddress(name, address):
            world.address.point(name, address)
        case plan.TerminateReceiver(machine_id):
            world.machines.terminate(machine_id)
        case plan.DeleteVolume(volume_id):
            world.volumes.delete_volume(volume_id)
        case _:
            # What was measured is kept with whatever is written next.
            measured = replace(run, disk=night.observed.disk)
            return run_steps.act(action, measured, Ground(night.policy, night.observed.results, world, night.now))
    return run


def _create_volume(action: plan.CreateVolume, run: Run, night: Night) -> Run | None:
    try:
        _ask_for_volume(action, run, night)
    except CapacityError as full:
        return _leave_zone(action.zone, full, run, night)
    return run


def _ask_for_volume(action: plan.CreateVolume, run: Run, night: Night) -> None:
    night.world.volumes.create_volume(
        token=volume_token(run.id, action.zone, len(night.observed.unsound)),
        zone=action.zone,
        size_gib=action.size_gib,
        kind=night.observed.receiver.volume.type,
        tags={
            tags.NAME: f"ebbtide {run.id.receiver}",
            tags.SCHEMA: str(SCHEMA),
            tags.ROLE: tags.Role.DATA,
            tags.RECEIVER: run.id.receiver,
            tags.MADE_FOR: str(run.id),
            **({tags.MADE_FROM: action.snapshot_id} if action.snapshot_id else {}),
        },
        snapshot_id=action.snapshot_id,
    )


def _grow_volume(action: plan.GrowVolume, run: Run, night: Night) -> Run | None:
    """Claimed first, so that it is asked for once. EBS may refuse: it takes some hours between two changes."""
    claimed = night.world.catalog.save_run(replace(run, growth_asked=night.now))
    if claimed is not None:
        with suppress(TransientError, PermanentError):
            night.world.volumes.grow(action.volume_id, action.size_gib)
    return claimed


def _set_aside(volume_id: str, run: Run, night: Night) -> Run | None:
    """Recorded first: once it is tagged, it is not found among the receiver's volumes any more.

    Raises what refused a mark once the others are set, so that the next look goes on without it.
    """
    claimed = night.world.catalog.save_run(replace(run, aside=tuple(dict.fromkeys((*run.aside, volume_id)))))
    if claimed is None:
        return None
    refusals = list(_refusals(_marks(volume_id, run, night), night.world))
    if refusals:
        untagged = tuple(dict.fromkeys((*claimed.untagged, *map(str, refusals))))
        night.world.catalog.save_run(replace(claimed, why=str(refusals[0]), untagged=untagged))
        raise refusals[0]
    return claimed


def _marks(volume_id: str, run: Run, night: Night) -> Iterator[tuple[str, dict[str, str]]]:
    """What is tagged with what. The volume last: without its tag it is set aside once more, and its source marked."""
    source = find_source(run, volume_id, night.observed)
    is_as_made = source is not None and not has_received(night.observed)
    if source and is_as_made:
        yield source, {tags.DAMAGED: str(run.id)}
    expires = (run.deadline + (KEPT_WITH_NOTHING if is_as_made else KEPT_ASIDE)).isoformat()
    yield volume_id, {tags.ROLE: tags.Role.ASIDE, tags.EXPIRES: expires}


def _refusals(marks: Iterable[tuple[str, dict[str, str]]], world: World) -> Iterator[PermanentError]:
    for resource_id, mark in marks:
        try:
            world.volumes.tag(resource_id, mark)
        except PermanentError as refusal:
            yield refusal


def _write_brief(volume_id: str, run: Run, night: Night) -> None:
    is_distrusted = distrusts(run, volume_id, night.observed)
    brief = wire.receiver_brief(run, night.observed.receiver, night.policy.hosts, volume_id, GRACE, is_distrusted)
    night.world.archive.put_once(wire.brief_key(run.id, volume_id), brief)


def _launch(action: plan.LaunchReceiver, run: Run, night: Night) -> Run | None:
    """Claim the attempt, then ask; that the zone was full counts only if it is so again. A token whose machine is gone
    costs the attempt, not the night; nor does a zone that has no room, or whose subnet is gone or takes no machine.
    """
    others = tuple(zone for zone in run.full_zones if zone != action.zone)
    asking = replace(run, machine_attempt=action.attempt, machine_launched=action.since, full_zones=others)
    claimed = night.world.catalog.save_run(asking)
    if claimed is None:
        return None
    requests = [_launch_request(each, claimed, action, night) for each in night.observed.receiver.instances]
    try:
        launch_where_there_is_room(f"run {run.id}", requests, night.world.machines)
    except TokenSpentError:
        spent = replace(claimed, machine_attempt=action.attempt + 1, machine_launched=night.now)
        return night.world.catalog.save_run(spent)
    except (CapacityError, PermanentError) as fault:
        return _leave_zone(action.zone, fault, claimed, night)
    return claimed


def _leave_zone(zone: str, fault: CapacityError | PermanentError, run: Run, night: Night) -> Run | None:
    """On to the next zone; raises the fault when there is none, and the next tick tries this one again.

    A zone that a volume holds the run to is never written down as full: the run would be stranded beside it.
    """
    full = tuple(dict.fromkeys((*run.full_zones, zone)))
    left = replace(run, full_zones=full, machine_launched=None, why=str(fault))
    if next_zone(left, night.observed) is not None:
        return night.world.catalog.save_run(left)
    is_held = not can_be_made(run, night.observed)
    night.world.catalog.save_run(replace(run, full_zones=run.full_zones if is_held else full, why=str(fault)))
    raise fault


def _launch_request(instance_type: str, run: Run, action: plan.LaunchReceiver, night: Night) -> LaunchRequest:
    """The same to the letter for every try of one attempt: EC2 refuses a token that comes with another request."""
    settings, machines = night.world.settings, night.world.machines
    end = run.deadline + GRACE
    return LaunchRequest(
        token=launch_token(run.id, action.attempt),
        instance_type=instance_type,
        subnet=next(subnet for subnet in settings.subnets if place_of(subnet, machines) == action.zone),
        security_group=settings.receiver_group,
        user_data=render(
            role=tags.Role.RECEIVER,
            owner=str(run.id),
            attempt=action.attempt,
            bucket=settings.bucket,
            region=settings.region,
            brief_key=wire.brief_key(run.id, action.volume_id),
            agent_key=settings.agent,
            power_off_minutes=max(1, (end - action.since) // timedelta(minutes=1)),
            stop_minutes=GRACE // timedelta(minutes=1),
            serves=True,
            nonce=run.nonce,
            filesystem=night.observed.receiver.volume.filesystem,
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
