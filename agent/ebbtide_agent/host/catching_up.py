"""Whether this host has a night to begin now: by what install wrote down, and what the last runs have left behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from ebbtide_agent import moments
from ebbtide_agent.beside import Interfered
from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host.due import Past, Times, is_due, is_given_up, is_long_under_way
from ebbtide_agent.host.identity import Installed, find_legible
from ebbtide_agent.host.mark import find_begun, find_unended, note_left
from ebbtide_agent.host.schedule import DEFAULT_WINDOW, parse_window
from ebbtide_agent.host.standing import holder_of
from ebbtide_agent.host.target import Receiver
from ebbtide_agent.paths import HostPaths

GIVEN_UP = (
    "the last backup went down with this machine each time that it was begun, and is left until the next night: see"
    " what ended the machine (journalctl -b -1); ebbtide-agent run begins one now"
)


@dataclass(frozen=True)
class Decision:
    """Whether a night is to begin, and what is to be told before it does, or if none does."""

    is_due: bool
    told: str | None = None


def decide(paths: HostPaths, now: datetime) -> Decision:
    """None is due while one is under way. What is told is told once a night, and not each hour."""
    if holder_of(paths.lock):
        return Decision(False, find_long_under_way(paths, now))
    installed = _installed(paths)
    if installed.minute is None:
        # Of an agent whose schedule starts one run a night, and that one always is due.
        return Decision(True)
    times = Times(_zone(paths.local_time), installed.minute, _end(paths, installed.window))
    past = _past(paths)
    if is_due(times, past, now):
        return Decision(True, None if paths.installed.exists() else _lost(paths))
    return Decision(False, GIVEN_UP if is_given_up(times, past, now) and note_left(paths.running) else None)


def find_long_under_way(paths: HostPaths, now: datetime) -> str | None:
    """What is to be told of a night that goes on and on; None at most of the looks that there are each hour."""
    process, past = holder_of(paths.lock), _past(paths)
    if process is None or past.begun is None or not is_long_under_way(past, now):
        return None
    hours = round((now - past.begun) / timedelta(hours=1))
    return (
        f"the backup that began at {moments.write(past.begun)} has not come to its end after {hours} hours, and none is"
        " begun before it has. A first one may take so long; one that stands still, at a mount that does not answer for"
        " instance, is ended by itself, or goes on once it is answered if that is TARGET; it is ended now by"
        f" kill {process}, or by kill -9"
    )


def _installed(paths: HostPaths) -> Installed:
    """What install wrote down. Where that is lost the nights go on."""
    return find_legible(paths) or Installed({}, DEFAULT_WINDOW, parse_window(DEFAULT_WINDOW).start)


def _lost(paths: HostPaths) -> str:
    return (
        f"{paths.installed} is not there, so the night goes by the default window, {DEFAULT_WINDOW}, and nobody would"
        " notice that this is a copy of the host; to have it written anew: ebbtide-agent install --window HH:MM-HH:MM"
    )


def _past(paths: HostPaths) -> Past:
    return Past(
        scheduled=_made(paths.installed),
        begun=find_begun(paths.lock),
        unended=find_unended(paths.running),
        booted=_booted(paths.kernel),
    )


def _made(path: Path) -> datetime:
    """When it was written; long ago, if it is not there."""
    seconds = path.stat().st_mtime if path.exists() else 0
    return datetime.fromtimestamp(seconds, timezone.utc)


def _end(paths: HostPaths, window: str) -> int | None:
    """When the target goes. Whoever cannot tell begins the night, which then says what is wrong."""
    try:
        target = configuration.load(paths).target
    except (ConfigError, Interfered):
        return None
    return parse_window(window).end if isinstance(target, Receiver) else None


def _zone(local_time: Path) -> tzinfo:
    """The one that cron and systemd go by."""
    try:
        with local_time.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return timezone.utc


def _booted(kernel: Path) -> datetime:
    found = re.search(r"^btime (\d+)$", kernel.read_text(), re.MULTILINE)
    return datetime.fromtimestamp(int(found[1]) if found else 0, timezone.utc)
