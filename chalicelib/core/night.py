"""One night of one receiver, decided: what is known of a run in, the next steps out; nothing is done here.

Read `plan` from top to bottom and you have read the night. Whoever calls it acts, looks again and calls again, until
nothing is left but to wait. Every step may be planned twice without harm, because acting is guarded elsewhere: by
client tokens, by conditional writes, by looking once more.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.model import Machine, Run, Snapshot, TreeKind, Volume
from chalicelib.core.night_actions import (
    Action,
    AllowNetworks,
    CreateVolume,
    GrowVolume,
    LaunchReceiver,
    PointAddress,
    SetAside,
    TakeSnapshot,
    TerminateReceiver,
)
from chalicelib.core.night_end import close_with, close_without_snapshot
from chalicelib.core.night_world import (
    NightWorld,
    attempt_of,
    awaited_hosts,
    can_be_made,
    complete_results,
    distrusts,
    has_received,
    held_volume,
    is_spent,
    last_machine,
    latest_attempt,
    standing,
    volume_of_tonight,
    zone_of_tonight,
)
from chalicelib.core.one_snapshot import (
    GIVE_UP,
    adopt_what_is_there,
    after_it,
    has_one,
    take_once,
    why_no_other,
)

# How long a receiver may outlive the deadline before we end it.
GRACE = timedelta(minutes=30)
# EC2 may not show a new machine for minutes; only then is it safe to ask for it again.
MACHINE_SETTLES = timedelta(minutes=2)
# A receiver that has not said `ready` by now never will: the time is for a check of a large file system, and for a
# volume that is slow to leave the last machine. One such receiver is replaced, a second one ends the night.
READY_WITHIN = timedelta(minutes=15)
# The receiver gives a check an hour; where one is due that looks at everything it may take all of it.
LOOKED_THROUGH_WITHIN = timedelta(minutes=75)
MOST_UNREADY = 2
# Volumes in one night whose file system turns out to be damaged: the one that is there, and three from snapshots.
MOST_DAMAGED = 4
# Machines in one night, the first included; and the time below which another one is not worth its start.
MOST_MACHINES = 3
# So many may be launched in all: who has found its volume damaged counts for nothing.
MOST_ATTEMPTS = MOST_MACHINES + MOST_DAMAGED
LEAST_TIME_LEFT = timedelta(minutes=10)
# A volume is larger within seconds as a rule; the night goes on without, and the next one fills what came of it.
GROWS_WITHIN = timedelta(minutes=10)

_WITHOUT_SUBNET = "EC2 knows none of the deployment's subnets: deploy with one that there is, and then `ebbtide run`"


def plan(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    """The next steps of this run, in order; empty when it is closed."""
    if run.state.is_final:
        return ()
    unsound = [volume.id for volume in world.volumes if volume.id in world.unsound]
    if unsound and now < run.deadline + GIVE_UP:
        return tuple(map(SetAside, unsound))
    # What could not be set aside by then is no part of how the run ends.
    world = replace(world, volumes=tuple(volume for volume in world.volumes if volume.id not in unsound))
    if has_one(run, world.snapshots):
        found = after_it(run, world.snapshots, now)
        return close_with(found, run, world) if isinstance(found, Snapshot) else (found,)
    if now >= run.deadline + GIVE_UP:
        return _give_up(run, world, now)
    if run.snapshot_intended is not None or _is_over(run, world, now):
        return _towards_the_snapshot(run, world, now)
    return _towards_the_reports(run, world, now)


# -- while hosts push --------------------------------------------------------------------------------------------------


def _is_over(run: Run, world: NightWorld, now: datetime) -> bool:
    """No receiver stands, and none will again this night."""
    return not standing(world.machines) and not _another_receiver_is_worth_it(run, world, now)


def _another_receiver_is_worth_it(run: Run, world: NightWorld, now: datetime) -> bool:
    attempt, volume = latest_attempt(run, world), volume_of_tonight(run, world)
    if not awaited_hosts(run, world) or world.read_only:
        return False
    if volume is not None and volume.zone not in world.zones:
        # It was pushed to, and no machine can stand beside it any more: what it has is snapshotted.
        return False
    # Whose volume was damaged says nothing against the next machine, which has another volume.
    tried = attempt - len(world.damaged)
    if not is_spent(attempt, world):
        # It may have been asked for and never be shown.
        return tried <= MOST_MACHINES and now < run.deadline
    may_be_tried = tried < MOST_MACHINES and tried - len(world.ready) < MOST_UNREADY
    return may_be_tried and len(world.unsound) < MOST_DAMAGED and now + LEAST_TIME_LEFT <= run.deadline


def _towards_the_reports(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    machines, volume = standing(world.machines), volume_of_tonight(run, world)
    if now >= run.deadline + GRACE:
        return _end(machines, "it outlived the deadline and its grace")
    if machines and machines[-1].state == "stopped":
        return _end(machines, "it was stopped, and is no receiver any more when it is started again")
    if machines and attempt_of(machines[-1]) in world.damaged:
        return _end(machines, "it has found its volume damaged")
    if machines and (why := world.refused.get(attempt_of(machines[-1]))):
        return _end(machines, f"it lets nobody in: {why}")
    if volume is None:
        return _make_volume(run, world)
    if volume.state == "creating":
        return (Wait(f"volume {volume.id} is being created"),)
    if growth := _growth(run, volume, world, now):
        return growth
    if volume.id not in world.briefed:
        return (WriteBrief(volume.id),)
    if machines:
        return _serve(run, machines[-1], volume, world, now)
    return _launch(run, volume, world, now)


def _make_volume(run: Run, world: NightWorld) -> tuple[Action, ...]:
    """From the receiver's newest snapshot where there is one: another volume costs a load, not a full push."""
    if has_received(world):
        return close_without_snapshot(run, world, _why_gone(world))
    zone = zone_of_tonight(run, world)
    if zone is None:
        return close_without_snapshot(run, world, _WITHOUT_SUBNET)
    if not can_be_made(run, world):
        return close_without_snapshot(run, world, _why_stranded(run, world))
    snapshot, wanted = world.newest, world.receiver.volume.size_gib
    size = max(wanted, snapshot.size_gib if snapshot else 0)
    return (CreateVolume(zone, size, snapshot.id if snapshot else None),)


