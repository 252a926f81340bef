"""One at a time: a night of this host, or whatever else must not meet one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from ebbtide_agent.errors import PermanentError, Refused

# Whoever may open it may hold it, and so keep every night from beginning.
_OURS_ALONE = 0o600


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock for a block; the kernel lets go of it whatever ends us.

    Raises Refused while another one holds it, PermanentError where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    is_new = _is_made(path)
    with path.open("ab") as file:
        _lock(file, path, fcntl.LOCK_EX)
        _close_to_others(file)
        if is_new:
            # Its time says when the last night began (`mark.note_begun`): none has. Who only made it does not say so.
            os.utime(path, (0, 0))
        yield


def try_lock(path: Path) -> None:
    """Find whether the lock could be had now, and leave nothing behind. Raises as `locked` does.

    For a moment nobody else can have it, but who tries as well. Where there is no such file yet, one without a name is
    tried in its place.
    """
    with path.open("rb+") if path.exists() else TemporaryFile(dir=path.parent) as file:
        _lock(file, path, fcntl.LOCK_SH)


def _lock(file: IO[bytes], path: Path, how: int) -> None:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(f"another backup of this host is under way (it holds {path})") from None
    except OSError as error:
        why = f"{path} cannot be locked ({error.strerror}), and without that two backups at once could mix"
        raise PermanentError(f"{why}: mount its file system with locks, or choose another TARGET") from error


def _close_to_others(file: IO[bytes]) -> None:
    """Of an earlier agent everybody may open it; not every file system has modes."""
    with contextlib.suppress(OSError):
        os.fchmod(file.fileno(), _OURS_ALONE)


def _is_made(path: Path) -> bool:
    """Whether we made it just now; of several that begin at once one does."""
    try:
        path.touch(_OURS_ALONE, exist_ok=False)
    except FileExistsError:
        return False
    return True
