"""Whose a state directory is: one sandbox holds it at a time, until its process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from chalicelib.errors import ConfigError, Refused

ENDPOINT = "endpoint"
STOP = "stop"


@contextmanager
def claimed(state: Path) -> Iterator[None]:
    """Hold a state directory, free of what an earlier holder left to say where it was.

    Raises Refused when another sandbox holds it, ConfigError when it is another user's.
    """
    state.mkdir(parents=True, exist_ok=True)
    with _open_lock(state) as lock:
        if not _lock(lock):
            raise Refused(
                f"another sandbox is running on {state}: `ebbtide sandbox down` ends it; or choose another with --state"
            )
        state.chmod(0o711)  # hosts' own users pass through to their trees; nobody else has anything to read here
        for note in (ENDPOINT, STOP):
            (state / note).unlink(missing_ok=True)
        yield


def is_claimed(state: Path) -> bool:
    """Whether a sandbox is running on this directory."""
    if not (state / "lock").exists():
        return False
    with _open_lock(state) as lock:
        return not _lock(lock)


def _open_lock(state: Path) -> IO[bytes]:
    try:
        return (state / "lock").open("ab")
    except OSError as error:
        raise ConfigError((f"{state} cannot be used: {error.strerror}; name another place with --state",)) from error


def _lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
