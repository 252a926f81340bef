"""Whether this host has a night to begin now: by what install wrote down, and what the last run has left behind."""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from ebbtide_agent import moments
from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host.due import Past, Times, is_due
from ebbtide_agent.host.identity import find_installed
from ebbtide_agent.host.mark import find_begun, find_mark
from ebbtide_agent.host.schedule import parse_window
from ebbtide_agent.host.standing import holder_of
from ebbtide_agent.host.target import Receiver
from ebbtide_agent.paths import HostPaths


def has_a_night_to_begin(paths: HostPaths, now: datetime) -> bool:
    """False while one is under way. Raises ConfigError where install never was."""
    installed = find_installed(paths)
    if installed is None:
        raise ConfigError((f"--catch-up goes by {paths.installed}, which is not there yet: ebbtide-agent install",))
    if holder_of(paths.lock):
        return False
    if installed.minute is None:
        # Of an agent whose schedule starts one run a night, and that one always is due.
        return True
    times = Times(_zone(paths.local_time), installed.minute, _end(paths, installed.window))
    return is_due(times, _past(paths), now)


def _past(paths: HostPaths) -> Past:
    begun, mark = find_begun(paths.lock), find_mark(paths.running)
    return Past(
        scheduled=datetime.fromtimestamp(paths.installed.stat().st_mtime, timezone.utc),
        begun=begun,
        never_ended=begun is not None and mark == moments.write(begun),
        booted=_booted(paths.kernel),
    )


def _end(paths: HostPaths, window: str) -> int | None:
    """When the target goes. Whoever cannot tell begins the night, which then says what is wrong."""
    try:
        target = configuration.load(paths).target
    except ConfigError:
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
