"""What the words of `ebbtide-agent peer` do. Apart from them, so that neither a night nor a gate imports all of it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

from ebbtide_agent import keys, moments, steps
from ebbtide_agent.commands.here import Here, paths_of
from ebbtide_agent.commands.install import check_may_change, site_of, tell
from ebbtide_agent.compiled import place_of
from ebbtide_agent.errors import AgentError, Refused
from ebbtide_agent.host import enrolment
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer import serve as serving
from ebbtide_agent.peer import setup, standing
from ebbtide_agent.peer.ids import find_taken
from ebbtide_agent.peer.machine import peer_at
from ebbtide_agent.peer.register import Guest, as_object, find_register, get_register
from ebbtide_agent.peer.request import GuestRequest, Machine
from ebbtide_agent.peer.sessions import changing_alone, end_guest, end_readers
from ebbtide_agent.receiver import confine, sshd
from ebbtide_agent.receiver.lease import leased

NEEDS_A_PERSON = 1


def add_guest(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "peer add")
    here = _here(paths)
    confine.choose(here.is_root)
    if here.is_root:
        sshd.check_account(may_unlock=False)
    plan = setup.plan_add(_request(options, paths), here)
    # What cannot be has been said by now, with nothing made.
    if options.dry_run:
        _walk(plan, dry_run=True)
    else:
        store = PeerPaths(paths.state, plan.register.store)
        room = tuple(steps.directories(store.state, store.run))
        steps.walk(room, tell, dry_run=False)
        with changing_alone(store):
            plan = setup.plan_add(_request(options, paths), here)
            _walk(plan, dry_run=False)
        plan = replace(plan, steps=(*room, *plan.steps))
    lines = _lines_for_the_guest(plan, paths)
    if options.json:
        _print(plan, done=not options.dry_run, lines=lines)
    else:
        print(lines, end="")
    return 0


def _lines_for_the_guest(plan: setup.Plan, paths: HostPaths) -> str:
    """Nothing while there is no key that it could pin."""
    if not paths.peer_key.exists():
        return ""
    key, here_is = keys.public(paths.peer_key), platform.node().lower()
    return setup.lines_for_the_guest(plan.guest, plan.register, here_is, key, getpass.getuser())


def _request(options: argparse.Namespace, paths: HostPaths) -> GuestRequest:
    register = find_register(paths.peer)
    known = register.find(options.name) if register else None
    return GuestRequest(
        options.name,
        options.id or (known.id if known else enrolment.suggested_id(options.name)),
        tuple(options.key),
        store=options.at,
        keep=options.keep,
        alarm_after=options.alarm_after,
        port=options.port,
    )


def remove_guest(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "peer remove")
    if not options.yes:
        plan = setup.plan_remove(options.name, options.forget, _here(paths))
        steps.walk(plan.steps, tell, dry_run=True)
        if options.json:
            _print(plan, done=False)
        raise Refused("nothing was removed: say --yes to have it done")
    with _changing(paths):
        plan = setup.plan_remove(options.name, options.forget, _here(paths))
        store = PeerPaths(paths.state, plan.register.store)
        # Nobody's push goes on below what is removed, and no session keeps a key that is unwanted.
        end_guest(store, plan.guest)
        with _held(store, plan.guest):
            _walk(plan, dry_run=False)
        end_readers(store, plan.guest)
    if options.json:
        _print(plan, done=True)
    return 0


def open_past(options: argparse.Namespace, here: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "peer open")
    now, until = moments.up(), here.clock().replace(microsecond=0) + options.span
    closes = replace(now, seconds=now.seconds + options.span.total_seconds())
    with _changing(paths):
        plan = setup.plan_opening(options.name, _here(paths), until, closes)
        # Not in the middle of a push or a snapshot.
        with _held(PeerPaths(paths.state, plan.register.store), plan.guest):
            _walk(plan, dry_run=False)
    if options.json:
        _print(plan, done=True, until=moments.write(until))
    else:
        said = f"{options.name} may read its snapshots until {moments.write(until)}"
        print(f"{said}: ebbtide-agent list, and restore, there")
    return 0


def close_past(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "peer close")
    with _changing(paths):
        plan = setup.plan_opening(options.name, _here(paths))
        _walk(plan, dry_run=False)
    # Nobody begins to read from here on; who is reading is ended.
    end_readers(PeerPaths(paths.state, plan.register.store), plan.guest)
    if options.json:
        _print(plan, done=True)
    return 0


def _changing(paths: HostPaths) -> contextlib.AbstractContextManager[None]:
    """From the look at the register to what is written over it. Raises PermanentError where there is none."""
    return changing_alone(PeerPaths(paths.state, get_register(paths.peer).store))


def _held(store: PeerPaths, guest: Guest) -> contextlib.AbstractContextManager[None]:
    """The guest's lease; where nobody has ever served there is none."""
    return leased(store, guest.id) if store.sessions.is_dir() else contextlib.nullcontext()


