"""One night of one receiver, decided: what is known of a run in, the next steps out; nothing is done here.

Read `plan` from top to bottom and you have read the night. Whoever calls it acts, looks again and calls again, until
nothing is left but to wait. Every step may be planned twice without harm, because acting is guarded elsewhere: by
client tokens, by conditional writes, by looking once more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.model import (
    HostResult,
    HostStatus,
    Machine,
    RestorePoint,
    Run,
    RunState,
    Snapshot,
    TreeKind,
    Volume,
)
from chalicelib.core.policy import ReceiverPolicy

# How long a receiver may outlive the deadline before we end it.
GRACE = timedelta(minutes=30)
# EC2 may show neither a new machine nor a new snapshot for minutes; only then is it safe to ask for it again.
MACHINE_SETTLES = timedelta(minutes=2)
SNAPSHOT_SETTLES = timedelta(minutes=5)
# A receiver that has not said `ready` by now never will.
READY_WITHIN = timedelta(minutes=15)
# Machines in one night, the first included; and the time below which another one is not worth its start.
MOST_MACHINES = 3
LEAST_TIME_LEFT = timedelta(minutes=10)
# Whatever still stands in the way this long after the deadline, the run ends.
GIVE_UP = timedelta(hours=12)

_GONE = "terminated"
_LEAVING = "shutting-down"


@dataclass(frozen=True)
class NightWorld:
    """Everything a run's next step depends on, observed just now."""

    receiver: ReceiverPolicy
    networks: tuple[str, ...]
    volume: Volume | None
    briefed: bool
    machines: tuple[Machine, ...]
    ready: frozenset[int]
    released: frozenset[int]
    address: str | None
    results: tuple[HostResult, ...]
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something happens."""

    why: str


@dataclass(frozen=True)
class CreateVolume:
    """The receiver's data volume, from its newest snapshot if there is one."""


@dataclass(frozen=True)
class WriteBrief:
    volume_id: str


@dataclass(frozen=True)
class LaunchReceiver:
    """`since` is when this attempt was first asked for: a repeated request must be the same to the letter."""

    attempt: int
    since: datetime


@dataclass(frozen=True)
class AttachVolume:
    volume_id: str
    machine_id: str


@dataclass(frozen=True)
class AllowNetworks:
    networks: tuple[str, ...]


@dataclass(frozen=True)
class PointAddress:
    name: str
    address: str


@dataclass(frozen=True)
class TerminateReceiver:
    machine_id: str
    why: str


@dataclass(frozen=True)
class IntendSnapshot:
    """Recorded before the request: CreateSnapshot has no client token, so only the record keeps it to one."""


@dataclass(frozen=True)
class TakeSnapshot:
    """One attempt, if none carries the run's tag by now."""

    volume_id: str
    complete: tuple[str, ...]
    tree: TreeKind
    consistency: tags.Consistency


@dataclass(frozen=True)
class AdoptSnapshot:
    snapshot_id: str


@dataclass(frozen=True)
class RecordPoints:
    points: tuple[RestorePoint, ...]


@dataclass(frozen=True)
class CloseRun:
    state: RunState
    why: str | None


Action = (
    Wait
    | CreateVolume
    | WriteBrief
    | LaunchReceiver
    | AttachVolume
    | AllowNetworks
    | PointAddress
    | TerminateReceiver
    | IntendSnapshot
    | TakeSnapshot
    | AdoptSnapshot
    | RecordPoints
    | CloseRun
)


