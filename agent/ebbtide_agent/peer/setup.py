"""What `peer add` and `peer remove` have to do on this machine, put down as steps; where all is done there are none."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ebbtide_agent.errors import ConfigError, Refused
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer import defaults, unit
from ebbtide_agent.peer.ids import choose_uid
from ebbtide_agent.peer.places import MakePlace, closed_above
from ebbtide_agent.peer.register import Guest, Register, encode_register, find_register
from ebbtide_agent.peer.store import check_store, find_mark
from ebbtide_agent.receiver import sshd
from ebbtide_agent.shapes import decode, encode
from ebbtide_agent.site import Site, check_program
from ebbtide_agent.steps import MakeDirectory, MakeKey, Run, Step, directories, file, removals

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ID = re.compile(r"[a-z0-9]{4}")


@dataclass(frozen=True)
class Wish:
    """What `peer add` was told of a host. None: as it is already, or as it is by default."""

    name: str
    id: str
    keys: tuple[str, ...] = ()
    store: Path | None = None
    keep: int | None = None
    alarm_after: int | None = None
    port: int | None = None


@dataclass(frozen=True)
class Here:
    """This machine: how the agent is installed, who we are, what starts the gate, and which user ids are somebody's."""

    site: Site
    uid: int
    gate: Sequence[str]
    taken: tuple[range, ...] = ()

    @property
    def is_root(self) -> bool:
        return self.uid == 0


@dataclass(frozen=True)
class Plan:
    """The steps, what the register says after them, and what is left to the operator."""

    steps: tuple[Step, ...]
    register: Register
    notes: tuple[str, ...] = ()


def plan_add(wish: Wish, here: Here) -> Plan:
    """Raises ConfigError with all that cannot be, and Refused when something else lies where the store should be."""
    places = here.site.paths
    register = _register(wish, here)
    paths = PeerPaths(places.state, register.store)
    earlier = register.find(wish.name)
    guest = _guest(wish, earlier, here)
    _check(wish, guest, register, paths, here)
    register = register.with_guest(guest)
    notes: list[str] = []
    steps = [
        *(MakeDirectory(place, 0o711) for place in (paths.store, paths.hosts) if not place.is_dir()),
        *file(paths.volume_owner, encode({"receiver": register.mark}).decode(), 0o600),
        *directories(places.state, places.secrets, paths.run),
        *((MakeKey(places.peer_key, here.site.name),) if not places.peer_key.exists() else ()),
        *((MakePlace(paths, guest, here.is_root),) if not paths.tree(guest.id).is_dir() else ()),
        *file(paths.owner(guest.id), encode({"host": guest.name}).decode(), 0o600),
        *directories(paths.snapshots(guest.id).path),
        *_whom(register, paths, here),
        *_served(register, here, notes),
    ]
    return Plan(tuple(steps), register, tuple(notes))


def plan_remove(name: str, forget: bool, here: Here) -> Plan:
    """Raises ConfigError when this machine takes no such host. Its data goes only with `forget`."""
    places = here.site.paths
    register, guest = _known(name, here)
    paths = PeerPaths(places.state, register.store)
    if forget:
        check_store(paths, register.mark, places.fstab)
    register = register.without(name)
    steps = [
        *_whom(register, paths, here),
        *removals((paths.night(guest.id), paths.trouble(guest.id), paths.session(guest.id), paths.reported(guest.id))),
        *(removals((paths.host(guest.id),), f"all that is kept of {name}") if forget else ()),
        *(_no_longer_served(here) if not register.guests else ()),
    ]
    notes = () if forget else (f"what is kept of {name} stays in {paths.host(guest.id)}",)
    return Plan(tuple(steps), register, notes)


def plan_opening(name: str, until: datetime | None, here: Here) -> Plan:
    """Let a host read what is kept of it until then, or no more. Raises ConfigError when it is none of ours."""
    register, guest = _known(name, here)
    register = register.with_guest(replace(guest, open_until=until))
    return Plan(tuple(file(here.site.paths.peer, encode_register(register).decode(), 0o600)), register)


def _known(name: str, here: Here) -> tuple[Register, Guest]:
    register = find_register(here.site.paths.peer)
    guest = register.find(name) if register else None
    if register is None or guest is None:
        raise ConfigError((f"this machine takes no backup of {name}: see ebbtide-agent peer list",))
    return register, guest


# -- what will stand in peer.json --------------------------------------------------------------------------------------


