"""The mark of a run under way: whoever finds one knows that the run before did not come to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.outcome import Remark
from ebbtide_agent.report import WITH_WARNINGS


@contextlib.contextmanager
def marked(path: Path, started: datetime) -> Iterator[tuple[Remark, ...]]:
    """Mark a run while it goes on, and say what is to be said of the one before. To be entered with the lock held.

    A run that ends by itself takes its mark away; one that fails before it could report leaves what it found, so that
    it is said another night. Signals are no errors: their mark stays.
    """
    found = path.read_bytes() if path.exists() else None
    # A full disk is no reason to have no backup.
    with contextlib.suppress(OSError):
        write_whole(path, moments.write(started).encode())
    try:
        yield () if found is None else (_remark(found),)
    except Exception:
        _leave(path, found)
        raise
    _leave(path, None)


def find_mark(path: Path) -> str | None:
    """When the run began that goes on now, or that was the last one and did not come to its end."""
    try:
        return path.read_bytes().decode("ascii", "replace")[:20]
    except FileNotFoundError:
        return None


def note_begun(lock: Path, started: datetime) -> None:
    """Let the time of the lock that is held say when its run began: that takes no room on a full disk."""
    seconds = int(started.timestamp())
    os.utime(lock, (seconds, seconds))


def find_begun(lock: Path) -> datetime | None:
    """When the last run began, however it went; None before the first one."""
    try:
        return datetime.fromtimestamp(int(lock.stat().st_mtime), timezone.utc)
    except FileNotFoundError:
        return None


def _leave(path: Path, found: bytes | None) -> None:
    with contextlib.suppress(OSError):
        if found is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, found)


def _remark(found: bytes) -> Remark:
    when = found.decode("ascii", "replace")[:20]
    what = "did not come to its end: it was stopped or killed, or the machine went down"
    return Remark(WITH_WARNINGS, f"the run of {when or 'a night before'} {what}")
