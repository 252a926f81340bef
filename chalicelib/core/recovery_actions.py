"""What a recovery's next step depends on, and the steps it is made of, as data: what `recovery.plan` decides and
`flows/recovery_steps.py` does.
"""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.model import (
    Machine,
    RecoveryReport,
    RecoveryState,
    RestoredServer,
    RestorePoint,
    Snapshot,
    Step,
    Times,
    Volume,
    Way,
)


@dataclass(frozen=True)
class RecoveryWorld:
    """Everything a recovery's next step depends on, observed just now: machines first, then the report.

    In that order a machine that has reported and gone is never mistaken for one that went without a word. `server` is
    what that of a restore has said before it reports; `is_off` that it has ended since; `unheard` and `unreadable` are
    why that word and its report cannot be read. `is_opened` says that the machine of an opening serves, `shut_out` are
    the networks that should reach it and do not. `ways` are those that should lead to restored machines, and whether
    they do.

    `machines` and `volume` are of the latest attempt, and so are `has_begun`, its machine's first word, and `said`, the
    steps that it has said it begins, of those that the catalogue does not have yet; `spent_machines` and
    `spent_volumes` are what is left of those before. `before` is the point before one that has failed.
    """

    machines: tuple[Machine, ...]
    volume: Volume | None
    snapshot: Snapshot | None
    briefed: bool
    report: RecoveryReport | None
    unreadable: str | None = None
    server: RestoredServer | None = None
    unheard: str | None = None
    is_off: bool = False
    is_opened: bool = False
    shut_out: tuple[str, ...] = ()
    ways: frozenset[Way] = frozenset()
    ways_are_set: bool = True
    has_begun: bool = False
    said: tuple[Step, ...] = ()
    spent_machines: tuple[Machine, ...] = ()
    spent_volumes: tuple[Volume, ...] = ()
    before: RestorePoint | None = None

    @property
    def may_be_back(self) -> bool:
        """Whether its machine has said that its server stands, in whatever words: it may be somebody's by now."""
        return self.server is not None or self.unheard is not None


@dataclass(frozen=True)
class CreateVolume:
    """A throw-away copy of the point's snapshot where its machine stands, whose blocks come at a `rate` in MiB a
    second, or as they are read."""

    zone: str
    snapshot_id: str
    size_gib: int
    rate: int | None


@dataclass(frozen=True)
class LaunchMachine:
    """The machine of this recovery, in this zone or in the first one with room: what one reports is a finding, and
    never a reason for another."""

    zone: str | None


@dataclass(frozen=True)
class ReplaceMachine:
    """Another attempt, with a volume of its own, in place of a machine that has ended without a word, and why."""

    why: str


@dataclass(frozen=True)
class RecordStep:
    """Its machine has come to this one."""

    step: Step


@dataclass(frozen=True)
class RecordDoubt:
    """Why somebody who waits for its server has none before it is compared, or may have none."""

    finding: str


@dataclass(frozen=True)
class RecordVerdict:
    """What it has come to. What was found before and is `overtaken` is so no longer."""

    verdict: str
    findings: tuple[str, ...]
    times: Times | None = None
    overtaken: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdmitNetworks:
    """Let them in beside whoever the receivers' port is open to."""

    networks: tuple[str, ...]


@dataclass(frozen=True)
class SetWays:
    """Let in to restored machines on exactly these."""

    ways: frozenset[Way]


@dataclass(frozen=True)
class KeepUntil:
    """Say on whatever it stands on that this is its time."""

    expires: datetime


@dataclass(frozen=True)
class RecordOpened:
    """An opening stands: where."""

    address: str


@dataclass(frozen=True)
class RecordBack:
    """A server is back, and not compared yet: where, and what of it is not as it should be."""

    address: str
    findings: tuple[str, ...] = ()
    times: Times | None = None


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
class MarkDisproven:
    """Whatever an earlier drill or restore has proven of its point."""


@dataclass(frozen=True)
class CloseRecovery:
    state: RecoveryState


Action = (
    Wait
    | CreateVolume
    | WriteBrief
    | LaunchMachine
    | ReplaceMachine
    | AttachVolume
    | AdmitNetworks
    | SetWays
    | KeepUntil
    | RecordOpened
    | RecordStep
    | RecordBack
    | RecordDoubt
    | RecordVerdict
    | TerminateMachine
    | DeleteVolume
    | MarkProven
    | MarkDisproven
    | CloseRecovery
)
