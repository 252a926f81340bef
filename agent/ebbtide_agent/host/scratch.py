"""A directory of our own while a command goes on; what one that was killed has left there, the next one clears away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.files import locked
from ebbtide_agent.host import connections
from ebbtide_agent.paths import HostPaths

# Where in it connections are that are shared.
SOCKETS = "sockets"


@contextlib.contextmanager
def scratch(paths: HostPaths) -> Iterator[Path]:
    """An empty directory for a block.

    Where the agent's state is not there, not ours or full, it is a temporary one elsewhere.
    """
    with contextlib.ExitStack() as until_its_end:
        try:
            place = until_its_end.enter_context(_made(paths.scratch))
        except OSError:
            place = Path(until_its_end.enter_context(tempfile.TemporaryDirectory(prefix="ebbtide-")))
        yield place


def clear(place: Path) -> None:
    """Remove what commands that were killed have left. What cannot be removed is in nobody's way."""
    with contextlib.suppress(OSError), locked(place, flags=os.O_NOFOLLOW):
        _clear(place)


@contextlib.contextmanager
def _made(place: Path) -> Iterator[Path]:
    place.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as until_its_end:
        # Held as a whole, so that nobody takes one that was made just now for one that was left.
        with locked(place, flags=os.O_NOFOLLOW):
            _clear(place)
            ours = Path(tempfile.mkdtemp(dir=place))
            until_its_end.enter_context(locked(ours, flags=os.O_NOFOLLOW))
            until_its_end.callback(_remove, ours)
        yield ours


def _clear(place: Path) -> None:
    for left in place.iterdir():
        with contextlib.suppress(OSError), locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_NOFOLLOW):
            _remove(left)


def _remove(left: Path) -> None:
    connections.clear(left / SOCKETS)
    shutil.rmtree(left, ignore_errors=True)
