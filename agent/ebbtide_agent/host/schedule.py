"""When a host starts its night: a minute of its own in the window, as a systemd timer and a line of cron. Pure.

Each starts the agent at that minute of every hour, and the agent looks whether a night is due (`due.py`). So what was
missed is made good, and the night on which the clocks skip the minute as well: systemd would leave it out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

DEFAULT_WINDOW = "02:00-06:00"
SHORTEST_MINUTES = 30
DAY_MINUTES = 24 * 60

# A restored image must not start them: restore/masked.py names both, and cron.
SERVICE, TIMER = "ebbtide-agent.service", "ebbtide-agent.timer"

_TIME = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_WINDOW = re.compile(rf"{_TIME}-{_TIME}")
_ORIGIN = "# Written by `ebbtide-agent install`, which writes it again when it is told another window."

_SERVICE = """\
[Unit]
Description=Back this host up (Ebbtide)
Documentation=man:ebbtide-agent(1)
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target

[Service]
Type=oneshot
ExecStart={command}
"""
# What was missed while the host was off is looked at as soon as it is back.
_TIMER = """\
{origin}
[Unit]
Description=Back this host up every night (Ebbtide), looking each hour whether it is time
Documentation=man:ebbtide-agent(1)

[Timer]
OnCalendar=*-*-* *:{minute:02}:00
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""
# Debian leaves this file behind when the package is removed and not purged.
_CRON = """\
{origin}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{line}
"""


@dataclass(frozen=True)
class Window:
    """The hours in which a receiver stands, in minutes of this host's day; it may go over midnight."""

    start: int
    end: int

    @property
    def minutes(self) -> int:
        return (self.end - self.start) % DAY_MINUTES


def parse_window(text: str) -> Window:
    """Raises ValueError with what was expected."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError("local times such as 02:00-06:00")
    hours = [int(group) for group in match.groups()]
    window = Window(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])
    if window.minutes < SHORTEST_MINUTES:
        raise ValueError(f"at least {SHORTEST_MINUTES} minutes from start to end")
    return window


def minute_of(window: Window, host: str, machine: str) -> int:
    """The minute of the day at which this host starts: the same every night, and spread evenly over all hosts.

    It lies in the first half of the window, so that the second half is there to finish in.
    """
    drawn = int.from_bytes(sha256(f"{host}\0{machine}".encode()).digest(), "big")
    return (window.start + drawn % (window.minutes // 2)) % DAY_MINUTES


def clock(minute: int) -> str:
    """A minute of the day as a clock shows it."""
    return f"{minute // 60:02}:{minute % 60:02}"


def command(program: str, places: Sequence[str] = ()) -> str:
    """What is started, quiet but for faults."""
    return " ".join(map(shlex.quote, (program, "run", "--catch-up", "--progress", "none", *places)))


def service(program: str) -> str:
    return _SERVICE.format(command=command(program))


def timer(minute: int) -> str:
    return _TIMER.format(origin=_ORIGIN, minute=minute % 60)


def cron(minute: int, program: str) -> str:
    """The whole of a file for /etc/cron.d."""
    there = f"[ -x {shlex.quote(program)} ]"
    return _CRON.format(origin=_ORIGIN, line=f"{_at(minute)} root {there} && {command(program)}")


def crontab_line(minute: int, program: str, places: Sequence[str]) -> str:
    """The line for a user's own crontab."""
    return f"{_at(minute)} {command(program, places)}"


def _at(minute: int) -> str:
    return f"{minute % 60} * * * *"
