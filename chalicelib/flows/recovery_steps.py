"""Each step of a recovery, done: one function a step, which gives back the recovery as it is stored afterwards.

None means that someone else won the conditional write: whoever gets None stops.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import assert_never

from chalicelib import wire
from chalicelib.core import actions, restored, tags
from chalicelib.core import recovery_actions as plan
from chalicelib.core.architectures import Footing, footing
from chalicelib.core.ids import launch_token, recovery_volume_token
from chalicelib.core.model import SCHEMA, Machine, Recovery, RecoveryKind, RecoveryState, Run, RunId, Step
from chalicelib.core.recovery_actions import Action
from chalicelib.core.steps import LAUNCH, MACHINE, advanced
from chalicelib.core.userdata import render
from chalicelib.core.verdicts import OPENED
from chalicelib.errors import CapacityError, PermanentError
from chalicelib.flows.briefed import get_reported_tree
from chalicelib.flows.launching import launch_where_there_is_room, place_of, subnets_of_restores
from chalicelib.flows.policies import get_policy
from chalicelib.flows.serving import serving
from chalicelib.ports import LaunchRequest, Settings, World

_VOLUME_TYPE = "gp3"


@dataclass(frozen=True)
class Place:
    """Where a recovery's machine may stand, the preferred subnet first, and on what: for a host that is such a
    `machine`, if anything says so; `unread` is why its report does not, where that cannot be read."""

    subnets: tuple[str, ...]
    machine: str | None
    footing: Footing
    unread: str | None = None


def act(action: Action, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """The recovery after the step; None when someone else won the write."""
    match action:
        case actions.Wait():
            pass
        case plan.CreateVolume():
            _create_volume(action, recovery, world)
        case actions.WriteBrief(volume_id):
            _write_brief(volume_id, recovery, world)
        case plan.LaunchMachine(zone):
            return _launch(zone, recovery, world, now)
        case plan.ReplaceMachine(why):
            return _replace(why, recovery, world, now)
        case actions.AttachVolume(volume_id, machine_id):
            world.volumes.attach(volume_id, machine_id)
        case plan.AdmitNetworks(networks):
            world.address.admit(networks)
        case plan.SetWays(ways):
            world.entrances.set(ways)
        case plan.KeepUntil(expires):
            _keep_until(expires, recovery, world)
        case plan.RecordOpened(address):
            return world.catalog.save_recovery(replace(recovery, verdict=OPENED, address=address, step=None))
        case plan.RecordStep(step):
            return world.catalog.save_recovery(advanced(recovery, step))
        case plan.RecordBack(address, findings, times):
            back = replace(recovery, address=address, times=times)
            return world.catalog.save_recovery(_finding(back, *findings))
        case plan.RecordDoubt(finding):
            return _record_doubt(finding, recovery, world)
        case plan.RecordVerdict(verdict, findings, times, overtaken):
            before = (each for each in recovery.findings if each not in overtaken)
            found = dict.fromkeys((*findings, *before))  # the first one is why
            known = replace(recovery, verdict=verdict, findings=(*found,), times=times or recovery.times, step=None)
            return _record_verdict(known, world)
        case plan.TerminateMachine(machine_id):
            world.machines.terminate(machine_id)
        case plan.DeleteVolume(volume_id):
            world.volumes.delete_volume(volume_id)
        case plan.MarkProven(at):
            world.catalog.mark_proven(replace(recovery.point, proven=at))
        case plan.MarkDisproven():
            world.catalog.mark_proven(replace(recovery.point, proven=None))
        case plan.CloseRecovery(state):
            return _close(state, recovery, world, now)
        case _:
            assert_never(action)
    return recovery


def _keep_until(expires: datetime, recovery: Recovery, world: World) -> None:
    """The machine last: what is cut short before that is seen by it, and done again."""
    ours, later = {tags.RECOVERY: str(recovery.id)}, {tags.EXPIRES: expires.isoformat()}
    for volume in world.volumes.find_volumes(ours):
        world.volumes.tag(volume.id, later)
    for machine in world.machines.find(ours):
        if not machine.is_gone:
            world.machines.tag(machine.id, later)


def _write_brief(volume_id: str, recovery: Recovery, world: World) -> None:
    if recovery.kind is RecoveryKind.OPENING:
        brief = wire.recovery_brief(recovery, volume_id, serving=serving(recovery, world))
    else:
        brief = wire.recovery_brief(recovery, volume_id, manifest_sha256=_reported_digest(recovery, world))
    world.archive.put_once(wire.recovery_brief_key(recovery), brief)


def _reported_digest(recovery: Recovery, world: World) -> str | None:
    """The digest of its point's manifest as its night's report tells it: the archive could hold another by now."""
    report, _ = _read_report(recovery, world)
    told = report.manifest if report else None
    return told.sha256 if told is not None and told.key == recovery.point.manifest else None


def _read_report(recovery: Recovery, world: World) -> tuple[wire.ReportedTree | None, str | None]:
    """Of the night that its point is of, as the archive has it; or why it cannot be read, which costs nobody a server
    that is wanted back: without it that is brought up as one which nothing is known of.

    Raises PermanentError where it is a drill, which is to find just that.
    """
    point = recovery.point
    try:
        return get_reported_tree(point.run, point.host_id, world.archive, _find_run(point.run, world)), None
    except KeyError:
        return None, None
    except PermanentError as fault:
        unread = f"the report of its night cannot be read ({fault}): the archive keeps what was there before"
        if recovery.kind is RecoveryKind.DRILL:
            raise PermanentError(f"{unread}; a restore does without") from fault
        return None, unread


def _find_run(run_id: RunId, world: World) -> Run | None:
    try:
        return world.catalog.get_run(run_id)
    except KeyError:
        return None


def _create_volume(action: plan.CreateVolume, recovery: Recovery, world: World) -> None:
    with _lack_of_room_recorded(recovery, world):
        world.volumes.create_volume(
            token=recovery_volume_token(recovery.id, recovery.attempt),
            zone=action.zone,
            size_gib=action.size_gib,
            kind=_VOLUME_TYPE,
            tags=_tags(recovery),
            snapshot_id=action.snapshot_id,
            rate=action.rate,
        )


def _launch(zone: str | None, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """In this zone, or in the first one with room."""
    place, machines = _place(recovery, world), world.machines
    subnets = [each for each in place.subnets if zone is None or zone == place_of(each, machines)]
    requests = [
        _launch_request(each, subnet, place, recovery, world) for subnet in subnets for each in place.footing.instances
    ]
    with _lack_of_room_recorded(recovery, world):
        machine = launch_where_there_is_room(f"recovery {recovery.id}", requests, machines)
    known = _finding(recovery, *_what_nobody_said(recovery, place), *_moved(machine, place, world))
    stands = replace(known, machine_id=machine.id, launched=now, zone=machine.zone, instance_type=machine.instance_type)
    return world.catalog.save_recovery(advanced(stands, Step(MACHINE, now)))


@contextmanager
def _lack_of_room_recorded(recovery: Recovery, world: World) -> Iterator[None]:
    """As a finding: there may be none to the end."""
    try:
        yield
    except CapacityError as full:
        if str(full) not in recovery.findings:
            world.catalog.save_recovery(_finding(recovery, str(full)))
        raise


def _finding(recovery: Recovery, *findings: str) -> Recovery:
    """With these, each of them once."""
    return replace(recovery, findings=tuple(dict.fromkeys((*recovery.findings, *findings))))


def _moved(machine: Machine, place: Place, world: World) -> tuple[str, ...]:
    """A finding, of a machine that stands elsewhere than it was to."""
    places = (place_of(subnet, world.machines) for subnet in place.subnets)
    before = ", ".join(dict.fromkeys(takewhile(lambda each: each != machine.zone, places)))
    return (f"EC2 gave it no machine in {before}: it is brought up in {machine.zone}",) if before else ()


def _replace(why: str, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """The next attempt, of which nothing was asked for yet: it has a volume, a brief and a nonce of its own."""
    unasked = replace(recovery, machine_id=None, launched=None, zone=None, instance_type=None)
    nonce = world.new_nonce() if recovery.nonce else ""
    another = replace(unasked, attempt=recovery.attempt + 1, nonce=nonce, step=Step(LAUNCH, now))
    return world.catalog.save_recovery(_finding(another, why))


def _what_nobody_said(recovery: Recovery, place: Place) -> tuple[str, ...]:
    """A finding, of an image that may turn out not to run where it is brought up."""
    if place.machine is not None or recovery.kind is RecoveryKind.OPENING:
        return ()
    if place.unread is not None:
        return (f"{place.unread}; it is brought up on what receivers stand on, its manifest taken as it is",)
    return ("no report of its night says what machine its host is: it is brought up on what receivers stand on",)


def _place(recovery: Recovery, world: World) -> Place:
    """As the policy it was opened under has it; an opening stands where receivers do, because its host has to reach it.

    Raises PermanentError when nothing at EC2 runs what its host does.
    """
    policy = get_policy(recovery.policy_version, world) if recovery.policy_version else None
    is_opening = recovery.kind is RecoveryKind.OPENING
    subnets = world.settings.subnets if is_opening else subnets_of_restores(policy, world.settings)
    # An opening boots nothing of it.
    report, unread = (None, None) if is_opening else _read_report(recovery, world)
    machine = report.architecture if report else None
    return Place(subnets, machine, footing(machine, policy, recovery.point.run.receiver), unread)


def _launch_request(instance_type: str, subnet: str, place: Place, recovery: Recovery, world: World) -> LaunchRequest:
    """The same to the letter for every try: EC2 refuses a token that comes with another request."""
    settings = world.settings
    return LaunchRequest(
        token=launch_token(recovery.id, recovery.attempt),
        instance_type=instance_type,
        subnet=subnet,
        security_group=_group(recovery, settings),
        user_data=render(
            role=tags.Role.RECOVERY,
            owner=str(recovery.id),
            attempt=recovery.attempt,
            bucket=settings.bucket,
            region=settings.region,
            brief_key=wire.recovery_brief_key(recovery),
            agent_key=settings.agent,
            power_off_minutes=(_lives(recovery) + restored.GRACE) // timedelta(minutes=1),
            stop_minutes=restored.GRACE // timedelta(minutes=1),
            serves=recovery.kind is RecoveryKind.OPENING,
        ),
        tags=_tags(recovery),
        profile=None if recovery.kind is RecoveryKind.OPENING else settings.image_profile,
        template=settings.other_template if place.footing.is_other else None,
    )


def _group(recovery: Recovery, settings: Settings) -> str:
    """Whom its machine lets in, and where it gets to."""
    match recovery.kind:
        case RecoveryKind.DRILL:
            return settings.drill_group
        case RecoveryKind.RESTORE:
            return settings.restore_group
        case RecoveryKind.OPENING:
            return settings.receiver_group


def _tags(recovery: Recovery) -> dict[str, str]:
    return {
        tags.NAME: f"ebbtide {recovery.kind} {recovery.id}",
        tags.SCHEMA: str(SCHEMA),
        tags.ROLE: tags.Role.RECOVERY,
        tags.RECOVERY: str(recovery.id),
        tags.ATTEMPT: str(recovery.attempt),
        tags.EXPIRES: _expiry(recovery).isoformat(),
    }


def _expiry(recovery: Recovery) -> datetime:
    return recovery.deadline + restored.GRACE


def _lives(recovery: Recovery) -> timedelta:
    """How long its machine may by itself: of a restore as long as one may be asked for, as nobody can tell it later."""
    is_restore = recovery.kind is RecoveryKind.RESTORE
    return recovery.lives or (restored.USUAL if is_restore else recovery.deadline - recovery.opened)


def _record_doubt(finding: str, recovery: Recovery, world: World) -> Recovery | None:
    """Somebody waits for this server: it is told at once."""
    return _saved_and_told(_finding(recovery, finding), world)


def _record_verdict(recovery: Recovery, world: World) -> Recovery | None:
    """On a server that stands for days after it, and that somebody may be using already, it is told at once."""
    if recovery.kind is RecoveryKind.RESTORE:
        return _saved_and_told(recovery, world)
    return world.catalog.save_recovery(recovery)


def _saved_and_told(recovery: Recovery, world: World) -> Recovery | None:
    saved = world.catalog.save_recovery(recovery)
    if saved is not None:
        world.lambdas.invoke_later("tell_operators", wire.telling_payload())
    return saved


def _close(state: RecoveryState, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """The archive first, and what it says holds: a closing cut short is finished as it was begun."""
    record = wire.ClosedRecovery(
        recovery=recovery.id,
        state=state,
        verdict=recovery.verdict,
        findings=recovery.findings,
        machine_id=recovery.machine_id,
        closed=now,
        times=recovery.times,
        ended_early=recovery.ended_early,
    )
    key = wire.recovery_closed_key(recovery.id)
    world.archive.put_once(key, wire.closed_recovery_record(record))
    closed = wire.parse_closed_recovery(world.archive.get(key)).closed
    return _saved_and_told(replace(recovery, state=state, closed=closed), world)
