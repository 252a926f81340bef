"""Steps that nights and recoveries have in common, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something happens."""

    why: str


@dataclass(frozen=True)
class WriteBrief:
    volume_id: str


@dataclass(frozen=True)
class AttachVolume:
    volume_id: str
    machine_id: str