def _register(wish: Wish, here: Here) -> Register:
    """As it is, or a new one for the store that is named. A store that a lost register belonged to is known again."""
    places = here.site.paths
    register = find_register(places.peer)
    if register is None:
        if wish.store is None:
            raise ConfigError(("the first `peer add` needs --at: the directory that holds the backups",))
        found = find_mark(PeerPaths(places.state, wish.store), places.fstab)
        return Register(wish.store, wish.port or defaults.PORT, found or f"peer-{secrets.token_hex(4)}")
    if wish.store not in (None, register.store):
        raise ConfigError((f"{places.peer} has its store at {register.store}, and there is one: leave --at out",))
    if wish.port not in (None, register.port):
        raise ConfigError((f"{places.peer} has the port {register.port}, as hosts have in TARGET: leave --port out",))
    check_store(PeerPaths(places.state, register.store), register.mark, places.fstab)
    return register


def _guest(wish: Wish, earlier: Guest | None, here: Here) -> Guest:
    if earlier is None:
        uid = choose_uid(wish.id, here.taken) if here.is_root and _ID.fullmatch(wish.id) else here.uid
        earlier = Guest(wish.name, wish.id, uid, (), defaults.KEEP_DAYS)
    return replace(
        earlier,
        keys=wish.keys or earlier.keys,
        keep=_or_else(wish.keep, earlier.keep),
        alarm_after=_or_else(wish.alarm_after, earlier.alarm_after),
    )


def _or_else(said: int | None, is_so: int) -> int:
    return is_so if said is None else said


def _check(wish: Wish, guest: Guest, register: Register, paths: PeerPaths, here: Here) -> None:
    if here.site.is_the_systems:
        check_program(here.site.program)
    faults = tuple(_faults(wish, guest, register, here, paths))
    if faults:
        raise ConfigError(faults)
    owner = paths.owner(guest.id)
    whose = decode(str(owner), owner.read_bytes()).get("host") if owner.exists() else guest.name
    if whose != guest.name:
        raise Refused(f"{owner.parent} holds the backups of {whose}: ids are never used again, give another --id")


def _faults(wish: Wish, guest: Guest, register: Register, here: Here, paths: PeerPaths) -> Iterator[str]:
    if not _NAME.fullmatch(guest.name):
        yield f"{guest.name!r:.80} is no host's name; expected small letters, digits, dots and dashes"
    if not _ID.fullmatch(wish.id):
        yield f"--id is {wish.id!r:.40}, expected four of a-z and 0-9"
    elif guest.id != wish.id:
        yield f"{guest.name} has the id {guest.id} for ever, and peer add was told {wish.id}"
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
    for place in closed_above(paths.store) if here.is_root else ():
        yield f"{place} is closed to others: the user that a host's tree belongs to cannot get to {paths.store}"


# -- steps -------------------------------------------------------------------------------------------------------------


def _whom(register: Register, paths: PeerPaths, here: Here) -> Iterator[Step]:
    """Who is known, and the keys that open the door: sshd reads them anew each time somebody knocks."""
    yield from file(here.site.paths.peer, encode_register(register).decode(), 0o600)
    keys = sshd.authorized_keys([guest.as_briefed() for guest in register.guests], here.gate)
    yield from file(paths.authorized_keys, keys, 0o600)


def _served(register: Register, here: Here, notes: list[str]) -> Iterator[Step]:
    site = here.site
    if not (site.is_the_systems and site.has_systemd):
        notes.append(f"keep this running, from now on and after each start: {shlex.join(_serve(site))}")
        return
    steps = list(file(site.paths.peer_service, unit.service(_serve(site), register.store)))
    if steps or not unit.wanted(site.paths.peer_service).is_symlink():
        yield from steps
        yield Run(("systemctl", "daemon-reload"))
        yield Run(("systemctl", "enable", unit.SERVICE))
        yield Run(("systemctl", "restart", unit.SERVICE))


def _no_longer_served(here: Here) -> Iterator[Step]:
    service = here.site.paths.peer_service
    if here.site.has_systemd and service.exists():
        yield Run(("systemctl", "disable", "--now", unit.SERVICE))
        yield from removals((service,), "nobody is left")
        yield Run(("systemctl", "daemon-reload"))


def _serve(site: Site) -> tuple[str, ...]:
    places = () if site.is_the_systems else ("--etc", str(site.paths.etc), "--state", str(site.paths.state))
    return (str(site.program), "peer", "serve", *places)


def lines_for_the_guest(guest: Guest, register: Register, here_is: str, host_key: str, login: str) -> str:
    """What the other side is told, ready to paste; `here_is` is this machine's name as it is known there."""
    port = "" if register.port == 22 else f":{register.port}"
    target = f"receiver://{here_is}{port}"
    return "\n".join(
        (
            f"# On {guest.name}; {here_is} is what this machine calls itself, and may need another name there:",
            f'ebbtide-agent install --host {guest.name} --target {target} --host-key "{host_key}"',
            "# Or by hand, into /etc/backup_config:",
            f"TARGET={target}",
            *((f"USER={login}",) if login != "root" else ()),
            "# and into /etc/ebbtide/known_hosts:",
            f"{here_is} {host_key}",
            "",
        )
    )
