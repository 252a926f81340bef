"""Small files written whole or not at all; and a directory for one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_LOST_AND_FOUND = "lost+found"


def write_whole(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new, never a piece.

    Raises OSError, with nothing left of it, where it cannot be written.
    """
    making = _making(path)
    making.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            making.unlink()
        # A disk that is full is told without the file that found it so.
        raise OSError(error.errno, error.strerror, str(error.filename or path)) from error


def is_blank(file_system: Path, first: Path) -> bool:
    """Whether it is as it was made, but for what a crash may have left of `first`, which is written before all else."""
    ours = (_LOST_AND_FOUND, _making(first).name)
    return all(entry.name in ours for entry in file_system.iterdir())


def _making(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f".{path.name}.new")


def sync_directory(directory: Path) -> None:
    """Have its names outlast a crash."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: Path, how: int = fcntl.LOCK_EX, flags: int = 0) -> Iterator[None]:
    """Hold a directory's lock, which the kernel lets go of whatever ends us. Raises OSError when it cannot be had.

    `how` is as for flock, `flags` are more of those that the directory is opened with.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | flags)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
