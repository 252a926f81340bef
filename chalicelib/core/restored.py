"""One restore, decided: a server that is back before it is compared, and stays, whatever that says, until its time is
over.

Only what is different about it: how it comes up and how it is taken down is every recovery's (`recovery.py`).
"""

from datetime import datetime, timedelta

from chalicelib.core import entrances
from chalicelib.core.actions import Wait
from chalicelib.core.model import Boot, Machine, Recovery, RecoveryReport
from chalicelib.core.recovery_actions import (
    Action,
    RecordBack,
    RecordVerdict,
    RecoveryWorld,
    ReplaceMachine,
    TerminateMachine,
)
from chalicelib.core.recovery_times import spoken
from chalicelib.core.steps import MACHINE, told_step
from chalicelib.core.trouble import said
from chalicelib.core.verdicts import FAILED, UNPROVEN

# After which somebody should look why it is not known yet. A gp3 volume of 10 TiB is read in a day, 125 MiB a second.
COMPARED_WITHIN = timedelta(days=1)

# Its machine's first word comes before it looks at its volume, however large that is, but not before its brief, which
# is written once that volume shows. EC2 has minutes to start it, and the agent is tried for one: one that has a brief
# and has not said a word by then never will. It is replaced, and a second one ends it.
BEGINS_WITHIN = timedelta(minutes=15)
# After that word it says what it begins, and one that goes no further hangs. Until its tree is real it may check its
# file system, for an hour, and then writes to every file, for which EBS has to fetch what is read from the snapshot
# first: that goes by the size, here 9 MiB a second of it, where EBS is asked for 300, or 550 files a second, of which
# an ext4 of ours has at most 65536 a GiB. From then on it is all the same how large the server is: its image has a
# quarter of an hour to be up, and what stands and cannot say so tries that for an hour. A word that it could not write
# costs nothing: each of its steps may take what the next one takes as well.
STILL_WITHIN = timedelta(hours=2)
STILL_WITHIN_A_GIB = timedelta(minutes=2)
_BY_SIZE = (MACHINE, "mount", "materialise")
# That takes no day, and nobody waits longer for it.
BACK_WITHIN = timedelta(days=1)
MOST_MACHINES = 2


def given_up(world: RecoveryWorld, *why: str) -> RecordVerdict:
    """Why nothing more will be known. What has failed is taken down; a server that is back is somebody's, and stays."""
    return RecordVerdict(FAILED if world.server is None else UNPROVEN, why)


def failed(report: RecoveryReport, recovery: Recovery, world: RecoveryWorld) -> RecordVerdict:
    """With what it would be restored from otherwise: a person says whether it shall be."""
    return given_up(world, *report.findings, *_instead(recovery, world) if world.server is None else ())


def _instead(recovery: Recovery, world: RecoveryWorld) -> tuple[str, ...]:
    this = f"this was snapshot {recovery.point.snapshot_id}, of {said(recovery.point.at)}"
    if world.before is None:
        return (f"{this}; {recovery.host} has no restore point before it",)
    other = f"`ebbtide restore {recovery.host} --at {world.before.snapshot_id}`"
    return (f"{this}; the restore point before it is of {said(world.before.at)}: {other}",)


