"""The mark of a run under way: whoever finds one knows that the run before did not come to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.due import MOST_ANEW
from ebbtide_agent.host.outcome import Remark
from ebbtide_agent.report import WITH_WARNINGS

# After the runs that did not come to their end, once it was said that the night is left.
_LEFT = "left"


@contextlib.contextmanager
def marked(path: Path, started: datetime) -> Iterator[tuple[Remark, ...]]:
    """Mark a run while it goes on, and say what is to be said of the one before. To be entered with the lock held.

    A run that ends by itself takes its mark away; one that fails before it could report leaves what it found, so that
    it is said another night. Signals are no errors: their mark stays.
    """
    found = path.read_bytes() if path.exists() else None
    before = find_unended(path)
    # A full disk is no reason to have no backup.
    with contextlib.suppress(OSError):
        write_whole(path, _encoded((*before[-MOST_ANEW:], started)))
    try:
        yield () if found is None else (_remark(before),)
    except Exception:
        _leave(path, found)
        raise
    _leave(path, None)


def find_mark(path: Path) -> str | None:
    """When the run began that goes on now, or that was the last one and did not come to its end."""
    return _last(find_unended(path)) if path.exists() else None


def find_unended(path: Path) -> tuple[datetime, ...]:
    """When each of the last runs began, if none of them came to its end, or not yet; the last one last."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().decode("ascii", "replace").split():
            # Whatever else is there was cut off, or is no moment.
            with contextlib.suppress(ValueError):
                found.append(moments.read(line))
    return tuple(found)


def note_left(path: Path) -> bool:
    """Note that it is said now that the night of these runs is left as it is. False when it has been said."""
    found = path.read_bytes()
    if found.split()[-1:] == [_LEFT.encode()]:
        return False
    # Of a full disk it is said each hour, rather than never.
    with contextlib.suppress(OSError):
        write_whole(path, found + f"\n{_LEFT}".encode())
    return True


def note_begun(lock: Path, started: datetime) -> None:
    """Let the time of the lock that is held say when its run began: that takes no room on a full disk."""
    seconds = int(started.timestamp())
    os.utime(lock, (seconds, seconds))


def find_begun(lock: Path) -> datetime | None:
    """When the last run began, however it went; None before the first one."""
    try:
        seconds = int(lock.stat().st_mtime)
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None


def _leave(path: Path, found: bytes | None) -> None:
    with contextlib.suppress(OSError):
        if found is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, found)


def _encoded(begun: Sequence[datetime]) -> bytes:
    return "\n".join(map(moments.write, begun)).encode()


def _last(begun: Sequence[datetime]) -> str:
    return moments.write(begun[-1]) if begun else "a night before"


def _remark(before: Sequence[datetime]) -> Remark:
    what = "did not come to its end: it was stopped or killed, or the machine went down"
    return Remark(WITH_WARNINGS, f"the run of {_last(before)} {what}")
