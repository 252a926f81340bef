"""One session at a time for each host, and how it went: written beyond the host's reach."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO

from ebbtide_agent import moments
from ebbtide_agent.errors import TransientError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import GatePaths

# Each is a process of some megabytes, and a night takes one after the other: what has just ended may still be there,
# and somebody at the host may look on meanwhile.
MOST_SESSIONS = 4
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Session:
    """The last rsync as the receiver saw it, and the seconds of all. No exit code: it never came to its end.

    `kills` is how many processes of the host the kernel had ended for want of memory when it began.
    """

    exit_code: int | None
    seconds: float
    kills: int = 0


@contextlib.contextmanager
def leased(paths: GatePaths, host_id: str) -> Iterator[None]:
    """Hold this host's lease, with our process id in it. Raises TransientError while another session holds it."""
    with paths.lease(host_id).open("a+") as file:
        if not _is_had(file):
            raise TransientError(f"another session of host {host_id} is under way")
        _write_holder(file, os.getpid())
        try:
            yield
        finally:
            _write_holder(file, None)


@contextlib.contextmanager
def seated(paths: GatePaths, host_id: str) -> Iterator[None]:
    """Be one of the few sessions that a host may have at once. Raises TransientError when it has as many."""
    with contextlib.ExitStack() as until_its_end:
        seats = (paths.seat(host_id, number) for number in range(MOST_SESSIONS))
        if not any(_is_had(until_its_end.enter_context(seat.open("a"))) for seat in seats):
            raise TransientError(f"host {host_id} has {MOST_SESSIONS} sessions already, more it may not have at once")
        yield


def find_holder(paths: GatePaths, host_id: str) -> int | None:
    """The process that holds a host's lease now, or None."""
    try:
        with paths.lease(host_id).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read()
                return int(text) if text.strip() else None
    except FileNotFoundError:
        pass  # this host has not been here
    return None


def end_sessions(paths: GatePaths, hosts: Sequence[str], patience: float) -> None:
    """Ask every session to stop, and make it when our patience ends: a push ends at once, a record is finished.

    Again and again: through a connection that was there before another one may begin meanwhile.
    """
    deadline = time.monotonic() + patience
    while _signal_sessions(paths, hosts, signal.SIGTERM) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    _signal_sessions(paths, hosts, signal.SIGKILL)


def write_session(paths: GatePaths, host_id: str, session: Session) -> None:
    noted = {**asdict(session), "boot": moments.up().start}
    write_whole(paths.session(host_id), json.dumps(noted).encode())


def find_session(paths: GatePaths, host_id: str) -> Session | None:
    """The last push of this run, or None when there was none on this machine since it was started.

    What a peer took before, it may have lost.
    """
    try:
        noted = json.loads(paths.session(host_id).read_bytes())
    except FileNotFoundError:
        return None
    boot = noted.pop("boot", None)
    return Session(**noted) if boot == moments.up().start else None


def _is_had(file: IO[str]) -> bool:
    """Whether its lock is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(paths: GatePaths, hosts: Sequence[str]) -> list[int]:
    found = (find_holder(paths, host) for host in hosts)
    return [process_id for process_id in found if process_id is not None]


def _signal_sessions(paths: GatePaths, hosts: Sequence[str], number: signal.Signals) -> bool:
    """Whether there were any."""
    holders = _holders(paths, hosts)
    for process_id in holders:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)
    return bool(holders)


def _write_holder(file: IO[str], process_id: int | None) -> None:
    file.truncate(0)
    file.write("" if process_id is None else str(process_id))
    file.flush()
