"""What `peer add` and `peer remove` have to do on this machine, put down as steps; where all is done there are none."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.moments import Up
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer import unit
from ebbtide_agent.peer.places import MakePlace
from ebbtide_agent.peer.register import Guest, Register, encode_register, find_register
from ebbtide_agent.peer.request import GuestRequest, Machine, check, guest_for, register_for
from ebbtide_agent.peer.store import check_store
from ebbtide_agent.receiver import sshd
from ebbtide_agent.shapes import encode
from ebbtide_agent.site import Site
from ebbtide_agent.steps import MakeDirectory, MakeKey, Run, Step, directories, file, removals


@dataclass(frozen=True)
class Plan:
    """The steps for one guest, what the register says after them, and what is left to the operator."""

    guest: Guest
    steps: tuple[Step, ...]
    register: Register
    notes: tuple[str, ...] = ()


def plan_add(request: GuestRequest, machine: Machine) -> Plan:
    """Raises ConfigError with all that cannot be, and Refused when something else lies where the store should be."""
    places = machine.site.paths
    register = register_for(request, machine)
    paths = PeerPaths(places.state, register.store)
    guest = guest_for(request, register, machine)
    check(request, guest, register, paths, machine)
    register = register.with_guest(guest)
    notes: list[str] = []
    steps = [
        *(MakeDirectory(place, 0o711) for place in (paths.store, paths.hosts) if not place.is_dir()),
        *file(paths.volume_owner, encode({"receiver": register.mark}).decode(), 0o600),
        *directories(places.state, places.secrets, paths.run),
        *((MakeKey(places.peer_key, machine.site.name),) if not places.peer_key.exists() else ()),
        *((MakePlace(paths, guest, machine.is_root),) if not paths.tree(guest.id).is_dir() else ()),
        *file(paths.owner(guest.id), encode({"host": guest.name}).decode(), 0o600),
        *directories(paths.snapshots(guest.id).path),
        *_whom(register, paths, machine),
        *_served(register, machine, notes),
    ]
    return Plan(guest, tuple(steps), register, tuple(notes))


def plan_remove(name: str, forget: bool, machine: Machine) -> Plan:
    """Raises ConfigError when this machine takes no such host. Its data goes only with `forget`."""
    places = machine.site.paths
    register, guest = _known(name, machine)
    paths = PeerPaths(places.state, register.store)
    if forget:
        check_store(paths, register.mark, places.fstab)
    register = register.without(name)
    steps = [
        *_whom(register, paths, machine),
        *removals(
            (
                paths.night(guest.id),
                paths.heard(guest.id),
                paths.trouble(guest.id),
                paths.session(guest.id),
                paths.reported(guest.id),
            )
        ),
        *(removals((paths.host(guest.id),), f"all that is kept of {name}") if forget else ()),
        *(_no_longer_served(machine) if not register.guests else ()),
    ]
    notes = () if forget else (f"what is kept of {name} stays in {paths.host(guest.id)}",)
    return Plan(guest, tuple(steps), register, notes)


def plan_opening(name: str, machine: Machine, until: datetime | None = None, closes: Up | None = None) -> Plan:
    """Let a host read what is kept of it until then, or no more. Raises ConfigError when it is none of ours."""
    register, guest = _known(name, machine)
    register = register.with_guest(replace(guest, open_until=until, closes=closes))
    return Plan(guest, tuple(file(machine.site.paths.peer, encode_register(register).decode(), 0o600)), register)


def _known(name: str, machine: Machine) -> tuple[Register, Guest]:
    register = find_register(machine.site.paths.peer)
    guest = register.find(name) if register else None
    if register is None or guest is None:
        raise ConfigError((f"this machine takes no backup of {name}: see ebbtide-agent peer list",))
    return register, guest


# -- steps -------------------------------------------------------------------------------------------------------------


def _whom(register: Register, paths: PeerPaths, machine: Machine) -> Iterator[Step]:
    """Who is known, and the keys that open the door: sshd reads them anew each time somebody knocks."""
    yield from file(machine.site.paths.peer, encode_register(register).decode(), 0o600)
    keys = sshd.authorized_keys([guest.as_briefed() for guest in register.guests], machine.gate)
    yield from file(paths.authorized_keys, keys, 0o600)


def _served(register: Register, machine: Machine, notes: list[str]) -> Iterator[Step]:
    site = machine.site
    if not (site.is_the_systems and site.has_systemd):
        notes.append(f"keep this running, from now on and after each start: {shlex.join(_serve(site))}")
        return
    steps = list(file(site.paths.peer_service, unit.service(_serve(site), register.store)))
    if steps or not unit.wanted(site.paths.peer_service).is_symlink():
        yield from steps
        yield Run(("systemctl", "daemon-reload"))
        yield Run(("systemctl", "enable", unit.SERVICE))
        yield Run(("systemctl", "restart", unit.SERVICE))


def _no_longer_served(machine: Machine) -> Iterator[Step]:
    service = machine.site.paths.peer_service
    if machine.site.has_systemd and service.exists():
        yield Run(("systemctl", "disable", "--now", unit.SERVICE))
        yield from removals((service,), "nobody is left")
        yield Run(("systemctl", "daemon-reload"))


def _serve(site: Site) -> tuple[str, ...]:
    return (str(site.program), "peer", "serve", *site.places)


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