def plan(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    """The next steps of this run, in order; empty when it is closed."""
    if run.state.is_final:
        return ()
    if run.snapshot_id is not None:
        return _after_the_snapshot(run, run.snapshot_id, world, now)
    if now >= run.deadline + GIVE_UP:
        return _give_up(world)
    if run.snapshot_intended is not None or _is_over(run, world, now):
        return _towards_the_snapshot(run, world, now)
    return _towards_the_reports(run, world, now)


# -- while hosts push --------------------------------------------------------------------------------------------------


def _is_over(run: Run, world: NightWorld, now: datetime) -> bool:
    """No receiver stands, and none will again this night."""
    return not _standing(world.machines) and not _another_receiver_is_worth_it(run, world, now)


def _another_receiver_is_worth_it(run: Run, world: NightWorld, now: datetime) -> bool:
    attempt = _latest_attempt(run, world)
    if attempt in world.released or not missing_hosts(run, world.results):
        return False
    if not _is_spent(attempt, world):
        return attempt <= MOST_MACHINES and now < run.deadline
    return attempt < MOST_MACHINES and now + LEAST_TIME_LEFT <= run.deadline


def _has_stood(world: NightWorld) -> bool:
    """Whether a receiver ever was: EC2 forgets the terminated within the hour, the archive does not."""
    return bool(world.machines or world.ready or world.released or world.results)


def _latest_attempt(run: Run, world: NightWorld) -> int:
    """What EC2 and the archive show counts as much as the record: a rebuilt run has forgotten its attempts."""
    return max([run.machine_attempt, *world.ready, *world.released, *map(attempt_of, world.machines)])


def _is_spent(attempt: int, world: NightWorld) -> bool:
    """Whether the machine of this attempt has come and gone, as far as EC2 still shows it."""
    return any(attempt_of(machine) >= attempt for machine in world.machines)


def _towards_the_reports(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    standing = _standing(world.machines)
    if now >= run.deadline + GRACE:
        return _end(standing, "it outlived the deadline and its grace")
    if world.volume is None:
        return (CreateVolume(),)
    if world.volume.state == "creating":
        return (Wait(f"volume {world.volume.id} is being created"),)
    if not world.briefed:
        return (WriteBrief(world.volume.id),)
    if standing:
        return _serve(run, standing[-1], world.volume, world, now)
    return _launch(run, world, now)


def _launch(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    attempt = _latest_attempt(run, world)
    if _is_spent(attempt, world):
        return (LaunchReceiver(attempt + 1, now),)
    since = run.machine_launched if attempt == run.machine_attempt else None
    if since is not None and now < since + MACHINE_SETTLES:
        return (Wait(f"receiver {attempt} was asked for and does not show yet"),)
    return (LaunchReceiver(attempt, since or now),)


def _serve(run: Run, machine: Machine, volume: Volume, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    if machine.state != "running":
        return (Wait(f"receiver {machine.id} is {machine.state}"),)
    if attempt_of(machine) not in world.ready and now >= machine.launched + READY_WITHIN:
        return _end((machine,), f"it was not ready within {_minutes(READY_WITHIN)} minutes")
    if volume.attached_to != machine.id:
        if volume.state != "available":
            return (Wait(f"volume {volume.id} is {volume.state} at {volume.attached_to}"),)
        return (AttachVolume(volume.id, machine.id),)
    if machine.address is None:
        return (Wait(f"receiver {machine.id} has no address yet"),)
    if world.address != machine.address:
        return (AllowNetworks(world.networks), PointAddress(world.receiver.address_name, machine.address))
    waiting_for = missing_hosts(run, world.results)
    return (Wait("reports of " + ", ".join(waiting_for) if waiting_for else f"receiver {machine.id} to let go"),)


def _end(machines: Iterable[Machine], why: str) -> tuple[Action, ...]:
    return tuple(
        Wait(f"receiver {machine.id} is {machine.state}")
        if machine.state == _LEAVING
        else TerminateReceiver(machine.id, why)
        for machine in machines
    )


# -- when they have pushed ---------------------------------------------------------------------------------------------


def _towards_the_snapshot(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    if world.snapshots:
        return (AdoptSnapshot(_first(world.snapshots).id),)
    if not _has_stood(world):
        return (CloseRun(RunState.FAILED, "no receiver could be launched before the deadline"),)
    if world.volume is None:
        return (CloseRun(RunState.FAILED, "the data volume is gone"),)
    if world.volume.state != "available":
        return (Wait(f"volume {world.volume.id} is {world.volume.state}"),)
    if run.snapshot_intended is not None and now < run.snapshot_intended + SNAPSHOT_SETTLES:
        return (Wait("a snapshot was asked for and does not show yet"),)
    released = _latest_attempt(run, world) in world.released
    consistency = tags.Consistency.RELEASED if released else tags.Consistency.CRASH
    tree = next((result.tree for result in world.results), TreeKind.FAKE_SUPER)
    complete = complete_hosts(run, world.results)
    return (IntendSnapshot(), TakeSnapshot(world.volume.id, complete, tree, consistency))


def _after_the_snapshot(run: Run, snapshot_id: str, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    snapshot = next((snapshot for snapshot in world.snapshots if snapshot.id == snapshot_id), None)
    if snapshot is not None and snapshot.state == "completed":
        points = _points(run, snapshot, world.results)
        return (RecordPoints(points), _closing(run, points, world.results))
    if snapshot is not None and snapshot.state == "error":
        return (CloseRun(RunState.FAILED, f"snapshot {snapshot_id} ended in an error"),)
    if now >= run.deadline + GIVE_UP:
        return (CloseRun(RunState.FAILED, f"snapshot {snapshot_id} never completed"),)
    progress = f"at {snapshot.progress} %" if snapshot else "not shown"
    return (Wait(f"snapshot {snapshot_id} is {progress}"),)


def _points(run: Run, snapshot: Snapshot, results: Iterable[HostResult]) -> tuple[RestorePoint, ...]:
    """What the snapshot's own tags say is complete: the catalogue can be rebuilt to exactly this."""
    tagged = tags.unpack(snapshot.tags)
    return tuple(
        RestorePoint(result.id, snapshot.started, snapshot.id, run.id, result.tree, result.manifest)
        for result in _complete(run, results)
        if result.id in tagged
    )


def _closing(run: Run, points: tuple[RestorePoint, ...], results: tuple[HostResult, ...]) -> CloseRun:
    pointed = {point.host_id for point in points}
    lacking = [f"{host.name} {status_of(host.id, results)}" for host in run.hosts if host.id not in pointed]
    if not lacking:
        return CloseRun(RunState.DONE, None)
    return CloseRun(RunState.DEGRADED if points else RunState.FAILED, "not complete: " + ", ".join(lacking))


def _give_up(world: NightWorld) -> tuple[Action, ...]:
    why = f"it is {_minutes(GIVE_UP)} minutes past the deadline and no snapshot could be taken"
    ended = (TerminateReceiver(machine.id, why) for machine in _standing(world.machines))
    return (*ended, CloseRun(RunState.FAILED, why))


# -- what one may ask of an observation --------------------------------------------------------------------------------


def attempt_of(machine: Machine) -> int:
    """The attempt a machine was launched for; 0 when its tag does not say."""
    text = machine.tags.get(tags.ATTEMPT, "")
    return int(text) if text.isdecimal() else 0


def missing_hosts(run: Run, results: Iterable[HostResult]) -> tuple[str, ...]:
    """The names of the expected hosts that have not reported, in the run's order."""
    reported = {result.id for result in results}
    return tuple(host.name for host in run.hosts if host.id not in reported)


def complete_hosts(run: Run, results: Iterable[HostResult]) -> tuple[str, ...]:
    """The ids of the expected hosts that are complete, sorted."""
    return tuple(sorted(result.id for result in _complete(run, results)))


def status_of(host_id: str, results: Iterable[HostResult]) -> HostStatus:
    """How an expected host's night stands; missing when it has not reported."""
    return next((result.status for result in results if result.id == host_id), HostStatus.MISSING)


def _complete(run: Run, results: Iterable[HostResult]) -> list[HostResult]:
    expected = {host.id for host in run.hosts}
    return [result for result in results if result.id in expected and result.status.is_complete]


def _standing(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Every machine that is not gone, the latest attempt last."""
    return tuple(sorted((machine for machine in machines if machine.state != _GONE), key=attempt_of))


def _first(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The one to adopt: a sound one before a failed one, then the oldest."""
    return min(snapshots, key=lambda snapshot: (snapshot.state == "error", snapshot.started, snapshot.id))


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds() // 60)