def _growth(run: Run, volume: Volume, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    """Before it is attached: the receiver fills the device that it boots with. What does not grow in time stays."""
    wanted = world.receiver.volume.size_gib
    if run.growth_asked is None:
        is_small = volume.state == "available" and volume.size_gib < wanted
        return (GrowVolume(volume.id, wanted),) if is_small else ()
    if volume.id in world.growing and now < run.growth_asked + GROWS_WITHIN:
        return (Wait(f"volume {volume.id} is growing to {wanted} GiB"),)
    return ()


def _why_stranded(run: Run, world: NightWorld) -> str:
    held = held_volume(run, world)
    return (
        f"volume {held.id if held else '?'} is in {held.zone if held else '?'}, where the deployment has no subnet, "
        "and no completed snapshot holds what it has: give the deployment a subnet there"
    )


def _launch(run: Run, volume: Volume, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    attempt = latest_attempt(run, world)
    if is_spent(attempt, world):
        return (LaunchReceiver(attempt + 1, now, volume.id, volume.zone),)
    since = run.machine_launched if attempt == run.machine_attempt else None
    if since is not None and now < since + MACHINE_SETTLES:
        return (Wait(f"receiver {attempt} was asked for and does not show yet"),)
    return (LaunchReceiver(attempt, since or now, volume.id, volume.zone),)


def _serve(run: Run, machine: Machine, volume: Volume, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    if machine.state != "running":
        return (Wait(f"receiver {machine.id} is {machine.state}"),)
    patience = LOOKED_THROUGH_WITHIN if distrusts(run, volume.id, world) else READY_WITHIN
    if attempt_of(machine) not in world.ready and now >= machine.launched + patience:
        return _end((machine,), f"it was not ready within {_minutes(patience)} minutes")
    if volume.attached_to != machine.id:
        if volume.state != "available":
            return (Wait(f"volume {volume.id} is {volume.state} at {volume.attached_to}"),)
        return (AttachVolume(volume.id, machine.id),)
    if machine.address is None:
        return (Wait(f"receiver {machine.id} has no address yet"),)
    if world.open_to != world.networks:
        return (AllowNetworks(world.networks),)
    if world.address != machine.address:
        return (PointAddress(world.receiver.address_name, machine.address),)
    waiting_for = awaited_hosts(run, world)
    return (Wait("reports of " + ", ".join(waiting_for) if waiting_for else f"receiver {machine.id} to let go"),)


def _end(machines: Iterable[Machine], why: str) -> tuple[Action, ...]:
    return tuple(
        Wait(f"receiver {machine.id} is {machine.state}") if machine.is_leaving else TerminateReceiver(machine.id, why)
        for machine in machines
    )


# -- when they have pushed ---------------------------------------------------------------------------------------------


def _towards_the_snapshot(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    volume = volume_of_tonight(run, world)
    if adopted := adopt_what_is_there(world.snapshots):
        return adopted
    if not has_received(world):
        return close_without_snapshot(run, world, _why_nothing_was_received(run, world))
    if why := why_no_other(world.snapshots) or _why_none_must_be(world):
        return close_without_snapshot(run, world, why)
    if volume is None:
        return close_without_snapshot(run, world, _why_gone(world))
    if volume.state != "available":
        return (Wait(f"volume {volume.id} is {volume.state}"),)
    return take_once(run, _take(run, volume, world), now)


def _take(run: Run, volume: Volume, world: NightWorld) -> TakeSnapshot:
    is_clean = last_machine(world) in world.clean
    consistency = tags.Consistency.RELEASED if is_clean else tags.Consistency.CRASH
    tree = next((result.tree for result in world.results), TreeKind.FAKE_SUPER)
    complete = tuple(sorted(result.id for result in complete_results(run, world.results)))
    return TakeSnapshot(volume.id, complete, tree, consistency)


# -- when there will be no snapshot ------------------------------------------------------------------------------------


def _why_nothing_was_received(run: Run, world: NightWorld) -> str:
    attempt = latest_attempt(run, world)
    if world.unsound and attempt in world.damaged:
        return f"every volume that was tried is damaged: {', '.join(sorted(world.unsound))}{_in_the_way(run)}"
    if any(attempt_of(machine) not in world.damaged for machine in world.machines):
        return f"no receiver was ready in time, of {attempt}" + _stuck(volume_of_tonight(run, world))
    return f"no receiver could be launched before the deadline{_in_the_way(run)}"


def _in_the_way(run: Run) -> str:
    return f": {run.why}" if run.why else ""


def _why_gone(world: NightWorld) -> str:
    """A host that has reported does not push again: no other volume would have what it is complete of."""
    if world.pushed_to in world.unsound:
        return f"volume {world.pushed_to} was found damaged after hosts had pushed to it"
    return "the data volume is gone"


def _why_none_must_be(world: NightWorld) -> str | None:
    """A volume is made from the newest snapshot when the last one is lost: that must not be one of a broken tree."""
    if not world.read_only:
        return None
    return (
        f"volume {world.pushed_to or '?'} turned read-only after an error of its file system, or did not keep what "
        "was written to it: nothing of this night counts, and no snapshot is taken; the next receiver checks it and "
        "mends it"
    )


def _give_up(run: Run, world: NightWorld, now: datetime) -> tuple[Action, ...]:
    """What there is counts all the same: a snapshot that was taken is adopted, a quiet volume gets its one."""
    volume = volume_of_tonight(run, world)
    if adopted := adopt_what_is_there(world.snapshots):
        return adopted
    is_quiet = volume is not None and volume.state == "available" and not standing(world.machines)
    if volume is not None and is_quiet and has_received(world) and not (run.snapshot_intended or world.read_only):
        return take_once(run, _take(run, volume, world), now)
    why = f"it is {_minutes(GIVE_UP)} minutes past the deadline and no snapshot could be taken"
    return close_without_snapshot(run, world, why + _stuck(volume) + _in_the_way(run))


def _stuck(volume: Volume | None) -> str:
    """What there is to look at, when the volume is what stood in the way."""
    if volume is None or volume.state == "available":
        return ""
    return f"; volume {volume.id} is {volume.state}, attached to {volume.attached_to}"


def _minutes(length: timedelta) -> int:
    return int(length.total_seconds() // 60)
