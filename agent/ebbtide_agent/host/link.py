"""The link to a far side: its name looked up at every attempt, ssh to the host key pinned under that name."""

from __future__ import annotations

import random
import shlex
import shutil
import socket
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Callable, TypeVar

from ebbtide_agent import keys, moments, procs
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError, Unseen
from ebbtide_agent.host import ciphers, compression, connections, timekeeping
from ebbtide_agent.host.login import Login
from ebbtide_agent.host.ssh_files import Problem, find_lack, find_obstacle
from ebbtide_agent.moments import Clock

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 120.0
SSH_FAILED = 255
# So ssh says it also of a host key that it cannot compare with any.
_NOT_VERIFIED = b"Host key verification failed"
_NOT_LET_IN = b"Permission denied"
# Who does not answer is not there; a connection on which nothing comes back is given up after so many questions.
CONNECT_SECONDS = 20
ALIVE_SECONDS, ALIVE_TIMES = 15, 8

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class World:
    """What an attempt needs from outside, so that a test can hold the clock.

    `steady` is a clock that nobody sets, if there is one.
    """

    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    say: Callable[[str], None] = lambda _: None
    clock_is_kept: Callable[[], bool] = timekeeping.is_kept
    steady: Clock | None = None

    @classmethod
    def around(cls, clock: Clock, say: Callable[[str], None] = lambda _: None) -> World:
        """The real one."""
        return cls(clock, say=say, steady=moments.steady(clock))

    def waiting(self) -> datetime:
        """The time for whoever waits: until when he does so is said by this, and told by this."""
        return (self.steady or self.clock)()


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
        raise TransientError(f"{name} has no address: {error.strerror}") from error
    return str(found[attempt % len(found)][4][0])


def ssh(login: Login) -> tuple[str, ...]:
    """ssh to the far side, without the address: only our key, only the pinned host, never a question."""
    options = (
        "IdentitiesOnly=yes",
        *(f'IdentityFile="{key}"' for key in _offered(login)),
        "BatchMode=yes",
        f'UserKnownHostsFile="{login.known_hosts}"',
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={login.name}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        f"ConnectTimeout={CONNECT_SECONDS}",
        f"ServerAliveInterval={ALIVE_SECONDS}",
        f"ServerAliveCountMax={ALIVE_TIMES}",
        "LogLevel=ERROR",
        *ciphers.options(),
        *connections.options(login.sockets),
    )
    words = ("ssh", "-F", "none", "-T", "-l", login.user, "-p", str(login.port))
    return (*words, *(word for option in options for word in ("-o", option)))


def _offered(login: Login) -> tuple[Path, ...]:
    following = keys.next_of(login.key)
    return (following, login.key) if following.exists() else (login.key,)


def check_own_files(login: Login, said: bytes) -> None:
    """For when ssh has failed, and said this. Raises PermanentError if that is this host's own fault, which waiting
    does not mend: none of its keys can be used, or it knows no host key under that name.

    Whoever did not answer has refused no key; and what nobody can look at may be well.
    """
    if shutil.which("ssh-keygen") is None:
        return
    problems = _own_problems(login, said)
    if all(problems):
        raise PermanentError("; ".join(f"{what}: {to_do}" for what, to_do in filter(None, problems)))


def _own_problems(login: Login, said: bytes) -> list[Problem | None]:
    if _NOT_VERIFIED in said:
        return [find_lack(login.known_hosts, login.name, login.port)]
    if _NOT_LET_IN not in said or _an_agent_has_keys():
        return [None]
    return [find_obstacle(key) for key in _offered(login)]


def _an_agent_has_keys() -> bool:
    """ssh's own agent: a key that it holds can be used whatever its file looks like."""
    return procs.run(("ssh-add", "-L")).exit_code == 0


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

    Raises Refused when the gate says no, Unseen when it has seen no push, TransientError when it may be otherwise in a
    while, else PermanentError.
    """
    ended = procs.run((*ssh(login), look_up(login, attempt), verb), body)
    if ended.exit_code == 0:
        return ended.out
    if ended.exit_code == SSH_FAILED:
        check_own_files(login, ended.err)
    why = f"{verb} to {login.elsewhere or login.name}: {ended.why}{warning_of_another(login, ended.err)}"
    if ended.exit_code in (SSH_FAILED, TransientError.exit_code) or ended.exit_code > 128:
        raise TransientError(why)
    said_no = {kind.exit_code: kind for kind in (Refused, Unseen)}
    raise said_no.get(ended.exit_code, PermanentError)(why)


def warning_of_another(login: Login, said: bytes) -> str:
    """What to add when ssh found another host key than the pinned one."""
    if _NOT_VERIFIED not in said:
        return ""
    # The name may still point at yesterday's address, which is somebody else's today.
    return f"; who answers is not the {login.name} of {login.known_hosts}, and nothing was sent"


def keep_asking(login: Login, verb: str, until: datetime, world: World, body: bytes = b"") -> bytes:
    """Ask until it is answered or `until` is near, by `World.waiting`.

    Raises what `ask` raises; TransientError only when time is up.
    """
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
    if world.waiting() + timedelta(seconds=pause) >= until:
        raise error
    world.say(f"{error}; trying again in {pause:.0f} s")
    world.sleep(pause)
