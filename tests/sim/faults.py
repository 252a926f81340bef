"""What goes wrong in a simulated world, as data: a plan is printed, pasted into a test and played again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from chalicelib.core.model import HostStatus

Entry = TypeVar("Entry")

NO_TIME = timedelta(0)
A_YEAR = timedelta(days=365)


class Says(StrEnum):
    """How a call of a port ends when it does not end well."""

    THROTTLED = "throttled"
    NO_ANSWER = "no answer"
    DENIED = "denied"
    DIES = "the Lambda dies"
    NOTHING = "nothing is shown"
    RIVAL = "another invocation comes in between"


@dataclass(frozen=True)
class CallFault:
    """A call that fails: `call` is a pattern such as `volumes.create_*`; the first `skip` go well, `times` do not.

    With `has_effect` what was asked for happens all the same. With `at_deeds` no call counts that only looks, but the
    first one of a process. It counts from `since` to `until`, after the start.
    """

    call: str
    says: Says = Says.NO_ANSWER
    skip: int = 0
    times: int = 1
    has_effect: bool = False
    at_deeds: bool = False
    since: timedelta = NO_TIME
    until: timedelta = A_YEAR


@dataclass(frozen=True)
class NoRoom:
    """A zone or an instance type that EC2 is out of, from `since` to `until` after the start."""

    where: str
    since: timedelta = NO_TIME
    until: timedelta = A_YEAR


@dataclass(frozen=True)
class Rot:
    """So long after the start every data volume that there is is damaged, and so many of the newest snapshots.

    What `is_latent` comes to light when it is pushed to, or when all of a file system is looked at.
    """

    after: timedelta
    snapshots: int = 0
    is_latent: bool = False


@dataclass(frozen=True)
class Fate:
    """What becomes of an event or an invocation on its way: how many arrive, and how late."""

    copies: int = 1
    late: timedelta = NO_TIME


@dataclass(frozen=True)
class HostNight:
    """One night of one host. It calls `at` after the window opens; `says` is None for one that never calls."""

    at: timedelta = timedelta(minutes=10)
    takes: timedelta = timedelta(minutes=5)
    says: HostStatus | None = HostStatus.COMPLETE
    reports: int = 1
    is_impersonated: bool = False


@dataclass(frozen=True)
class OwnNight:
    """One night of a host with a volume of its own. It begins `at` after midnight in UTC; `events` may be none.

    For `quiet` it leaves its volume alone; `says` is None for one that never reports.
    """

    at: timedelta = timedelta(minutes=70)
    takes: timedelta = timedelta(minutes=5)
    says: HostStatus | None = HostStatus.COMPLETE
    quiet: timedelta = timedelta(hours=12)
    events: int = 1
    lets_go: bool = True
    knows_its_volume: bool = True


@dataclass(frozen=True)
class MachineLife:
    """One machine. `dies_after` counts from its start; one that `hangs` never powers itself off.

    One that does not let go of its volume says so when it releases; one that does not release says nothing.
    `breaks_after`, from its start, its volume takes no more; it knows, and says so. One that does not compare
    what it has restored never reports. With `refuses` it lets nobody in, and says why. A restore's `sticks_at` a step.
    A receiver that is told to stop, `stopped_after` its start, lets go of what it stands ready with.
    """

    boots_in: timedelta = timedelta(minutes=2)
    gets_ready: bool = True
    dies_after: timedelta | None = None
    stopped_after: timedelta | None = None
    hangs: bool = False
    releases: bool = True
    lets_go: bool = True
    sees_disks_in: timedelta = NO_TIME
    breaks_after: timedelta | None = None
    compares: bool = True
    refuses: str = ""
    sticks_at: str = ""


@dataclass(frozen=True)
class Pace:
    """How long EC2 and EBS take, and S3 to the other region. There, `to_snapshot` is how long a copy takes."""

    to_show: timedelta = NO_TIME
    to_detach: timedelta = NO_TIME
    to_snapshot: timedelta = timedelta(minutes=3)
    to_grow: timedelta = timedelta(seconds=30)
    to_replicate: timedelta = timedelta(minutes=1)


class Does(StrEnum):
    """What an operator may ask for, or bring about."""

    RUN_NOW = "run_now"
    DRILL = "drill"
    RESTORE = "restore"
    OPEN = "open_host"
    CLOSE = "close_host"
    DRILL_THERE = "drill in the second region"
    PRUNE = "prune"
    HOLD = "hold"
    RELEASE = "release"
    FORGET = "forget_host"
    APPLY = "apply_policy"
    COPY = "copy"
    REMOVE = "remove"
    ADD = "add"
    LOSE_THE_TABLE = "lose_the_table"


@dataclass(frozen=True)
class Deed:
    """`after` counts from the start; `of` is the receiver or host it is about, or what to keep from now on.

    To apply, to copy, to remove and to add are changes of the policy, one after the other: what is kept here and there
    (nothing is copied while no rule says so), and which hosts there are. To forget a host is asked of one that is gone.
    """

    after: timedelta
    does: Does
    of: str = ""


@dataclass(frozen=True)
class FaultPlan:
    """Events and invocations go through their fates again and again; hosts, machines and snapshots once, then well."""

    calls: tuple[CallFault, ...] = ()
    events: tuple[Fate, ...] = (Fate(),)
    invocations: tuple[Fate, ...] = (Fate(),)
    hosts: tuple[HostNight, ...] = ()
    own_hosts: tuple[OwnNight, ...] = ()
    machines: tuple[MachineLife, ...] = ()
    bad_snapshots: tuple[bool, ...] = ()
    rots: tuple[Rot, ...] = ()
    no_room: tuple[NoRoom, ...] = ()
    pace: Pace = Pace()
    ticks_at_once: int = 1
    # From and until when no tick comes, counted from the start.
    silences: tuple[tuple[timedelta, timedelta], ...] = ()
    deeds: tuple[Deed, ...] = ()
    # What befalls the second region: its machines, snapshots, which are copies, calls, events and ticks.
    there: "FaultPlan | None" = None
    # Objects of the archive that who stole a receiver's role has written before the first night.
    forged: tuple[tuple[str, bytes], ...] = ()


QUIET = FaultPlan()


def of_cycle(fates: Sequence[Entry], number: int) -> Entry:
    return fates[number % len(fates)]


def of_list(planned: Sequence[Entry], number: int, otherwise: Entry) -> Entry:
    return planned[number] if number < len(planned) else otherwise
