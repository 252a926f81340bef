"""`ebbtide-agent peer`: take the backups of other servers of ours, and give nothing but that."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import platform
import pwd
import re
import signal
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import keys, moments, procs, steps
from ebbtide_agent.commands.here import EXIT_CODES, Commands, Here, add_command, add_places, paths_of
from ebbtide_agent.commands.install import check_may_change, public_key, site_of, tell
from ebbtide_agent.errors import Refused
from ebbtide_agent.host import enrolment
from ebbtide_agent.paths import HostPaths, PeerPaths
from ebbtide_agent.peer import setup
from ebbtide_agent.peer.register import as_object, find_register, get_register

DESCRIPTION = """\
Take the backups of other servers of yours: two servers that back each other up need nobody else.

  ebbtide-agent peer add us0 --key "ssh-ed25519 AAAA…" --at /srv/ebbtide

makes the store, a user id for the tree of us0, and a service with an sshd of its own, on port 2222, in which the key of
us0 can push into that tree and nothing else. It prints the lines that us0 needs. Each complete night becomes a dated
snapshot, which nothing that us0 does can reach; those of the last KEEP days stay.

The machine needs rsync 3.5.0 or newer, bubblewrap, util-linux (setpriv) and an OpenSSH server's program.
"""
NEEDS_A_PERSON = 1
LONGEST_OPENING = timedelta(days=1)


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "peer",
        help="take the backups of other servers of yours",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_subparsers(metavar="WHAT", required=True)
    _add_words(words)
    remove = add_command(words, "remove", remove_guest, "take no more of a host's backups")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--forget", action="store_true", help="remove what is kept of it, too")
    remove.add_argument("--yes", action="store_true", help="do it; without this it is shown")
    opening = add_command(words, "open", open_past, "let a host read its snapshots for a while; nothing is taken then")
    opening.add_argument("name", metavar="NAME")
    opening.add_argument(
        "--for", dest="span", metavar="2h", type=_span, required=True, help="hours or minutes: 2h, 30m"
    )
    closing = add_command(words, "close", close_past, "let it read no more, and take its backups again")
    closing.add_argument("name", metavar="NAME")
    listing = add_command(words, "list", list_guests, "whose backups this machine takes")
    status = add_command(words, "status", show, f"how they stand; exit code {NEEDS_A_PERSON} if it needs a person")
    serve_ = add_command(words, "serve", serve, "be there for them (started by the service)")
    gate = add_command(words, "gate", answer, "answer a host (started by sshd as the forced command of the host's key)")
    gate.add_argument("host", metavar="HOSTID", help="the four characters of the host whose key this is")
    for one in (listing, status):
        one.add_argument("--json", action="store_true", help="as a list of objects")
    for one in (remove, opening, closing, listing, status, serve_, gate):
        add_places(one)


def _add_words(words: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(words, "add", add_guest, "take a host's backups, or change what is known of it", DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="what the host calls itself, HOST in its /etc/backup_config")
    parser.add_argument("--id", help="four of a-z and 0-9, for ever the host's (default: follows from its name)")
    parser.add_argument(
        "--key",
        metavar="KEY",
        type=public_key,
        action="append",
        default=[],
        help="its public key; given twice while one follows another",
    )
    parser.add_argument("--at", metavar="DIR", type=Path, help="the store: a directory, better a disk of its own")
    parser.add_argument("--keep", metavar="DAYS", type=int, help=f"how many days stay (default: {setup.DEFAULT_KEEP})")
    parser.add_argument("--port", type=int, help=f"where sshd listens (default: {setup.DEFAULT_PORT})")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    add_places(parser)


def add_guest(options: argparse.Namespace, _: Here) -> int:
    from ebbtide_agent.receiver import confine, sshd

    paths = paths_of(options)
    check_may_change(paths, "peer add")
    here = _here(paths)
    confine.choose(here.is_root)
    if here.is_root:
        sshd.check_account(may_unlock=False)
    register = find_register(paths.peer)
    known = register.find(options.name) if register else None
    host_id = options.id or (known.id if known else enrolment.suggested_id(options.name))
    wish = setup.Wish(options.name, host_id, tuple(options.key), options.at, options.keep, options.port)
    plan = setup.plan_add(wish, here)
    _walk(plan, options.dry_run)
    guest = plan.register.find(options.name)
    if guest and paths.peer_key.exists():
        key = keys.public(paths.peer_key)
        print(setup.lines_for_the_guest(guest, plan.register, platform.node().lower(), key, getpass.getuser()), end="")
    return 0


def remove_guest(options: argparse.Namespace, _: Here) -> int:
    from ebbtide_agent.receiver.lease import leased

    paths = paths_of(options)
    check_may_change(paths, "peer remove")
    plan = setup.plan_remove(options.name, options.forget, _here(paths))
    if not options.yes:
        steps.walk(plan.steps, tell, dry_run=True)
        raise Refused("nothing was removed: say --yes to have it done")
    register = get_register(paths.peer)
    store = PeerPaths(paths.state, register.store)
    guest = register.find(options.name)
    # Nobody's push goes on below what is removed.
    with leased(store, guest.id) if guest and store.sessions.is_dir() else contextlib.nullcontext():
        _walk(plan, dry_run=False)
    return 0


def open_past(options: argparse.Namespace, here: Here) -> int:
    until = here.clock().replace(microsecond=0) + options.span
    _set_opening(options, until)
    print(f"{options.name} may read its snapshots until {moments.write(until)}: ebbtide-agent list, and restore, there")
    return 0


def close_past(options: argparse.Namespace, _: Here) -> int:
    _set_opening(options, None)
    return 0


def _set_opening(options: argparse.Namespace, until: datetime | None) -> None:
    from ebbtide_agent.receiver.lease import leased

    paths = paths_of(options)
    check_may_change(paths, "peer open")
    plan = setup.plan_opening(options.name, until, _here(paths))
    guest = plan.register.find(options.name)
    store = PeerPaths(paths.state, plan.register.store)
    # Not in the middle of a push or a snapshot.
    with leased(store, guest.id) if guest and store.sessions.is_dir() else contextlib.nullcontext():
        _walk(plan, dry_run=False)


def list_guests(options: argparse.Namespace, here: Here) -> int:
    register = get_register(paths_of(options).peer)
    if options.json:
        print(json.dumps([as_object(guest) for guest in register.guests], indent=2))
        return 0
    tell(f"store {register.store}, port {register.port}")
    for guest in register.guests:
        until = guest.reads_until(here.clock())
        reads = f"; may read until {moments.write(until)}" if until else ""
        print(f"{guest.name} ({guest.id}): user id {guest.uid}, {len(guest.keys)} keys, {guest.keep} days{reads}")
    return 0


def show(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.peer import standing

    paths = paths_of(options)
    register = get_register(paths.peer)
    faults = standing.find_faults(register, paths)
    store = PeerPaths(paths.state, register.store)
    found = [standing.standing_of(guest, store, here.clock) for guest in register.guests if store.hosts.is_dir()]
    for fault in faults:
        tell(fault)
    if options.json:
        print(json.dumps([each.as_object() for each in found], indent=2))
    else:
        print("".join(f"{each.as_line()}\n" for each in found), end="")
    return NEEDS_A_PERSON if faults or any(each.trouble for each in found) else 0


def serve(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.peer.serve import Peer
    from ebbtide_agent.peer.serve import serve as serve_them
    from ebbtide_agent.receiver.sshd import Door

    paths = paths_of(options)
    machine = _here(paths)
    environment = {"PATH": here.environment["PATH"]} if "PATH" in here.environment else {}
    port, is_the_systems = get_register(paths.peer).port, machine.site.is_the_systems
    door = Door(port, machine.gate, environment, machine.is_root, strict=is_the_systems, may_unlock=False)
    return serve_them(Peer(paths, here.clock, door))


def answer(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.peer.arrival import Arrival
    from ebbtide_agent.receiver import gate, verbs

    paths = paths_of(options)
    # The alarm ends who still reads when the time is up.
    procs.stop_on(*gate.ENDING, signal.SIGALRM)
    verb = verbs.parse_command(here.environment.get("SSH_ORIGINAL_COMMAND"))
    register = get_register(paths.peer)
    guest = register.guest(options.host)
    store = PeerPaths(paths.state, register.store)
    return Arrival(store, register, guest, here.clock, paths.fstab).answer(verb, sys.stdin.buffer, sys.stdout.buffer)


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([hm])", text)
    span = timedelta(minutes=int(match[1]) * (60 if match[2] == "h" else 1)) if match else timedelta(0)
    if not timedelta(0) < span <= LONGEST_OPENING:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2h or 30m, of a day at most")
    return span


def _here(paths: HostPaths) -> setup.Here:
    site = site_of(paths)
    gate = (sys.executable, str(site.program), "peer", "gate", "--etc", str(paths.etc), "--state", str(paths.state))
    taken = setup.ranges_of((user.pw_uid for user in pwd.getpwall()), _subordinate(paths))
    return setup.Here(site, os.geteuid(), gate, taken)


def _subordinate(paths: HostPaths) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (paths.etc / "subuid").read_text().splitlines()


def _walk(plan: setup.Plan, dry_run: bool) -> None:
    steps.walk(plan.steps, tell, dry_run)
    if not plan.steps:
        tell("all is as it should be")
    for note in plan.notes:
        tell(note)
