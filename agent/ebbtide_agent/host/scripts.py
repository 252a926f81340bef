"""The operator's scripts before a backup: every executable [0-9][0-9]* of /etc/backupscripts, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.report import ScriptResult

KEPT_OUTPUT_BYTES = 4096


def find(directory: Path) -> list[Path]:
    """The executables in the order of their names; no directory, no scripts."""
    return sorted(path for path in directory.glob("[0-9][0-9]*") if path.is_file() and os.access(path, os.X_OK))


def run_all(directory: Path, limit_seconds: float) -> Iterator[ScriptResult]:
    """Run one after the other, each at most that long; the first that fails is the last: a dump that
    failed must not replace the good one of yesterday."""
    for path in find(directory):
        result = run_one(path, limit_seconds)
        yield result
        if result.exit_code != 0:
            return


def run_one(path: Path, limit_seconds: float) -> ScriptResult:
    """Run a script; exit code 124 means that its time was up and that it was killed with all it had started."""
    ended = procs.run((str(path),), timeout=limit_seconds)
    output = (ended.out + ended.err)[-KEPT_OUTPUT_BYTES:].decode("utf-8", "replace")
    return ScriptResult(path.name, ended.exit_code, round(ended.seconds, 1), output)


def problem(result: ScriptResult, limit_seconds: float) -> str | None:
    """What the report says of a script, or None when all went well."""
    if result.exit_code == 0:
        return None
    if result.exit_code == procs.TIMED_OUT:
        return f"script {result.name} was killed after {limit_seconds:.0f} s; nothing was pushed"
    return f"script {result.name} ended with exit code {result.exit_code}; nothing was pushed"