def replace_or_end(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """Another machine for one that will not bring the server back, once; nothing, while it may.

    It is ended first: what is gone says nothing any more, so that no word is taken for its successor's.
    """
    machine = next(iter(world.machines), None)
    launched = recovery.launched or (machine.launched if machine else None)
    if launched is None:
        return ()
    called = machine.id if machine else str(recovery.machine_id)
    if world.has_begun and now >= launched + BACK_WITHIN:
        return (given_up(world, f"machine {called} had begun, and was not back within a day", _where_to_look(called)),)
    why = _why_silent(recovery, called, launched, world, now) or _why_lost(machine, called, world)
    if why is None:
        return ()
    if recovery.attempt >= MOST_MACHINES:
        return (given_up(world, why, f"no further machine is tried: {_what_to_do(called, world)}"),)
    if machine is None or machine.is_gone:
        return (ReplaceMachine(f"{why}; another one was launched"),)
    return (Wait(f"machine {called} is {machine.state}") if machine.is_leaving else TerminateMachine(called),)


def _why_silent(recovery: Recovery, called: str, launched: datetime, world: RecoveryWorld, now: datetime) -> str | None:
    if world.briefed and not world.has_begun and now >= launched + BEGINS_WITHIN:
        minutes = BEGINS_WITHIN // timedelta(minutes=1)
        return f"machine {called} said nothing within {minutes} minutes of its launch"
    step = recovery.step
    if not world.has_begun or step is None:
        return None
    within = still_within(step.name, world.volume.size_gib if world.volume else 0)
    if now < step.since + within:
        return None
    return f"machine {called} was at {told_step(step.name)} for {spoken(within.total_seconds())}, and went no further"


def still_within(step: str, size_gib: int) -> timedelta:
    """How long a machine may be at a step, whose volume is so large, before the next one is heard of."""
    return STILL_WITHIN + (STILL_WITHIN_A_GIB * size_gib if step in _BY_SIZE else timedelta(0))


def _why_lost(machine: Machine | None, called: str, world: RecoveryWorld) -> str | None:
    if machine is None or not (machine.is_gone or machine.is_stopped):
        return None
    lacks = "a report" if world.briefed else "its brief, which is written once its volume shows"
    return f"machine {called} {'ended' if machine.is_gone else 'was stopped'} without {lacks}"


def _what_to_do(machine: str, world: RecoveryWorld) -> str:
    return _where_to_look(machine) if world.briefed else "see what its volume lacked, and ask for the restore again"


def _where_to_look(machine: str) -> str:
    return (
        f"`aws ec2 get-console-output --instance-id {machine}` shows for about an hour how far it came; see that the "
        "launch template's image boots, and that the archive can be reached from its subnet"
    )


def come_back(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """Where it is, before anything else that is known of it; nothing while it is not, and once that is recorded."""
    standing = _where_it_runs(world)
    if recovery.address is None and standing is not None and standing.address is not None:
        return (RecordBack(standing.address),)
    return ()


def await_comparison(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    how = "back" if _where_it_runs(world) else "restored"
    return (Wait(f"{recovery.host} is {how}, and not compared with its backup yet: {_told(recovery, world)}"),)


def keep(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """What was restored is the operator's until the deadline: the machine, and the volume even without it."""
    return (Wait(f"{recovery.host} is restored ({recovery.verdict}): {_told(recovery, world)}"),)


def _told(recovery: Recovery, world: RecoveryWorld) -> str:
    """Where its operator finds it: as a server, or as a volume for a machine of theirs; and how long."""
    until = f"until {said(recovery.deadline)}"
    standing = _where_it_runs(world)
    if standing is not None:
        return (
            f"it runs as {recovery.name}; log in at {standing.address}, by ssh to its own users with their own keys or "
            f"passwords, and it answers with its own host keys; open are {entrances.told(world.ways)}, {until}"
        )
    volume = world.volume.id if world.volume else "nothing"
    return f"{_why_not(world)}; attach {volume}, or close it and restore again, {until}"


def _why_not(world: RecoveryWorld) -> str:
    boot = _boot(world)
    if boot is not None and not boot.booted:
        return f"it does not run ({boot.why})"
    if _running(world) is not None:
        return "it has been powered off, and its machine goes off once it is compared"
    return "its machine is off"


def _where_it_runs(world: RecoveryWorld) -> Machine | None:
    """Its machine, when its image came up there and has not ended."""
    boot = _boot(world)
    return _running(world) if boot is not None and boot.booted and not world.is_off else None


def _running(world: RecoveryWorld) -> Machine | None:
    return next((machine for machine in world.machines if machine.state == "running"), None)


def _boot(world: RecoveryWorld) -> Boot | None:
    said = world.report or world.server
    return said.boot if said else None
