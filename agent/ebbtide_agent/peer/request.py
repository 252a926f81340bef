"""What the operator of a peer asks for, as it would stand in `peer.json`, and all that keeps it from being so."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent.errors import ConfigError, Refused
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer import defaults
from ebbtide_agent.peer.ids import choose_uid
from ebbtide_agent.peer.places import closed_above
from ebbtide_agent.peer.register import Guest, Register, find_register
from ebbtide_agent.peer.store import check_store, find_mark
from ebbtide_agent.receiver.brief import HOST_ID
from ebbtide_agent.shapes import decode
from ebbtide_agent.site import Site, check_program

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True)
class GuestRequest:
    """What `peer add` was told of a host. None: as it is already, or as it is by default."""

    name: str
    id: str
    keys: tuple[str, ...] = ()
    store: Path | None = None
    keep: int | None = None
    alarm_after: int | None = None
    port: int | None = None


@dataclass(frozen=True)
class Machine:
    """This machine: how the agent is installed, who we are, what starts the gate, and which user ids are somebody's."""

    site: Site
    uid: int
    gate: Sequence[str]
    taken: tuple[range, ...] = ()

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def register_for(request: GuestRequest, machine: Machine) -> Register:
    """As it is, or a new one for the store that is named. A store that a lost register belonged to is known again."""
    places = machine.site.paths
    register = find_register(places.peer)
    if register is None:
        if request.store is None:
            raise ConfigError(("the first `peer add` needs --at: the directory that holds the backups",))
        found = find_mark(PeerPaths(places.state, request.store), places.fstab)
        return Register(request.store, request.port or defaults.PORT, found or f"peer-{secrets.token_hex(4)}")
    if request.store not in (None, register.store):
        raise ConfigError((f"{places.peer} has its store at {register.store}, and there is one: leave --at out",))
    if request.port not in (None, register.port):
        raise ConfigError((f"{places.peer} has the port {register.port}, as hosts have in TARGET: leave --port out",))
    check_store(PeerPaths(places.state, register.store), register.mark, places.fstab)
    return register


def guest_for(request: GuestRequest, register: Register, machine: Machine) -> Guest:
    """As it is already but for what is wished; a new one with a user id that is nobody's."""
    earlier = register.find(request.name)
    if earlier is None:
        is_an_id = HOST_ID.fullmatch(request.id) is not None
        uid = choose_uid(request.id, machine.taken) if machine.is_root and is_an_id else machine.uid
        earlier = Guest(request.name, request.id, uid, (), defaults.KEEP_DAYS)
    return replace(
        earlier,
        keys=request.keys or earlier.keys,
        keep=_or_else(request.keep, earlier.keep),
        alarm_after=_or_else(request.alarm_after, earlier.alarm_after),
    )


def _or_else(said: int | None, is_so: int) -> int:
    return is_so if said is None else said


def check(request: GuestRequest, guest: Guest, register: Register, paths: PeerPaths, machine: Machine) -> None:
    """Raises ConfigError with all that cannot be, and Refused when the guest's place is another's."""
    if machine.site.is_the_systems:
        check_program(machine.site.program)
    faults = tuple(_faults(request, guest, register, machine, paths))
    if faults:
        raise ConfigError(faults)
    owner = paths.owner(guest.id)
    whose = decode(str(owner), owner.read_bytes()).get("host") if owner.exists() else guest.name
    if whose != guest.name:
        raise Refused(f"{owner.parent} holds the backups of {whose}: ids are never used again, give another --id")


def _faults(
    request: GuestRequest, guest: Guest, register: Register, machine: Machine, paths: PeerPaths
) -> Iterator[str]:
    if not _NAME.fullmatch(guest.name):
        yield f"{guest.name!r:.80} is no host's name; expected small letters, digits, dots and dashes"
    if not HOST_ID.fullmatch(request.id):
        yield f"--id is {request.id!r:.40}, expected four of a-z and 0-9"
    elif guest.id != request.id:
        yield f"{guest.name} has the id {guest.id} for ever, and peer add was told {request.id}"
    if not guest.keys:
        yield f"{guest.name} needs --key 'ssh-ed25519 …', as ebbtide-agent install prints it there"
    for word, days in (("--keep", guest.keep), ("--alarm-after", guest.alarm_after)):
        if days < 1:
            yield f"{word} is {days}, expected 1 or more"
    if not register.store.is_absolute():
        yield f"--at is {register.store}, expected an absolute path"
    for other in register.guests:
        if other.name != guest.name and (other.id == guest.id or set(other.keys) & set(guest.keys)):
            yield f"{other.name} has that id or that key already; each host has its own"
    for place in closed_above(paths.store) if machine.is_root else ():
        yield f"{place} is closed to others: the user that a host's tree belongs to cannot get to {paths.store}"
