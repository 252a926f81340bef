"""Connections that a night, or a restore, shares: a handshake is dear, so the first command makes it for all others."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from ebbtide_agent import procs

# Whatever becomes of us, nothing of ours stays longer: two pushes have less between them.
IDLE_SECONDS = 120
# Of the 107 bytes of a socket's path, ssh's own name for a far side takes 41, and 17 more while it makes the socket.
_LONGEST_PLACE = 49
# Whatever else may be in a path, ssh may take it for something to put in there.
_PLAIN = re.compile(r"[A-Za-z0-9_./+,@:=-]*")
# Where the state directory is too long or too odd, and TMPDIR may be as well, this is short and plain.
_ELSEWHERE = Path("/tmp")
# In the place itself, and leads to the one elsewhere: that has a name which nobody can foresee, and the next run finds.
_LEADS_THERE = "elsewhere"
_ROOM = "room"


@contextlib.contextmanager
def connections(place: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Path | None]:
    """A directory of sockets for a block: all logins that are given it share one connection to their far side.

    One that breaks, or another address, makes another. With the block all of them end, and before it those of a run
    that was killed. Where there is no room for a socket there is none, and each login makes a connection of its own.
    """
    try:
        sockets = _made(place)
    except OSError as error:
        say(f"connections are not shared, each command makes its own: {error}")
        sockets = None
    try:
        yield sockets
    finally:
        clear(place)


def options(sockets: Path | None) -> tuple[str, ...]:
    """What ssh is told. The path has a place for what tells one far side from another."""
    if sockets is None:
        return ()
    return "ControlMaster=auto", f"ControlPath={sockets}/%C", f"ControlPersist={IDLE_SECONDS}"


def _made(place: Path) -> Path:
    """Raises OSError also when there is no room for a socket: ssh would end, and not do without."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear(place)
    if not _suits_ssh(place):
        return _made_elsewhere(place)
    room = place / _ROOM
    room.touch()
    room.unlink()
    return place


def _suits_ssh(place: Path) -> bool:
    return len(os.fsencode(place)) <= _LONGEST_PLACE and bool(_PLAIN.fullmatch(str(place)))


def _made_elsewhere(place: Path) -> Path:
    """Known before it is there: a run may be killed at any moment."""
    other = _ELSEWHERE / f"ebbtide-{secrets.token_hex(8)}"
    (place / _LEADS_THERE).symlink_to(other)
    other.mkdir(mode=0o700)
    return other


def clear(place: Path) -> None:
    """End whatever connections are left there. No such place is none."""
    for each in place.iterdir() if place.is_dir() else ():
        if each.name == _LEADS_THERE:
            _remove(each.readlink())
        else:
            procs.run(("ssh", "-F", "none", "-o", f"ControlPath={each}", "-O", "exit", "whoever"))
        each.unlink(missing_ok=True)


def _remove(other: Path) -> None:
    """Since a restart, which empties it, the name may be anybody's."""
    with contextlib.suppress(FileNotFoundError):
        found = other.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            clear(other)
            other.rmdir()