def list_guests(options: argparse.Namespace, _: Here) -> int:
    register = get_register(paths_of(options).peer)
    if options.json:
        print(json.dumps([as_object(_as_it_is(guest)) for guest in register.guests], indent=2))
        return 0
    tell(f"store {register.store}, port {register.port}")
    for guest in register.guests:
        until = guest.reads_until(moments.up())
        reads = f"; may read until {moments.write(until)}" if until else ""
        print(f"{guest.name} ({guest.id}): user id {guest.uid}, {len(guest.keys)} keys, {guest.keep} days{reads}")
    return 0


def _as_it_is(guest: Guest) -> Guest:
    """What was open and is not any more, after the machine has started anew for one, is none that is open."""
    return guest if guest.reads_until(moments.up()) else replace(guest, open_until=None, closes=None)


def show(options: argparse.Namespace, here: Here) -> int:
    peer = peer_at(paths_of(options), here.clock)
    faults, found = list(standing.find_faults(peer)), []
    for guest in peer.register.guests if peer.paths.hosts.is_dir() else ():
        try:
            found.append(standing.standing_of(guest, peer))
        except (OSError, AgentError) as error:
            # One guest's place must not be in the way of another's.
            faults.append(f"{guest.name}: {error}")
    for fault in faults:
        tell(fault)
    if options.json:
        print(json.dumps([each.as_object() for each in found], indent=2))
    else:
        print("".join(f"{each.as_line()}\n" for each in found), end="")
    return NEEDS_A_PERSON if faults or any(each.faults for each in found) else 0


def serve(options: argparse.Namespace, here: Here) -> int:
    peer = peer_at(paths_of(options), here.clock)
    machine = _here(peer.places)
    # A home without a .bashrc: sshd's bash would read the user's own, and what that says is no part of a session.
    environment = {"HOME": str(peer.paths.run)}
    if "PATH" in here.environment:
        environment["PATH"] = here.environment["PATH"]
    door = sshd.Door(
        peer.register.port,
        _gate(peer.places, place_of(machine.site.program, peer.paths.program)),
        environment,
        as_root=machine.is_root,
        strict=machine.site.is_the_systems,
        may_unlock=False,
        knocking=sshd.FEW,
    )
    return serving.serve(peer, door, machine.site.program)


def _here(paths: HostPaths) -> Machine:
    site = site_of(paths)
    # Until somebody has served here there is no other than the one file.
    served = place_of(site.program, PeerPaths(paths.state, Path("/")).program)
    gate = _gate(paths, served if served.exists() else site.program)
    return Machine(site, os.geteuid(), gate, find_taken(paths.etc))


def _gate(paths: HostPaths, program: Path) -> tuple[str, ...]:
    return (sys.executable, str(program), "peer", "gate", "--etc", str(paths.etc), "--state", str(paths.state))


def _print(plan: setup.Plan, done: bool, **more: str) -> None:
    """For programs; people have been told on the way."""
    told = {"done": done, "steps": [*map(str, plan.steps)], "notes": plan.notes, **more}
    print(json.dumps(told, indent=2))


def _walk(plan: setup.Plan, dry_run: bool) -> None:
    steps.walk(plan.steps, tell, dry_run)
    if not plan.steps:
        tell("all is as it should be")
    for note in plan.notes:
        tell(note)
