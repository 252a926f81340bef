"""The way to the receiver: its name looked up at every attempt, ssh to the host key pinned under that name."""

from __future__ import annotations

import random
import shlex
import socket
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Callable

from ebbtide_agent import procs
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError
from ebbtide_agent.host.config import Config
from ebbtide_agent.moments import Clock

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 120.0
SSH_FAILED = 255


@dataclass(frozen=True)
class World:
    """What an attempt needs from outside, so that a test can hold the clock."""

    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    say: Callable[[str], None] = lambda _: None


def pause_seconds(attempt: int, chance: float) -> float:
    """Doubling, and anywhere between half and all of it: a thousand hosts must not come back in step."""
    return float(min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)) * (0.5 + chance / 2)


def look_up(config: Config, attempt: int = 0) -> str:
    """The receiver's address now: it is a new machine every night. Each attempt takes the next of several.

    Raises TransientError while the name has none.
    """
    try:
        found = socket.getaddrinfo(config.receiver, config.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransientError(f"{config.receiver} has no address: {error}") from error
    return str(found[attempt % len(found)][4][0])


def next_key(key: Path) -> Path:
    """Where the key lies that is to follow this one; the receiver may take either meanwhile."""
    return key.with_name(f"{key.name}.next")


def ssh(config: Config) -> tuple[str, ...]:
    """ssh to the receiver, without the address: only our key, only the pinned host, never a question."""
    following = next_key(config.key)
    keys = (following, config.key) if following.exists() else (config.key,)
    options = (
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        f"UserKnownHostsFile={config.known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={config.receiver}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=8",
        "LogLevel=ERROR",
    )
    words = ["ssh", "-F", "none", "-T", "-l", config.user, "-p", str(config.port)]
    offered = (word for key in keys for word in ("-i", str(key)))
    return (*words, *offered, *(word for option in options for word in ("-o", option)))


def ssh_as_one_word(config: Config) -> str:
    """The same for rsync's -e, which splits at spaces and knows quotes."""
    return " ".join(map(shlex.quote, ssh(config)))


def ask(config: Config, verb: str, body: bytes = b"", attempt: int = 0) -> bytes:
    """Say one verb to the receiver's gate and return its answer.

    Raises Refused when the gate says no, TransientError when it may be otherwise in a while, else PermanentError.
    """
    ended = procs.run((*ssh(config), look_up(config, attempt), verb), body)
    if ended.exit_code == 0:
        return ended.out
    why = f"{verb} to {config.receiver}: {ended.why}"
    if b"Host key verification failed" in ended.err:
        # The name may still point at yesterday's address, which is somebody else's today.
        why += f"; who answers is not the {config.receiver} of {config.known_hosts}, and nothing was sent"
    if ended.exit_code in (SSH_FAILED, TransientError.exit_code) or ended.exit_code > 128:
        raise TransientError(why)
    raise Refused(why) if ended.exit_code == Refused.exit_code else PermanentError(why)


def keep_asking(config: Config, verb: str, until: datetime, world: World, body: bytes = b"") -> bytes:
    """Ask until it is answered or `until` is near. Raises what `ask` raises; TransientError only when time is up."""
    attempt = 0
    while True:
        try:
            return ask(config, verb, body, attempt)
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
