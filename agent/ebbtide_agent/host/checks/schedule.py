"""What starts the agent: an entry of cron's that a cron will read, or a timer of a systemd's that is enabled."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok

_CRONS = ("etc/crontab", "etc/cron.d/*", "etc/cron.hourly/*", "etc/cron.daily/*", "var/spool/cron/crontabs/*")
_TIMERS = ("etc/systemd/system/*.wants/*ebbtide*.timer", "usr/lib/systemd/system/*.wants/*ebbtide*.timer")
_OURS = re.compile(r"^[^#]*\bebbtide-agent\b.*\brun\b", re.MULTILINE)
# Who reads such entries, as the kernel calls the process; or what systemd-cron has made of them for systemd.
_READERS = ("bcron-sched", "cron", "crond", "fcron", "supercronic")
_FOR_SYSTEMD = "run/systemd/generator/cron-*.timer"
_MASKED = Path("/dev/null")
# Debian's cron passes over every other name.
_READ_BY_CRON = re.compile(r"[A-Za-z0-9_-]+")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_started(scene: Scene) -> Iterator[Finding]:
    timers = [path for pattern in _TIMERS for path in scene.system.glob(pattern) if _is_to_start(path, scene.system)]
    entries = [path for pattern in _CRONS for path in sorted(scene.system.glob(pattern)) if _names_us(path)]
    problems = [problem for path in entries for problem in _problems_with(path)]
    named = ", ".join(map(str, (*timers, *entries)))
    if timers and (scene.system / "run/systemd/system").is_dir():
        yield ok(f"started by {named}")
    elif problems:
        yield from problems
    elif entries:
        yield _by_cron(named, scene.system)
    elif timers:
        yield fault(f"{named} is there, and no systemd is in charge that would start it", "ebbtide-agent install")
    else:
        yield _by_own_crontab(scene.system)


def _by_own_crontab(system: Path) -> Finding:
    """Only cron's own program may look there, wherever it keeps them."""
    if _OURS.search(procs.run(("crontab", "-l")).out.decode("utf-8", "replace")):
        return _by_cron("our crontab (crontab -l)", system)
    to_do = "ebbtide-agent install, which as somebody else than root prints the line for a crontab"
    return fault("nothing starts the agent: no entry of cron's, no timer of systemd's", to_do)


def _by_cron(named: str, system: Path) -> Finding:
    if _has_cron(system):
        return ok(f"started by {named}")
    to_do = "install and start one (apt install cron); or, where systemd is in charge, ebbtide-agent install"
    return fault(f"{named} is there, and no cron runs that would read it", to_do)


def _has_cron(system: Path) -> bool:
    """True also where nobody can tell: other users' processes may be hidden from this one."""
    running = {_name_of(process) for process in system.glob("proc/[0-9]*")}
    is_all = running and (system / "proc/1").is_dir()
    return not is_all or not running.isdisjoint(_READERS) or any(system.glob(_FOR_SYSTEMD))


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        # It has come to its end.
        return ""


def _is_to_start(timer: Path, system: Path) -> bool:
    """Whoever masks a package's timer, or what it starts, leaves the link that enables it where it is."""
    units = (timer, *(system / "etc/systemd/system" / name for name in (timer.name, f"{timer.stem}.service")))
    return timer.exists() and all(unit.resolve() != _MASKED for unit in units)


def _names_us(path: Path) -> bool:
    try:
        return path.is_file() and bool(_OURS.search(path.read_text(errors="replace")))
    except OSError:
        return False


def _problems_with(path: Path) -> Iterator[Finding]:
    """Why cron would pass over an entry without telling anybody."""
    if not path.read_bytes().endswith(b"\n"):
        yield fault(f"{path}: cron does not read a last line without an end", "end it with a newline")
    if path.parent.name == "crontabs":
        return
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_WRITE:
        yield fault(
            f"{path}: cron reads no file that others than root can write", f"chown root {path}; chmod 644 {path}"
        )
    if not _READ_BY_CRON.fullmatch(path.name):
        yield fault(f"{path}: cron reads no file with such a name", "let it have letters, digits, _ and - only")
