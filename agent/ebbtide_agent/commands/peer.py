"""`ebbtide-agent peer`: take the backups of other servers of ours, and give nothing but that."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from pathlib import Path

from ebbtide_agent.commands import exits
from ebbtide_agent.commands.here import Commands, Here, add_command, add_json, add_places
from ebbtide_agent.peer import defaults

DESCRIPTION = """\
Take the backups of other servers of yours: two servers that back each other up need nobody else.

  ebbtide-agent peer add us0 --key "ssh-ed25519 AAAA…" --at /srv/ebbtide

makes the store, a user id for the tree of us0, and a service with an sshd of its own, on port 2222, in which the key of
us0 can push into that tree and nothing else. It prints the lines that us0 needs. Each complete night becomes a dated
snapshot, which nothing that us0 does can reach; those of the last KEEP days stay.

The machine needs rsync 3.5.0 or newer, bubblewrap, util-linux (setpriv) and an OpenSSH server's program.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "peer",
        help="take the backups of other servers of yours",
        description=DESCRIPTION,
        epilog=exits.of_command("peer"),
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
    status = add_command(words, "status", show, "how they stand; exit code 1 if it needs a person")
    serve_ = add_command(words, "serve", serve, "be there for them (started by the service)")
    gate = add_command(words, "gate", answer, "answer a host (started by sshd as the forced command of the host's key)")
    gate.add_argument("host", metavar="HOSTID", help="the four characters of the host whose key this is")
    for one in (listing, status):
        one.add_argument("--json", action="store_true", help="as a list of objects")
    for one in (remove, opening, closing):
        add_json(one)
    for one in (remove, opening, closing, listing, status, serve_, gate):
        add_places(one)


def _add_words(words: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(words, "add", add_guest, "take a host's backups, or change what is known of it", DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="what the host calls itself, HOST in its /etc/backup_config")
    parser.add_argument("--id", help="four of a-z and 0-9, for ever the host's (default: follows from its name)")
    parser.add_argument(
        "--key",
        metavar="KEY",
        type=_public_key,
        action="append",
        default=[],
        help="its public key; given twice while one follows another",
    )
    parser.add_argument("--at", metavar="DIR", type=Path, help="the store: a directory, better a disk of its own")
    parser.add_argument("--keep", metavar="DAYS", type=int, help=f"how many days stay (default: {defaults.KEEP_DAYS})")
    parser.add_argument(
        "--alarm-after",
        metavar="DAYS",
        type=int,
        help="after how many days without a complete night `peer status` says so"
        f" (default: {defaults.ALARM_AFTER_DAYS})",
    )
    parser.add_argument("--port", type=int, help=f"where sshd listens (default: {defaults.PORT})")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    add_json(parser)
    add_places(parser)


def add_guest(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.add_guest(options, here)


def remove_guest(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.remove_guest(options, here)


def open_past(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.open_past(options, here)


def close_past(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.close_past(options, here)


def list_guests(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.list_guests(options, here)


def show(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.show(options, here)


def serve(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peering

    return peering.serve(options, here)


def answer(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.commands import peer_gate

    return peer_gate.answer(options, here)


def _public_key(text: str) -> str:
    # A peer's gate is started for every word of every guest, and needs nothing of an installation.
    from ebbtide_agent.commands import install

    return install.public_key(text)


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([hm])", text)
    span = timedelta(minutes=int(match[1]) * (60 if match[2] == "h" else 1)) if match else timedelta(0)
    if not timedelta(0) < span <= defaults.LONGEST_OPENING:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2h or 30m, of a day at most")
    return span
