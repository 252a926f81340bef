"""What starts the host's night, how it comes and how it goes: a timer where systemd is in charge, else cron."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host import schedule
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.steps import Run, Step, file, removals

# Where Debian's package puts the service; then the one in /etc is not written, and an upgrade brings the next.
PACKAGED_SERVICE = Path("/usr/lib/systemd/system") / schedule.SERVICE
# What systemd remembers of a timer that catches up.
STAMP = Path("/var/lib/systemd/timers") / f"stamp-{schedule.TIMER}"


@dataclass(frozen=True)
class Site:
    """Where the agent is installed: the files' places, the program that is running, the machine's own name.

    `is_the_systems`: the system itself starts it, and not a user who has it in places of his own.
    """

    paths: HostPaths
    program: Path
    name: str
    is_the_systems: bool
    has_systemd: bool


def starting(site: Site, minute: int, notes: list[str]) -> Iterator[Step]:
    """The steps after which each of its nights is started, or a note on what is left to the operator."""
    paths = site.paths
    if not site.is_the_systems:
        places = ("--etc", str(paths.etc), "--state", str(paths.state))
        notes.append(f"into your crontab: {schedule.crontab_line(minute, str(site.program), places)}")
        return
    _check_program(site.program)
    if site.has_systemd:
        yield from _timer(paths, minute, site.program)
    elif paths.cron.parent.is_dir():
        yield from file(paths.cron, schedule.cron(minute, str(site.program)))
    else:
        notes.append(
            f"neither systemd nor {paths.cron.parent} is here, so nothing starts it; what cron should start:"
            f" {schedule.crontab_line(minute, str(site.program), ())}"
        )


def no_longer_starting(site: Site) -> Iterator[Step]:
    """The steps after which nothing starts it."""
    if not site.is_the_systems:
        return
    timer = site.paths.timer
    if site.has_systemd and (timer.exists() or wanted(timer).is_symlink()):
        yield Run(("systemctl", "disable", "--now", schedule.TIMER))
    yield from removals((site.paths.cron, timer, wanted(timer), site.paths.service, STAMP))
    if site.has_systemd and (timer.exists() or site.paths.service.exists()):
        yield Run(("systemctl", "daemon-reload"))


def _timer(paths: HostPaths, minute: int, program: Path) -> Iterator[Step]:
    is_enabled = wanted(paths.timer).is_symlink()
    files = list(file(paths.timer, schedule.timer(minute)))
    if not PACKAGED_SERVICE.exists():
        files += file(paths.service, schedule.service(str(program)))
    yield from removals((paths.cron,), "systemd starts it now")
    if files or not is_enabled:
        yield from (Run(("systemctl", "stop", schedule.TIMER)) for _ in range(is_enabled))
        yield from files
        yield Run(("systemctl", "daemon-reload"))
        yield Run(("systemctl", "enable", "--now", schedule.TIMER))


def wanted(timer: Path) -> Path:
    """The link by which systemd knows an enabled timer."""
    return timer.parent / "timers.target.wants" / timer.name


def _check_program(program: Path) -> None:
    """Root will start it every night, so nobody else may be able to change it. Raises PermanentError."""
    if not program.is_file() or program.suffix == ".py":
        raise PermanentError(f"{program} is not the agent's one file, and only that can be started every night")
    for path in (program, *program.parents):
        found = path.stat()
        if found.st_uid != 0 or found.st_mode & stat.S_IWOTH:
            raise PermanentError(
                f"root will start {program} every night, and others may change {path}: put the file into"
                " /usr/local/bin and start install from there"
            )
