"""A machine of ours with a gate: what it is made of, and how it waits until its time is up or it is told to stop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Callable

from ebbtide_agent import moments, procs
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.instance import Instance
from ebbtide_agent.moments import Clock
from ebbtide_agent.orders import Order
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import sshd
from ebbtide_agent.receiver.sshd import Door
from ebbtide_agent.shapes import encode

LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Station:
    """One machine of one run or one recovery."""

    instance: Instance
    paths: MachinePaths
    cloud: Cloud
    now: Clock
    door: Door


def wait(
    station: Station,
    listener: procs.Child,
    stop: Order,
    until: datetime,
    find_end: Callable[[], str | None],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Until `find_end` says why it is over, time is up, or the order to stop. Raises PermanentError without sshd."""
    while not stop.wait(LOOK_SECONDS):
        meanwhile()
        if why := find_end():
            return say(why)
        if station.now() >= until:
            return say("the deadline has come")
        if listener.poll() is not None:
            raise PermanentError(f"sshd ended with exit code {listener.returncode}: see {sshd.log_of(station.paths)}")
        sshd.shorten_log(station.paths)
    return say("told to stop")


def put_word(what: str, instance: Instance, cloud: Cloud, at: datetime, **more: object) -> None:
    """Tell the control plane what has become of this attempt at a run. What was said of it first stays."""
    about = {"run": instance.id, "attempt": instance.attempt, "at": moments.write(at)}
    cloud.put_once(word_key(what, instance), encode({**about, **more}))


def word_key(what: str, instance: Instance) -> str:
    """Nobody can name it before the run is open, who would say the word first."""
    below = f"reports/{instance.id}/{instance.nonce}/words" if instance.nonce else f"runs/{instance.id}"
    return f"{below}/{what}/{instance.attempt}.json"


def say(line: str) -> None:
    print(f"ebbtide: {line}", flush=True)
