"""What starts the host's night, how it comes and how it goes: a timer where systemd is in charge, else cron."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.host import schedule
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.site import Site, check_program
from ebbtide_agent.steps import Run, Step, file, removals

# Where Debian's package puts the service; then the one in /etc is not written, and an upgrade brings the next.
PACKAGED_SERVICE = Path("/usr/lib/systemd/system") / schedule.SERVICE
# What systemd remembers of a timer that catches up.
STAMP = Path("/var/lib/systemd/timers") / f"stamp-{schedule.TIMER}"


def starting(site: Site, minute: int, notes: list[str]) -> Iterator[Step]:
    """The steps after which each of its nights is started, or a note on what is left to the operator."""
    paths = site.paths
    if not site.is_the_systems:
        notes.append(f"into your crontab: {schedule.crontab_line(minute, str(site.program), site.places)}")
        return
    check_program(site.program)
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
