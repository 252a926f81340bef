"""Bring up a restore point, to prove it or to use it: observe, plan, act, record, until there is only waiting left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import HOST_ID
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind, RecoveryReport, RestorePoint, Snapshot
from chalicelib.core.naming import RecoveryRequest, check_name, restored_name
from chalicelib.core.recovery import FAILED, LASTS, Action, RecordVerdict, RecoveryWorld, choose_point, plan
from chalicelib.errors import PermanentError, Refused, TransientError
from chalicelib.flows.policies import find_policy
from chalicelib.flows.recovery_steps import act
from chalicelib.flows.settle import settle
from chalicelib.ports import World

_BEFORE_A_STANDBYS_FIRST = 1000


@dataclass(frozen=True)
class Outcome:
    """What one call did, and what it waits for now; `overtaken` when someone else won a write."""

    recovery: Recovery
    steps: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    overtaken: bool = False


# -- opening ----------------------------------------------------------------------------------------------------------


def open_drill(host: str, world: World, now: datetime) -> RecoveryId:
    """Prove the newest point of a host, given by its name or id. Raises Refused when there is nothing to prove."""
    return _open(RecoveryKind.DRILL, RecoveryRequest(host, at=None), world, now)


def open_restore(request: RecoveryRequest, world: World, now: datetime) -> RecoveryId:
    """Bring a host back as it was then, or at its newest.

    Raises Refused when there is no such point, and for a name in production that was not said to be meant.
    """
    check_name(request, find_policy(world))
    return _open(RecoveryKind.RESTORE, request, world, now)


@dataclass(frozen=True)
class _Host:
    name: str
    id: str
    probe: str | None


def _open(kind: RecoveryKind, request: RecoveryRequest, world: World, now: datetime) -> RecoveryId:
    """Asked twice for the same, it is opened once: the one under way is woken instead."""
    host = _find_host(request.host, world)
    point = replace(_point_of(host, request.at, world), proven=None)
    name = request.name or restored_name(host.id)
    known = world.catalog.find_recoveries(host.id)
    under_way = next((each for each in known if _is_the_same(each, kind, point, name)), None)
    recovery_id = under_way.id if under_way else _next_id(host.id, known, world, now)
    if under_way is None:
        recovery = Recovery(
            id=recovery_id,
            kind=kind,
            host=host.name,
            name=name,
            point=point,
            probe=host.probe,
            policy_version=world.catalog.policy_version(),
            opened=now,
            deadline=now + LASTS[kind],
        )
        if not world.catalog.open_recovery(recovery):
            raise TransientError(f"recovery {recovery_id} was opened by someone else just now: ask again")
    world.lambdas.invoke_later("recover", wire.recovery_payload(recovery_id))
    return recovery_id


def _find_host(name: str, world: World) -> _Host:
    """By the name the policy has, else by the id: a host that left the policy is restored by that.

    Raises PermanentError when it is neither.
    """
    policy = find_policy(world)
    hosts = policy.hosts if policy else {}
    of_id = next((host for host in hosts.values() if host.id == name), None)
    host = hosts.get(name) or of_id
    if host is not None:
        return _Host(host.name, host.id, host.probe)
    if HOST_ID.fullmatch(name) is None:
        raise PermanentError(f"{name!r} is no host of the policy, and no host id either: four of a-z and 0-9, as us0a")
    return _Host(name, name, None)


def _point_of(host: _Host, at: datetime | None, world: World) -> RestorePoint:
    """The one to bring up. One whose snapshot somebody has deleted is none: the next pruning forgets and tells it."""
    points = world.catalog.find_points(host.id)
    gone = []
    while (point := choose_point(points, at)) is not None:
        if _find_snapshot(point.snapshot_id, world) is not None:
            return point
        points.remove(point)
        gone.append(point.snapshot_id)
    if gone:
        raise Refused(
            f"host {host.name}: EC2 shows none of the snapshots that hold its restore points here: {', '.join(gone)}. "
            "Ask again in some minutes, then look for copies of them in another region or account"
        )
    if not points:
        raise Refused(f"host {host.name} has no restore point: give a known name or id, or `rebuild` a lost catalogue")
    raise Refused(f"host {host.name} has no restore point that old: its first is of {points[0].at.isoformat()}")


def _is_the_same(recovery: Recovery, kind: RecoveryKind, point: RestorePoint, name: str) -> bool:
    is_of_that_point = recovery.point.snapshot_id == point.snapshot_id
    return recovery.kind is kind and is_of_that_point and recovery.name == name and not recovery.state.is_final


def _next_id(host_id: str, known: Iterable[Recovery], world: World, now: datetime) -> RecoveryId:
    """Never one that the archive has seen, even if the table has lost it.

    A standby counts from far above: its archive may yet be brought the other region's recoveries of today.
    """
    today = now.date()
    archived = world.archive.list(wire.recoveries_prefix(host_id, today))
    used = {recovery.id for recovery in known} | {wire.recovery_of_key(key) for key in archived}
    before = _BEFORE_A_STANDBYS_FIRST if world.settings.is_standby else 0
    attempts = (each.attempt for each in used if each.day == today)
    return RecoveryId(host_id, today, 1 + max([before, *attempts]))


# -- going on ---------------------------------------------------------------------------------------------------------


def recover(recovery_id: RecoveryId, world: World, now: datetime) -> Outcome:
    """Raises PermanentError when there is no such recovery, TransientError when AWS should be asked again later."""
    try:
        recovery = world.catalog.get_recovery(recovery_id)
    except KeyError:
        raise PermanentError(f"there is no recovery {recovery_id}: `rebuild` finds what the table has lost") from None
    settled = settle(
        f"recovery {recovery_id}",
        recovery,
        lambda recovery: plan(recovery, observe(recovery, world), now) if not recovery.state.is_final else (),
        lambda step, recovery: _act_or_give_up(step, recovery, world, now),
    )
    return Outcome(settled.subject, settled.steps, settled.waiting, settled.overtaken)


def _act_or_give_up(action: Action, recovery: Recovery, world: World, now: datetime) -> Recovery | None:
    """What will not work the next time either is the verdict: it is taken down and told, instead of waited for."""
    try:
        return act(action, recovery, world, now)
    except PermanentError as fault:
        if recovery.verdict is not None:
            raise
        return act(RecordVerdict(FAILED, (str(fault),)), recovery, world, now)


def observe(recovery: Recovery, world: World) -> RecoveryWorld:
    """Machines first: what they wrote before they went is then never missed."""
    ours = {tags.ROLE: tags.Role.RECOVERY, tags.RECOVERY: str(recovery.id)}
    machines = world.machines.find(ours)
    volumes = sorted(world.volumes.find_volumes(ours), key=lambda volume: volume.id)
    keys = world.archive.list(wire.recovery_prefix(recovery.id))
    report, unreadable = _read_report(recovery, keys, world)
    return RecoveryWorld(
        machines=tuple(machines),
        volume=volumes[0] if volumes else None,
        snapshot=_find_snapshot(recovery.point.snapshot_id, world),
        briefed=wire.recovery_brief_key(recovery.id) in keys,
        report=report,
        unreadable=unreadable,
    )


def _read_report(recovery: Recovery, keys: Sequence[str], world: World) -> tuple[RecoveryReport | None, str | None]:
    """The report, or why what is there is none; neither while there is nothing."""
    key = wire.recovery_report_key(recovery.id)
    if key not in keys:
        return None, None
    try:
        report = wire.parse_recovery_report(world.archive.get(key))
    except PermanentError as fault:
        return None, f"its report cannot be read: {fault}"
    if (report.recovery, report.host_id) != (recovery.id, recovery.id.host_id):
        return None, f"its report is that of recovery {report.recovery}, host {report.host_id}"
    return report, None


def _find_snapshot(snapshot_id: str, world: World) -> Snapshot | None:
    try:
        return world.volumes.get_snapshot(snapshot_id)
    except KeyError:
        return None
