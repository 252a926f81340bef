"""Whom this machine takes backups from, and where it keeps them: `peer.json`, which `peer add` and its like write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.moments import Up
from ebbtide_agent.peer.defaults import ALARM_AFTER_DAYS
from ebbtide_agent.receiver.brief import BriefedHost
from ebbtide_agent.shapes import decode, encode, field

WHAT = "peer.json"


@dataclass(frozen=True)
class Guest:
    """A host that is backed up here. `uid` is what its tree belongs to. It may read back what is kept
    of it until `open_until`, as people are told; what counts is `closes`, which a clock that is set does not move.

    `alarm_after` so many days without a complete night a person should look.
    """

    name: str
    id: str
    uid: int
    keys: tuple[str, ...]
    keep: int
    open_until: datetime | None = None
    alarm_after: int = ALARM_AFTER_DAYS
    closes: Up | None = None

    def reads_until(self, now: Up) -> datetime | None:
        """Until when it may read back what is kept of it; None when it may not."""
        return self.open_until if self.seconds_open(now) > 0 else None

    def seconds_open(self, now: Up) -> float:
        """How long it may still read. What was open when the machine went down is not when it is up again."""
        return max(0.0, self.closes.seconds - now.seconds) if self.closes and self.closes.start == now.start else 0.0

    def as_briefed(self, nonce: str = "") -> BriefedHost:
        return BriefedHost(self.name, self.id, self.uid, self.keys, nonce)


@dataclass(frozen=True)
class Register:
    """`mark` is what the store's own file says, so that no other disk is taken for it."""

    store: Path
    port: int
    mark: str
    guests: tuple[Guest, ...] = ()

    def guest(self, host_id: str) -> Guest:
        """Raises Refused when this machine takes no such host."""
        for guest in self.guests:
            if guest.id == host_id:
                return guest
        raise Refused(f"this machine takes no backup of host {host_id}")

    def find(self, name: str) -> Guest | None:
        return next((guest for guest in self.guests if guest.name == name), None)

    def with_guest(self, guest: Guest) -> Register:
        return replace(self, guests=(*self.without(guest.name).guests, guest))

    def without(self, name: str) -> Register:
        return replace(self, guests=tuple(guest for guest in self.guests if guest.name != name))


def find_register(path: Path) -> Register | None:
    """None on a machine that takes nobody's. Raises PermanentError when it cannot be read."""
    try:
        values = decode(str(path), path.read_bytes())
    except FileNotFoundError:
        return None
    return Register(
        store=Path(field(WHAT, values, "store", str)),
        port=field(WHAT, values, "port", int),
        mark=field(WHAT, values, "mark", str),
        guests=tuple(_guest(guest) for guest in field(WHAT, values, "guests", list)),
    )


def get_register(path: Path) -> Register:
    register = find_register(path)
    if register is None:
        raise PermanentError(f"{path} does not exist: this machine takes nobody's backups; see ebbtide-agent peer add")
    return register


def encode_register(register: Register) -> bytes:
    guests = [as_object(guest) for guest in sorted(register.guests, key=lambda guest: guest.name)]
    return encode({"store": str(register.store), "port": register.port, "mark": register.mark, "guests": guests})


def as_object(guest: Guest) -> Mapping[str, Any]:
    until = None if guest.open_until is None else moments.write(guest.open_until)
    closes = None if guest.closes is None else vars(guest.closes)
    return {**vars(guest), "keys": list(guest.keys), "open_until": until, "closes": closes}


def _guest(values: Mapping[str, Any]) -> Guest:
    until = values.get("open_until")
    return Guest(
        name=field(WHAT, values, "name", str),
        id=field(WHAT, values, "id", str),
        uid=field(WHAT, values, "uid", int),
        keys=tuple(field(WHAT, values, "keys", list)),
        keep=field(WHAT, values, "keep", int),
        open_until=None if until is None else moments.read(until),
        alarm_after=int(values.get("alarm_after", ALARM_AFTER_DAYS)),
        # An earlier agent wrote down a time alone, which counts for nothing.
        closes=None if values.get("closes") is None else _up(values["closes"]),
    )


def _up(values: Mapping[str, Any]) -> Up:
    return Up(field(WHAT, values, "start", str), field(WHAT, values, "seconds", (int, float)))
