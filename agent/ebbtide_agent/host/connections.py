"""Connections that a night, or a restore, shares: a handshake is dear, so the first command makes it for all others."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import procs

# Whatever becomes of us, nothing of ours stays longer: two pushes have less between them.
IDLE_SECONDS = 120
# Of the 107 bytes of a socket's path, ssh's own name for a far side takes 41, and 17 more while it makes the socket.
_LONGEST_PLACE = 49
# Whatever else may be in a path, ssh may take it for something to put in there.
_PLAIN = re.compile(r"[A-Za-z0-9_./+,@:=-]*")
# However long and odd TMPDIR is, this is short and plain.
_ELSEWHERE = "/tmp"


@contextlib.contextmanager
def connections(place: Path) -> Iterator[Path]:
    """A directory of sockets for a block: all logins that are given it share one connection to their far side.

    One that breaks, or another address, makes another. With the block all of them end, and before it those of a run
    that was killed.
    """
    with _where_ssh_can_be(place) as directory:
        _end_all_in(directory)
        try:
            yield directory
        finally:
            _end_all_in(directory)


def options(sockets: Path | None) -> tuple[str, ...]:
    """What ssh is told. The path has a place for what tells one far side from another."""
    if sockets is None:
        return ()
    return "ControlMaster=auto", f"ControlPath={sockets}/%C", f"ControlPersist={IDLE_SECONDS}"


@contextlib.contextmanager
def _where_ssh_can_be(place: Path) -> Iterator[Path]:
    """The place, or one that ssh takes. What a run that is killed leaves there is cleared away by nobody."""
    if len(os.fsencode(place)) <= _LONGEST_PLACE and _PLAIN.fullmatch(str(place)):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield place
    else:
        with tempfile.TemporaryDirectory(prefix="ebbtide-", dir=_ELSEWHERE) as other:
            yield Path(other)


def _end_all_in(directory: Path) -> None:
    for each in directory.iterdir():
        procs.run(("ssh", "-F", "none", "-o", f"ControlPath={each}", "-O", "exit", "whoever"))
        each.unlink(missing_ok=True)
