"""One opening, decided: a restore point that stands read-only for its host until its time is over.

Only what is different about it: how it comes up and how it is taken down is every recovery's (`recovery.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core.actions import Wait
from chalicelib.core.model import Machine, Recovery, RecoveryKind
from chalicelib.core.recovery_actions import Action, AdmitNetworks, RecordOpened, RecordVerdict, RecoveryWorld
from chalicelib.core.verdicts import FAILED

SHORTEST, USUAL, LONGEST = timedelta(minutes=15), timedelta(hours=2), timedelta(hours=24)

# Room for a machine included: whoever waits should not wait for what does not come.
OPENS_WITHIN = timedelta(minutes=30)

# By then EC2 shows what it was asked for: an opening may be ended a moment after that.
SETTLES = timedelta(minutes=5)


@dataclass(frozen=True)
class OpeningRequest:
    """A host whose files are wanted back, as it was at `at` or before, and for how long it shall stand."""

    host: str
    at: datetime | None = None
    lasts: timedelta = USUAL


def conclude(recovery: Recovery, world: RecoveryWorld, now: datetime) -> tuple[Action, ...]:
    """That it stands, or why it will not; nothing while that is not known. Whatever it reports proves nothing."""
    if world.report is not None:
        return (_failed(*world.report.findings or ("its machine reported instead of serving, and not why",)),)
    standing = next((machine for machine in world.machines if machine.state == "running"), None)
    if world.is_opened and standing is not None and standing.address is not None:
        return (RecordOpened(standing.address),)
    if now < _last_call(recovery):
        return ()
    if now >= recovery.deadline:
        return (_failed("its time was over before it was known to be open"),)
    return (_failed(f"it was not open within {OPENS_WITHIN // timedelta(minutes=1)} minutes"),)


def may_yet_show(recovery: Recovery, world: RecoveryWorld, now: datetime) -> bool:
    """Whether a machine, or a volume, may have been asked for just before it was given up, and is not seen yet."""
    is_all_seen = world.briefed and bool(world.machines)
    return not is_all_seen and _last_call(recovery) <= now < _last_call(recovery) + SETTLES


def _last_call(recovery: Recovery) -> datetime:
    """From then on nothing is brought up for it. A restore has until its end."""
    if recovery.kind is RecoveryKind.RESTORE:
        return recovery.deadline
    return min(recovery.deadline, recovery.opened + OPENS_WITHIN)


def await_word(machine: Machine, world: RecoveryWorld) -> tuple[Action, ...]:
    """Its volume is there: by the time it serves it can be reached."""
    if world.shut_out:
        return (AdmitNetworks(world.shut_out),)
    return (Wait(f"machine {machine.id} to open"),)


def stand(recovery: Recovery, world: RecoveryWorld) -> tuple[Action, ...]:
    """Until its time is over, or its machine is: nobody else has that address."""
    if world.report is not None:
        return (_failed(*world.report.findings or ("its machine stopped serving, and reported not why",)),)
    gone = next((machine for machine in world.machines if machine.is_gone), None)
    if gone is not None:
        return (_failed(f"machine {gone.id} ended before its time"),)
    if world.shut_out:
        return (AdmitNetworks(world.shut_out),)
    return (Wait(f"{recovery.host} is open at {recovery.address} until {recovery.deadline.isoformat()}"),)


def _failed(*findings: str) -> RecordVerdict:
    return RecordVerdict(FAILED, findings)
