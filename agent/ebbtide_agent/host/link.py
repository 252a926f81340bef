"""The link to a far side: its name looked up at every attempt, ssh to the host key pinned under that name."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Callable, TypeVar

from ebbtide_agent import procs
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError
from ebbtide_agent.host import compression
from ebbtide_agent.moments import Clock

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 120.0
SSH_FAILED = 255
# Who does not answer is not there; a connection on which nothing comes back is given up after so many questions.
CONNECT_SECONDS = 20
ALIVE_SECONDS, ALIVE_TIMES = 15, 8
# Whatever becomes of us, nothing of ours stays longer: two pushes have less between them.
IDLE_SECONDS = 120
# Of 107 bytes, ssh's own name for a far side takes 41, and 17 more while it makes the socket.
_LONGEST_PLACE = 49

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class World:
    """What an attempt needs from outside, so that a test can hold the clock."""

    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Login:
    """Who is to be reached by ssh, as whom, with which key, and where the host keys are pinned.

    `sockets` is a directory for the sockets of connections that go on to be used; without one each command has its own.
    `elsewhere` is the address of a machine that stands in for the one of that name, and has its host key.
    `compress` is what COMPRESS says.
    """

    name: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    sockets: Path | None = None
    elsewhere: str = ""
    compress: str = compression.AUTO


@contextlib.contextmanager
def connections(place: Path) -> Iterator[Path]:
    """A directory of sockets for a block: all logins that are given it share one connection to their far side.

    A handshake is dear. The first command makes the connection; one that breaks, or another address, makes another.
    With the block all of them end, and before it those of a run that was killed.
    """
    with _short_enough(place) as directory:
        _end_all_in(directory)
        try:
            yield directory
        finally:
            _end_all_in(directory)


@contextlib.contextmanager
def _short_enough(place: Path) -> Iterator[Path]:
    """A socket's path has its limit. What a run that is killed leaves elsewhere is cleared away by nobody."""
    if len(os.fsencode(place)) > _LONGEST_PLACE:
        with tempfile.TemporaryDirectory(prefix="ebbtide-") as other:
            yield Path(other)
    else:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield place


def _end_all_in(directory: Path) -> None:
    for each in directory.iterdir():
        procs.run(("ssh", "-F", "none", "-o", f"ControlPath={each}", "-O", "exit", "whoever"))
        each.unlink(missing_ok=True)


def pause_seconds(attempt: int, chance: float) -> float:
    """Doubling, and anywhere between half and all of it: a thousand hosts must not come back in step."""
    return float(min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)) * (0.5 + chance / 2)


def look_up(login: Login, attempt: int = 0) -> str:
    """The far side's address now: a receiver is a new machine every night. Each attempt takes the next of several.

    Raises TransientError while the name has none.
    """
    name = login.elsewhere or login.name
    try:
        found = socket.getaddrinfo(name, login.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransientError(f"{name} has no address: {error}") from error
    return str(found[attempt % len(found)][4][0])


def next_key(key: Path) -> Path:
    """Where the key lies that is to follow this one; the far side may take either meanwhile."""
    return key.with_name(f"{key.name}.next")


def ssh(login: Login) -> tuple[str, ...]:
    """ssh to the far side, without the address: only our key, only the pinned host, never a question."""
    following = next_key(login.key)
    keys = (following, login.key) if following.exists() else (login.key,)
    options = (
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        f"UserKnownHostsFile={login.known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={login.name}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        f"ConnectTimeout={CONNECT_SECONDS}",
        f"ServerAliveInterval={ALIVE_SECONDS}",
        f"ServerAliveCountMax={ALIVE_TIMES}",
        "LogLevel=ERROR",
        *_sharing(login.sockets),
    )
    words = ["ssh", "-F", "none", "-T", "-l", login.user, "-p", str(login.port)]
    offered = (word for key in keys for word in ("-i", str(key)))
    return (*words, *offered, *(word for option in options for word in ("-o", option)))


def _sharing(sockets: Path | None) -> tuple[str, ...]:
    """The path has a place for what tells one far side from another."""
    if sockets is None:
        return ()
    return "ControlMaster=auto", f"ControlPath={sockets}/%C", f"ControlPersist={IDLE_SECONDS}"


def ssh_as_one_word(login: Login) -> str:
    """The same for rsync's -e, which splits at spaces and knows quotes."""
    return " ".join(map(shlex.quote, ssh(login)))


def route(login: Login, attempt: int, place: str) -> tuple[str, ...]:
    """What rsync is told to get to a place over there such as `::tree/`, the place last.

    Raises TransientError while the name has no address.
    """
    address = look_up(login, attempt)
    as_rsync_reads = f"[{address}]" if ":" in address else address
    return (*compression.words(login.compress, address), "-e", ssh_as_one_word(login), f"{as_rsync_reads}{place}")


def ask(login: Login, verb: str, body: bytes = b"", attempt: int = 0) -> bytes:
    """Say one verb to the receiver's gate and return its answer.

    Raises Refused when the gate says no, TransientError when it may be otherwise in a while, else PermanentError.
    """
    ended = procs.run((*ssh(login), look_up(login, attempt), verb), body)
    if ended.exit_code == 0:
        return ended.out
    why = f"{verb} to {login.name}: {ended.why}{warning_of_another(login, ended.err)}"
    if ended.exit_code in (SSH_FAILED, TransientError.exit_code) or ended.exit_code > 128:
        raise TransientError(why)
    raise Refused(why) if ended.exit_code == Refused.exit_code else PermanentError(why)


def warning_of_another(login: Login, said: bytes) -> str:
    """What to add when ssh found another host key than the pinned one."""
    if b"Host key verification failed" not in said:
        return ""
    # The name may still point at yesterday's address, which is somebody else's today.
    return f"; who answers is not the {login.name} of {login.known_hosts}, and nothing was sent"


def keep_asking(login: Login, verb: str, until: datetime, world: World, body: bytes = b"") -> bytes:
    """Ask until it is answered or `until` is near. Raises what `ask` raises; TransientError only when time is up."""
    return keep_trying(lambda attempt: ask(login, verb, body, attempt), until, world)


def keep_trying(once: Callable[[int], Answer], until: datetime, world: World) -> Answer:
    """Try, given the number of the attempt, until it is no TransientError any more or `until` is near."""
    attempt = 0
    while True:
        try:
            return once(attempt)
        except TransientError as error:
            wait_or_give_up(attempt, until, world, error)
            attempt += 1


def wait_or_give_up(attempt: int, until: datetime, world: World, error: AgentError) -> None:
    """Pause before the next attempt; raises the error instead when that attempt would come too late."""
    pause = pause_seconds(attempt, world.chance())
    if world.clock() + timedelta(seconds=pause) >= until:
        raise error
    world.say(f"{error}; trying again in {pause:.0f} s")
    world.sleep(pause)
