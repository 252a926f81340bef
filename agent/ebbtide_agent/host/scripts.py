"""The operator's scripts before a backup: every [0-9][0-9]* of /etc/backupscripts, in order, in a clean environment."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.host.outcome import Remark
from ebbtide_agent.printable import printable
from ebbtide_agent.report import PARTIAL, WITH_WARNINGS, ScriptResult

KEPT_OUTPUT_BYTES = 4096
# Of its last line: why a program failed stands at the end.
_QUOTED = 200
# Cron's own PATH has no sbin, where half of what looks at a system is.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A line of its own near the top of a script: when it fails that is a warning.
OPTIONAL = b"# ebbtide: optional"
_TOP_LINES = 20
_TOP_BYTES = 1 << 14
# What the kernel takes without asking for a program that reads it.
_PROGRAM = b"\x7fELF"
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n]+)")
_ANY_MAY_EXECUTE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def find(directory: Path) -> list[Path]:
    """The scripts in the order of their names, executable or not; no directory, no scripts."""
    return sorted(path for path in directory.glob("[0-9][0-9]*") if not path.is_dir())


def is_optional(path: Path) -> bool:
    """Whether a script says of itself that a night without it is good enough."""
    top = _top_of(path) or b""
    return any(line.strip() == OPTIONAL for line in top.splitlines()[:_TOP_LINES])


def _top_of(path: Path) -> bytes | None:
    """None of what cannot be read: a pipe, for one, would keep whoever opens it waiting for ever."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_TOP_BYTES)
    except OSError:
        return None


def find_obstacle(path: Path) -> tuple[str, str] | None:
    """Why a script cannot even start, and what to do; None if nothing shows."""
    if not path.is_file():
        return "is no regular file", f"rm {path}, and put a script there"
    if not path.stat().st_mode & _ANY_MAY_EXECUTE:
        return "is not executable", f"chmod u+x {path}, or let its name begin with a letter"
    top = _top_of(path)
    if top is None or top.startswith(_PROGRAM):
        return None
    named = _INTERPRETER.match(top)
    if named is None:
        return "has no line #! at its top", "begin it with the program that is to read it, such as #!/bin/sh"
    if not os.path.exists(named[1]):  # noqa: PTH110 - a path of bytes
        return f"is to be read by {printable(named[1])}, which is not there", "install that, or correct its first line"
    return None


def environment_of(host: str, started: datetime, dumps: Path) -> Mapping[str, str]:
    """All that a script is given, the same from cron, systemd and a shell. Makes the directory for dumps.

    No receiver was asked yet, so the run's id is ours: the host, and when the night began.
    """
    with contextlib.suppress(OSError):
        # Where there is no room for a directory, a script that needs it fails and says so.
        dumps.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "PATH": PATH,
        "HOME": _home(),
        "LANG": "C.UTF-8",
        "EBBTIDE_HOST": host,
        "EBBTIDE_RUN": f"{host}-{started:%Y%m%dT%H%M%SZ}",
        "EBBTIDE_DUMPS": str(dumps),
    }


def run_all(directory: Path, limit_seconds: float, environment: Mapping[str, str]) -> Iterator[ScriptResult]:
    """Run one after the other, each at most that long. One that fails holds no other one up: each dumps its own."""
    for path in find(directory):
        yield run_one(path, limit_seconds, environment)


def run_one(path: Path, limit_seconds: float, environment: Mapping[str, str]) -> ScriptResult:
    """Run a script; one whose time is up is killed with all it has started."""
    ended = procs.run((str(path),), timeout=limit_seconds, environment=environment)
    # What was said on each may begin in the middle of a line of the other one's.
    between = b"\n" if ended.err and ended.out and not ended.out.endswith(b"\n") else b""
    output = (ended.out + between + ended.err)[-KEPT_OUTPUT_BYTES:].decode("utf-8", "replace")
    if ended.exit_code in (procs.NOT_FOUND, procs.NOT_EXECUTABLE) and path.exists():
        obstacle = find_obstacle(path)
        output = f"it {obstacle[0]}: {obstacle[1]}" if obstacle else output
    seconds, required = round(ended.seconds, 1), not is_optional(path)
    return ScriptResult(path.name, ended.exit_code, seconds, output, required, ended.timed_out)


def find_remark(result: ScriptResult, limit_seconds: float) -> Remark | None:
    """What a script that failed makes of the night: what it should have left behind is missing, or is yesterday's."""
    if result.exit_code == 0:
        return None
    how = _how_it_failed(result, limit_seconds)
    if not result.required:
        return Remark(WITH_WARNINGS, f"optional script {result.name} {how}")
    return Remark(PARTIAL, f"script {result.name} {how}; so this night is no restore point")


def _how_it_failed(result: ScriptResult, limit_seconds: float) -> str:
    if result.timed_out:
        return f"was killed after {limit_seconds:.0f} s"
    said = result.output.strip().splitlines()
    why = f": {said[-1][-_QUOTED:]}" if said else ""
    return f"ended with exit code {result.exit_code}{why}"


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
