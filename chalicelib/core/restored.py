"""One restore, decided: a server that is back before it is compared, and stays, whatever that says, until its time is
over.

Only what is different about it: how it comes up and how it is taken down is every recovery's (`recovery.py`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from chalicelib.core import entrances
from chalicelib.core.actions import Wait
from chalicelib.core.model import Boot, Machine, Recovery, RecoveryKind, RecoveryReport
from chalicelib.core.recovery_actions import (
    Action,
    RecordBack,
    RecordDoubt,
    RecordVerdict,
    RecoveryWorld,
)
from chalicelib.core.tags import expiry_of
from chalicelib.core.trouble import said
from chalicelib.core.verdicts import (
    FAILED,
    UNPROVEN,
    is_down,
    is_on_its_way_out,
    is_unheard,
    why_down,
    why_unheard,
)
from chalicelib.errors import Refused

# After which somebody should look why it is not known yet. A gp3 volume of 10 TiB is read in a day, 125 MiB a second.
COMPARED_WITHIN = timedelta(days=1)
# How long one stands unless it is asked for longer, and how long at most: its machine cannot be told of a later end.
USUAL, LONGEST = timedelta(days=7), timedelta(days=28)
# Before its end, when whoever uses it is told.
ENDS_SOON = timedelta(hours=48)
# A machine that is told its deadline may still be writing its report then.
GRACE = timedelta(minutes=15)


def kept_until(recovery: Recovery, lasts: timedelta | None, now: datetime) -> datetime:
    """When one that stands ends that is asked for again, with a time from now on or without: never the sooner for it,
    and no later than its machine lives.

    Raises Refused for a time that its machine could not have lived from the first.
    """
    if lasts is None:
        return recovery.deadline
    lives = recovery.lives or USUAL
    latest = recovery.opened + lives
    if lasts > lives:
        raise Refused(
            f"restore {recovery.id} can stand until {said(latest)}, {lives.days} days after it was asked for, and no "
            "longer, as an earlier version has launched its machine: restore another one beside it (--name), for longer"
        )
    return max(recovery.deadline, min(now + lasts, latest))


def expires_too_early(recovery: Recovery, world: RecoveryWorld) -> bool:
    """Whether the tags of what it stands on say an end that was moved since."""
    standing = [each.tags for each in world.machines if not each.is_gone]
    standing += [world.volume.tags] if world.volume else []
    said_so_far = (expiry_of(tagged) for tagged in standing)
    return any(expiry is not None and expiry < recovery.deadline + GRACE for expiry in said_so_far)


def ending_soon(recoveries: Iterable[Recovery], now: datetime) -> list[Recovery]:
    """The restores whose time is over within ENDS_SOON, the first one first."""
    standing = [each for each in recoveries if each.kind is RecoveryKind.RESTORE and not is_on_its_way_out(each, now)]
    return sorted((each for each in standing if each.deadline <= now + ENDS_SOON), key=lambda each: each.deadline)


def given_up(world: RecoveryWorld, *why: str) -> RecordVerdict:
    """Why nothing more will be known. What has failed is taken down; a server that may be back is somebody's, and
    stays."""
    return RecordVerdict(UNPROVEN if world.may_be_back else FAILED, why)


def failed(report: RecoveryReport, recovery: Recovery, world: RecoveryWorld) -> RecordVerdict:
    """With what it would be restored from otherwise: a person says whether it shall be."""
    return given_up(world, *report.findings, *() if world.may_be_back else _instead(recovery, world))


def _instead(recovery: Recovery, world: RecoveryWorld) -> tuple[str, ...]:
    this = f"this was snapshot {recovery.point.snapshot_id}, of {said(recovery.point.at)}"
    if world.before is None:
        return (f"{this}; {recovery.host} has no restore point before it",)
    other = f"`ebbtide restore {recovery.host} --at {world.before.snapshot_id}`"
    return (f"{this}; the restore point before it is of {said(world.before.at)}: {other}",)


def come_back(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """Where it is, before anything else that is known of it; nothing while it is not, and once that is recorded."""
    standing = _where_it_runs(world)
    if recovery.address is None and standing is not None and standing.address is not None:
        return (RecordBack(standing.address, _unanswered(world)),)
    return ()


def _unanswered(world: RecoveryWorld) -> tuple[str, ...]:
    """The findings, of a server that is up and does not answer its probe: as its report will have them later."""
    server = world.server
    if server is None or server.probe is None or server.probe.ok:
        return ()
    return (f"{server.probe.target}: {server.probe.answer}", *server.failed)


def answered_since(world: RecoveryWorld) -> tuple[str, ...]:
    """What was found of it while it had not answered, once its report says that it has."""
    answer = world.report.probe if world.report else None
    return _unanswered(world) if answer is not None and answer.ok else ()


def not_up(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """Once, that its image has not come up, which its machine says before it compares; nothing otherwise."""
    boot = world.server.boot if world.server else None
    if boot is None or boot.booted or is_down(recovery.findings):
        return ()
    return (RecordDoubt(why_down(boot.why)),)


def heard(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """Once, that what its machine has said of its server cannot be read; nothing otherwise, nor where its report says
    whether that came up."""
    if world.unheard is None or _boot(world) is not None or is_unheard(recovery.findings):
        return ()
    running = _running(world)
    return (RecordDoubt(why_unheard(world.unheard, running.address if running else None)),)


def await_comparison(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    how = "back" if runs(world) else "restored"
    return (Wait(f"{recovery.host} is {how}, and not compared with its backup yet: {_told(recovery, world)}"),)


def keep(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """What was restored is the operator's until the deadline: the machine, and the volume even without it."""
    return (Wait(f"{recovery.host} is restored ({recovery.verdict}): {_told(recovery, world)}"),)


def runs(world: RecoveryWorld) -> bool:
    """Whether its server does now, by what its machine has said and EC2 shows."""
    return _where_it_runs(world) is not None


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
