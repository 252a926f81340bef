"""What one session at a gate may see: perhaps a tree to write to, and restore points to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Readable:
    """A fake-super tree that is served by a restore point's name; `munged` as it was written."""

    name: str
    place: Path
    munged: bool = False


@dataclass(frozen=True)
class View:
    """All of it belongs to one host, whose user id it is. The module `tree` is written only, each point read only."""

    uid: int
    tree: Path | None = None
    points: tuple[Readable, ...] = ()
