"""One recovery, decided: which point it starts from, and what is known of it in, the next steps out.

A drill takes everything down as soon as it knows; a restore keeps what it made until its deadline, and so does an
opening. Each of these two has a room of its own (`restored.py`, `opening.py`) for what is different about it. Every
step may be planned twice without harm, because acting is guarded elsewhere: by client tokens, by conditional writes.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core import opening, restored
from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.lost_machines import STILL_WITHIN_A_GIB, replace_or_end
from chalicelib.core.model import (
    Machine,
    Recovery,
    RecoveryKind,
    RecoveryReport,
    RecoveryState,
    RestorePoint,
    Volume,
)
from chalicelib.core.recovery_actions import (
    Action,
    CloseRecovery,
    CreateVolume,
    DeleteVolume,
    KeepUntil,
    LaunchMachine,
    MarkDisproven,
    MarkProven,
    RecordBack,
    RecordStep,
    RecordVerdict,
    RecoveryWorld,
    SetWays,
    TerminateMachine,
)
from chalicelib.core.recovery_times import times_of
from chalicelib.core.restored import given_up
from chalicelib.core.steps import reached, said_step
from chalicelib.core.verdicts import DIFFERENT, FAILED, PROVEN, VERDICTS, is_on_its_way_out

# A drill that has found nothing by then, and by what its size takes, will not; a restored machine stands until someone
# has moved in elsewhere; an opening stands for as long as is asked for.
LASTS = {
    RecoveryKind.DRILL: timedelta(hours=2),
    RecoveryKind.RESTORE: restored.USUAL,
    RecoveryKind.OPENING: opening.USUAL,
}
# At which its volume is filled from the snapshot: 100 to 300 MiB a second, and each GiB costs the more for it. Somebody
# waits for a server, nobody for a drill, and of what is opened only what is asked for is read.
# https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
RATES = {RecoveryKind.RESTORE: 300, RecoveryKind.DRILL: 100}


def choose_point(points: Iterable[RestorePoint], at: datetime | None = None) -> RestorePoint | None:
    """The newest point, or the newest that was taken at `at` or before; None when there is none."""
    candidates = [point for point in points if at is None or point.at <= at]
    return max(candidates, key=lambda point: (point.at, point.snapshot_id), default=None)


def lasts(kind: RecoveryKind, size_gib: int) -> timedelta:
    """How long one may, whose volume is so large: a drill reads all of it."""
    by_size = STILL_WITHIN_A_GIB * size_gib if kind is RecoveryKind.DRILL else timedelta(0)
    return min(LASTS[kind] + by_size, LASTS[RecoveryKind.RESTORE])


def plan(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """The next steps of this recovery, in order; empty when it is closed.

    How far it has come is written down before anything that follows from it. The ways are everybody's. They are set as
    soon as there is nothing of its own to do but to wait, or to close: what is wrong with their group keeps no machine
    from coming up, and none from going. So is what is left of a machine that was replaced taken away.
    """
    if recovery.state.is_final:
        return ()
    if come_to := reached(recovery, world.said, now):
        return tuple(map(RecordStep, come_to))
    steps = tuple(_timed(step, recovery, world) for step in _own_steps(recovery, world, now))
    if not all(isinstance(step, Wait | CloseRecovery) for step in steps):
        return steps
    ways = () if world.ways_are_set else (SetWays(world.ways),)
    return ways or _keep_longer(recovery, world) or _take_away(world.spent_machines, world.spent_volumes) or steps


def _keep_longer(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    is_early = recovery.kind is RecoveryKind.RESTORE and restored.expires_too_early(recovery, world)
    return (KeepUntil(recovery.deadline + restored.GRACE),) if is_early else ()


def _own_steps(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    if recovery.verdict is None:
        return _towards_the_verdict(recovery, world, now)
    is_over = recovery.kind is RecoveryKind.DRILL or is_on_its_way_out(recovery, now)
    if is_over:
        return _take_down(recovery, world, now)
    return opening.stand(recovery, world) if recovery.kind is RecoveryKind.OPENING else restored.keep(recovery, world)


def _timed(step: Action, recovery: Recovery, world: RecoveryWorld) -> Action:
    """With what it took so far, where its machine has said that."""
    said = world.report or world.server
    if said is None or not isinstance(step, RecordBack | RecordVerdict):
        return step
    known = replace(step, times=times_of(recovery, said))
    return replace(known, overtaken=restored.answered_since(world)) if isinstance(known, RecordVerdict) else known


def was_ended_early(recovery: Recovery) -> bool:
    """Whether somebody has closed this restore before its time. A drill is closed by nobody.

    Which an earlier version has not written down, of one that was closed within its first days.
    """
    return recovery.ended_early or recovery.deadline < recovery.opened + LASTS[recovery.kind]


# -- until it knows ---------------------------------------------------------------------------------------------------


def _towards_the_verdict(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    if recovery.kind is RecoveryKind.RESTORE and (back := restored.come_back(recovery, world)):
        return back
    if doubt := restored.not_up(recovery, world) or restored.heard(recovery, world):
        return doubt
    if known := _what_is_known(recovery, world, now):
        return known
    is_to_come = recovery.kind is not RecoveryKind.OPENING and not world.may_be_back
    if is_to_come and (lost := replace_or_end(recovery, world, now)):
        return lost
    gone = next((machine for machine in world.machines if machine.is_gone), None)
    if gone is not None:
        return (given_up(world, f"machine {gone.id} ended without a report"),)
    if world.server is not None:
        return restored.await_comparison(recovery, world)
    return _bring_up(recovery, world)


def _what_is_known(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """Nothing, while there is still something to wait for."""
    if world.unreadable is not None:
        return (given_up(world, world.unreadable),)
    if recovery.kind is RecoveryKind.OPENING:
        return opening.conclude(recovery, world, now)
    if world.report is not None:
        return _conclude(world.report, recovery, world)
    if now >= recovery.deadline:
        was_closed = was_ended_early(recovery)
        why = "it was closed before there was a report" if was_closed else "there was no report before the deadline"
        step = said_step(recovery)
        return (given_up(world, f"{why}; its machine was at: {step}" if step else why),)
    return ()


def _conclude(report: RecoveryReport, recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """The point is marked first: once the verdict is recorded, no one comes back to the report."""
    if report.verdict not in VERDICTS:
        return (given_up(world, f"its report says {report.verdict!r:.80}, which is no verdict"),)
    if report.verdict == FAILED and recovery.kind is RecoveryKind.RESTORE:
        return (restored.failed(report, recovery, world),)
    if report.verdict == FAILED:
        return (given_up(world, *report.findings),)
    if report.verdict == DIFFERENT:
        return (MarkDisproven(), RecordVerdict(DIFFERENT, report.findings))
    if report.verdict != PROVEN:
        return (RecordVerdict(report.verdict, report.findings),)
    belied = _what_belies(report)
    if belied is not None:
        return (given_up(world, f"it says {PROVEN}, but {belied}", *report.findings),)
    return (MarkProven(report.finished), RecordVerdict(PROVEN, report.findings))


def _what_belies(report: RecoveryReport) -> str | None:
    """Why a report cannot be a proof, whatever it says: a drill that passes on an empty tree is none."""
    if report.entries == 0:
        return "nothing was compared"
    if report.missing or report.extra or report.different or report.unhashed:
        return "the tree is not identical to its manifest"
    if not report.boot.booted:
        return "the image did not boot"
    if report.probe is None or not report.probe.ok:
        return "the booted image did not answer"
    return None


def _bring_up(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """The machine first, wherever there is room; then its volume, in the zone which that turned out to be; then its
    brief, which it waits for."""
    machine, volume = next(iter(world.machines), None), world.volume
    if volume is None:
        return _make_volume(recovery, machine, world)
    if machine is None and recovery.machine_id is None:
        # One that was begun by a version which made the volume first.
        return (LaunchMachine(volume.zone),)
    if not world.briefed:
        return (WriteBrief(volume.id),)
    if machine is None:
        return (Wait(f"machine {recovery.machine_id} was launched and does not show yet"),)
    return _serve(recovery, machine, volume, world)


def _make_volume(recovery: Recovery, machine: Machine | None, world: RecoveryWorld) -> tuple[Action, ...]:
    if world.briefed:
        return (Wait("the volume to show again"),)
    if world.snapshot is None:
        return (RecordVerdict(FAILED, (f"snapshot {recovery.point.snapshot_id} is gone",)),)
    zone = machine.zone if machine else recovery.zone
    if zone is None:
        return (LaunchMachine(None),)
    return (CreateVolume(zone, world.snapshot.id, world.snapshot.size_gib, RATES.get(recovery.kind)),)


def _serve(recovery: Recovery, machine: Machine, volume: Volume, world: RecoveryWorld) -> tuple[Action, ...]:
    if machine.state != "running":
        return (Wait(f"machine {machine.id} is {machine.state}, in {machine.zone}"),)
    if volume.attached_to == machine.id:
        if recovery.kind is RecoveryKind.OPENING:
            return opening.await_word(machine, world)
        step = said_step(recovery)
        at = f", which is at: {step}" if step else ""
        back = f"; {recovery.host} may be back at {machine.address}" if world.unheard is not None else ""
        return (Wait(f"the report of machine {machine.id}{at}{back}"),)
    if volume.state != "available":
        return (Wait(f"volume {volume.id} is {volume.state}"),)
    return (AttachVolume(volume.id, machine.id),)


# -- once it knows ----------------------------------------------------------------------------------------------------


def _take_down(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    staying = tuple(machine for machine in (*world.machines, *world.spent_machines) if not machine.is_gone)
    if staying:
        return tuple(map(_end, staying))
    volumes = (*((world.volume,) if world.volume else ()), *world.spent_volumes)
    if left := tuple(volume for volume in volumes if volume.state != "deleting"):
        return tuple(map(_remove, left))
    if recovery.kind is not RecoveryKind.DRILL and opening.may_yet_show(recovery, world, now):
        return (Wait("EC2 to show what it may have been asked for just before"),)
    return (CloseRecovery(RecoveryState.FAILED if recovery.verdict == FAILED else RecoveryState.DONE),)


def _take_away(machines: Iterable[Machine], volumes: Iterable[Volume]) -> tuple[Action, ...]:
    """What can be taken away now, of what nobody waits for."""
    ended = [_end(machine) for machine in machines if not machine.is_gone]
    steps = (*ended, *(_remove(volume) for volume in volumes if volume.state != "deleting"))
    return tuple(step for step in steps if not isinstance(step, Wait))


def _end(machine: Machine) -> Action:
    if machine.is_leaving:
        return Wait(f"machine {machine.id} is {machine.state}")
    return TerminateMachine(machine.id)


def _remove(volume: Volume) -> Action:
    if volume.state in ("available", "error"):
        return DeleteVolume(volume.id)
    return Wait(f"volume {volume.id} is {volume.state}")
