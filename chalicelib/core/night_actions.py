"""The steps a night is made of, as data: what `night.plan` decides and `flows/steps.py` does.

Those of every run, a receiver's or that of a host with a volume of its own, are done in `flows/run_steps.py`.
"""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core import tags
from chalicelib.core.actions import AttachVolume, Wait, WriteBrief
from chalicelib.core.model import RestorePoint, RunState, TreeKind


@dataclass(frozen=True)
class CreateVolume:
    """The receiver's data volume in this zone, with what the snapshot holds; empty without one."""

    zone: str
    size_gib: int
    snapshot_id: str | None


@dataclass(frozen=True)
class GrowVolume:
    """Asked for once a run, whatever comes of it: a night with a volume that stayed small is better than none."""

    volume_id: str
    size_gib: int


@dataclass(frozen=True)
class SetAside:
    """A damaged volume stays for a person to look at, and is no receiver's any more."""

    volume_id: str


@dataclass(frozen=True)
class LaunchReceiver:
    """`since` is when this attempt was first asked for: a repeated request must be the same to the letter."""

    attempt: int
    since: datetime
    volume_id: str
    zone: str


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
    """One attempt, if none but a failed one carries the run's tag by now."""

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
class DeleteVolume:
    """Only ever planned for a volume that holds nothing which is not in a completed snapshot."""

    volume_id: str
    why: str


@dataclass(frozen=True)
class CloseRun:
    state: RunState
    why: str | None


RunAction = Wait | IntendSnapshot | TakeSnapshot | AdoptSnapshot | RecordPoints | CloseRun

Action = (
    RunAction
    | CreateVolume
    | GrowVolume
    | SetAside
    | WriteBrief
    | LaunchReceiver
    | AttachVolume
    | AllowNetworks
    | PointAddress
    | TerminateReceiver
    | DeleteVolume
)
