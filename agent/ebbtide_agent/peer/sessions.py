"""Who is at work on a peer now: the process that serves, the guests that push or read, and who changes which."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from ebbtide_agent.errors import Refused
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.receiver.lease import end_sessions, find_holder

PATIENCE_SECONDS = 60.0


def reader_name(guest: Guest, process_id: int) -> str:
    """What the lease of one who reads is called: several may, and nobody is in another's way."""
    return f"{guest.id}.{process_id}"


def end_readers(paths: PeerPaths, guest: Guest) -> None:
    """Whoever reads what is kept of this guest reads no more."""
    end_sessions(paths, [path.stem for path in paths.sessions.glob(f"{guest.id}.*.lock")], PATIENCE_SECONDS)


def forget_readers(paths: PeerPaths) -> None:
    """What is left of those that were killed. A process that is there may be about to hold its lease."""
    for path in paths.sessions.glob("????.*.*"):
        process_id = path.name.split(".")[1]
        if process_id.isdecimal() and not _is_there(int(process_id)):
            path.unlink(missing_ok=True)


def end_guest(paths: PeerPaths, guest: Guest) -> None:
    """Whoever has its key pushes and reads no more. The snapshot that we may be making of it goes on."""
    end_readers(paths, guest)
    if find_holder(paths, guest.id) != find_server(paths):
        end_sessions(paths, [guest.id], PATIENCE_SECONDS)


@contextlib.contextmanager
def serving_alone(paths: PeerPaths) -> Iterator[None]:
    """Be the process that serves. Raises Refused when there is one."""
    with paths.serving.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another process serves {paths.store} already") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def changing_alone(paths: PeerPaths) -> Iterator[None]:
    """Be the only one that changes the register, once whoever does so now has done it."""
    for place in (paths.state, paths.run):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with paths.changing.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_server(paths: PeerPaths) -> int | None:
    """The process that serves now, or None."""
    try:
        with paths.serving.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except FileNotFoundError:
        pass  # none ever has
    return None


def _is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
