"""What a check found, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Callable

from ebbtide_agent.host.config import Config
from ebbtide_agent.host.health import THIS_HOST, Sources
from ebbtide_agent.paths import HostPaths

OK = "ok"
WARNING = "warning"
# The night will fail of it, or do something else than was meant.
FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, how it is, and what to do about it."""

    level: str
    what: str
    to_do: str = ""


@dataclass(frozen=True)
class Scene:
    """What there is to look at. `system` is where cron's and systemd's files are looked for, / on a real host."""

    config: Config
    paths: HostPaths
    now: datetime
    system: Path = Path("/")
    disks: Sources = THIS_HOST


Check = Callable[[Scene], Iterator[Finding]]


def ok(what: str) -> Finding:
    return Finding(OK, what)


def warning(what: str, to_do: str) -> Finding:
    return Finding(WARNING, what, to_do)


def fault(what: str, to_do: str) -> Finding:
    return Finding(FAULT, what, to_do)
