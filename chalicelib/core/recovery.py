"""One restore or drill, decided: which point it starts from, and what is known of it in, the next steps out.

A drill takes everything down as soon as it knows; a restore keeps what it made until its deadline. Every step may be
planned twice without harm, because acting is guarded elsewhere: by client tokens, by conditional writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.model import (
    Machine,
    Recovery,
    RecoveryKind,
    RecoveryReport,
    RecoveryState,
    RestorePoint,
    Snapshot,
    Volume,
)

PROVEN = "proven"
FAILED = "failed"
VERDICTS = (PROVEN, "content only", "as recorded", "unproven", "different", FAILED)

# A drill that has found nothing by then will not; a restored machine stands until someone has moved in elsewhere.
LASTS = {RecoveryKind.DRILL: timedelta(hours=2), RecoveryKind.RESTORE: timedelta(days=7)}


def choose_point(points: Iterable[RestorePoint], at: datetime | None = None) -> RestorePoint | None:
    """The newest point, or the newest that was taken at `at` or before; None when there is none."""
    candidates = [point for point in points if at is None or point.at <= at]
    return max(candidates, key=lambda point: (point.at, point.snapshot_id), default=None)


@dataclass(frozen=True)
class RecoveryWorld:
    """Everything a recovery's next step depends on, observed just now: machines first, then the report.

    In that order a machine that has reported and gone is never mistaken for one that went without a word.
    """

    machines: tuple[Machine, ...]
    volume: Volume | None
    snapshot: Snapshot | None
    briefed: bool
    report: RecoveryReport | None
    unreadable: str | None = None


@dataclass(frozen=True)
class CreateVolume:
    """A throw-away copy of the point's snapshot."""

    snapshot_id: str
    size_gib: int


@dataclass(frozen=True)
class LaunchMachine:
    """The one machine of this recovery: one that fails is a finding, not a reason for another."""


@dataclass(frozen=True)
class RecordVerdict:
    verdict: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class TerminateMachine:
    machine_id: str


@dataclass(frozen=True)
class DeleteVolume:
    volume_id: str


@dataclass(frozen=True)
class MarkProven:
    at: datetime


@dataclass(frozen=True)
class CloseRecovery:
    state: RecoveryState


Action = (
    Wait
    | CreateVolume
    | WriteBrief
    | LaunchMachine
    | AttachVolume
    | RecordVerdict
    | TerminateMachine
    | DeleteVolume
    | MarkProven
    | CloseRecovery
)


def plan(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """The next steps of this recovery, in order; empty when it is closed."""
    if recovery.state.is_final:
        return ()
    if recovery.verdict is None:
        return _towards_the_verdict(recovery, world, now)
    if recovery.kind is RecoveryKind.RESTORE and recovery.verdict != FAILED and now < recovery.deadline:
        return _keep(recovery, world)
    return _take_down(recovery.verdict, world)


# -- until it knows ---------------------------------------------------------------------------------------------------


def _towards_the_verdict(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    if world.report is not None:
        return _conclude(world.report)
    if world.unreadable is not None:
        return (RecordVerdict(FAILED, (world.unreadable,)),)
    if now >= recovery.deadline:
        return (RecordVerdict(FAILED, ("there was no report before the deadline",)),)
    gone = next((machine for machine in world.machines if machine.is_gone), None)
    if gone is not None:
        return (RecordVerdict(FAILED, (f"machine {gone.id} ended without a report",)),)
    if world.volume is None:
        return _bring_up_volume(recovery, world.snapshot)
    if not world.briefed:
        return (WriteBrief(world.volume.id),)
    if not world.machines:
        return _bring_up_machine(recovery)
    return _serve(world.machines[0], world.volume)


def _conclude(report: RecoveryReport) -> tuple[Action, ...]:
    """The point is marked first: once the verdict is recorded, no one comes back to the report."""
    if report.verdict not in VERDICTS:
        return (RecordVerdict(FAILED, (f"its report says {report.verdict!r:.80}, which is no verdict",)),)
    if report.verdict != PROVEN:
        return (RecordVerdict(report.verdict, report.findings),)
    belied = _what_belies(report)
    if belied is not None:
        return (RecordVerdict(FAILED, (f"it says {PROVEN}, but {belied}", *report.findings)),)
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


def _bring_up_volume(recovery: Recovery, snapshot: Snapshot | None) -> tuple[Action, ...]:
    if recovery.machine_id is not None:
        return (Wait("the volume to show again"),)
    if snapshot is None:
        return (RecordVerdict(FAILED, (f"snapshot {recovery.point.snapshot_id} is gone",)),)
    return (CreateVolume(snapshot.id, snapshot.size_gib),)


def _bring_up_machine(recovery: Recovery) -> tuple[Action, ...]:
    if recovery.machine_id is not None:
        return (Wait(f"machine {recovery.machine_id} was launched and does not show yet"),)
    return (LaunchMachine(),)


def _serve(machine: Machine, volume: Volume) -> tuple[Action, ...]:
    if machine.state != "running":
        return (Wait(f"machine {machine.id} is {machine.state}"),)
    if volume.attached_to == machine.id:
        return (Wait(f"the report of machine {machine.id}"),)
    if volume.state != "available":
        return (Wait(f"volume {volume.id} is {volume.state}"),)
    return (AttachVolume(volume.id, machine.id),)


# -- once it knows ----------------------------------------------------------------------------------------------------


def _keep(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """What was restored is the operator's until the deadline: the machine, and the volume even without it."""
    standing = next((machine for machine in world.machines if machine.state == "running"), None)
    where = f"log in at {standing.address}" if standing else f"attach {world.volume.id if world.volume else 'nothing'}"
    return (Wait(f"{recovery.host} is restored ({recovery.verdict}): {where}, before {recovery.deadline.isoformat()}"),)


def _take_down(verdict: str, world: RecoveryWorld) -> tuple[Action, ...]:
    staying = tuple(machine for machine in world.machines if not machine.is_gone)
    if staying:
        return tuple(map(_end, staying))
    if world.volume is not None and world.volume.state != "deleting":
        return (_remove(world.volume),)
    return (CloseRecovery(RecoveryState.FAILED if verdict == FAILED else RecoveryState.DONE),)


def _end(machine: Machine) -> Action:
    if machine.is_leaving:
        return Wait(f"machine {machine.id} is {machine.state}")
    return TerminateMachine(machine.id)


def _remove(volume: Volume) -> Action:
    if volume.state in ("available", "error"):
        return DeleteVolume(volume.id)
    return Wait(f"volume {volume.id} is {volume.state}")
