"""A machine of a drill or restore that comes to nothing: when that is known, and what is done then."""

from datetime import datetime, timedelta

from chalicelib.core.actions import Wait
from chalicelib.core.model import Machine, Recovery, RecoveryKind
from chalicelib.core.recovery_actions import Action, RecoveryWorld, ReplaceMachine, TerminateMachine
from chalicelib.core.recovery_times import spoken
from chalicelib.core.restored import given_up
from chalicelib.core.steps import COMPARE, MACHINE, said_step, told_step

# Its first word comes before it looks at its volume, however large that is, but not before its brief, which is written
# once that volume shows. EC2 has minutes to start it, and the agent is tried for one: one that has a brief and has not
# said a word by then never will.
BEGINS_WITHIN = timedelta(minutes=15)
# After that word it says what it begins, and one that goes no further hangs. Until its tree is real it may check its
# file system, for an hour, and then writes to every file, for which EBS has to fetch what is read from the snapshot
# first; and what is compared is read whole. That goes by the size: 9 MiB a second of it here, where EBS is asked for
# 100 or 300; or 550 files a second, of which an ext4 of ours has at most 65536 a GiB. Otherwise it is all the same how
# large the server is: its image has a quarter of an hour to be up, and what stands and cannot say so tries that for an
# hour. A word that it could not write costs nothing: each of its steps may take what the next one takes as well.
STILL_WITHIN = timedelta(hours=2)
STILL_WITHIN_A_GIB = timedelta(minutes=2)
_BY_SIZE = (MACHINE, "mount", "materialise", COMPARE)
# Nobody waits longer for a server.
BACK_WITHIN = timedelta(days=1)
# Two in a row are no accident. Nobody waits for a drill: one that comes to nothing is a finding.
_MOST_MACHINES = {RecoveryKind.RESTORE: 2, RecoveryKind.DRILL: 1}


def replace_or_end(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """Another machine for one that will not bring the server back, as often as its kind has it; nothing, while it may.

    It is ended first: what is gone says nothing any more, so that no word is taken for its successor's.
    """
    machine = next(iter(world.machines), None)
    launched = recovery.launched or (machine.launched if machine else None)
    if launched is None:
        return ()
    called = machine.id if machine else str(recovery.machine_id)
    is_late = recovery.kind is RecoveryKind.RESTORE and now >= launched + BACK_WITHIN
    if is_late and world.has_begun:
        return (given_up(world, f"machine {called} had begun, and was not back within a day", _where_to_look(called)),)
    why = _why_silent(recovery, called, launched, world, now) or _why_lost(machine, called, world)
    if why is None:
        return ()
    if recovery.attempt >= _MOST_MACHINES[recovery.kind]:
        return (given_up(world, why, f"no further machine is tried: {_what_to_do(called, world)}"),)
    if machine is None or machine.is_gone:
        return (ReplaceMachine(f"{why}; another one was launched"),)
    return (Wait(f"machine {called} is {machine.state}") if machine.is_leaving else TerminateMachine(called),)


def still_within(step: str, size_gib: int) -> timedelta:
    """How long a machine may be at a step, whose volume is so large, before the next one is heard of."""
    return STILL_WITHIN + (STILL_WITHIN_A_GIB * size_gib if step in _BY_SIZE else timedelta(0))


def _why_silent(recovery: Recovery, called: str, launched: datetime, world: RecoveryWorld, now: datetime) -> str | None:
    has_begun = world.has_begun or said_step(recovery) is not None
    if world.briefed and not has_begun and now >= launched + BEGINS_WITHIN:
        minutes = BEGINS_WITHIN // timedelta(minutes=1)
        return f"machine {called} said nothing within {minutes} minutes of its launch"
    step = recovery.step
    if not has_begun or step is None or (step.name in _BY_SIZE and world.volume is None):
        return None
    within = still_within(step.name, world.volume.size_gib if world.volume else 0)
    if now < max(step.since, launched) + within:
        return None
    return f"machine {called} was at {told_step(step.name)} for {spoken(within.total_seconds())}, and went no further"


def _why_lost(machine: Machine | None, called: str, world: RecoveryWorld) -> str | None:
    if machine is None or not (machine.is_gone or machine.is_stopped):
        return None
    lacks = "a report" if world.briefed else "its brief, which is written once its volume shows"
    return f"machine {called} {'ended' if machine.is_gone else 'was stopped'} without {lacks}"


def _what_to_do(machine: str, world: RecoveryWorld) -> str:
    return _where_to_look(machine) if world.briefed else "see what its volume lacked, and ask for the same again"


def _where_to_look(machine: str) -> str:
    return (
        f"`aws ec2 get-console-output --instance-id {machine}` shows for about an hour how far it came; see that the "
        "launch template's image boots, and that the archive can be reached from its subnet"
    )
