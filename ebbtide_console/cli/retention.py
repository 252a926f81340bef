"""The commands by which snapshots go or stay: `prune`, `hold`, `release`, `hosts forget`."""

import argparse
import getpass
import re
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib.errors import Refused
from chalicelib.fields import moment_text
from ebbtide_console import session
from ebbtide_console.cli import prune_table
from ebbtide_console.cli.command import Commands, Environment, print_json

_A_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WHAT = "the snapshot's id, or a host of the policy: then the snapshot that holds its point"


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `prune`, `hold`, `release` and `hosts forget`."""
    prune = commands.add_parser("prune", help="apply the retention rules (deletes a night after marking)")
    prune.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    prune.add_argument("--allow", type=a_number, metavar="N", help="confirm that up to N snapshots are deleted")
    prune.add_argument("--json", action="store_true", help="print the plan as JSON")
    prune.set_defaults(act=_prune)

    hold = commands.add_parser("hold", help="keep a snapshot whatever the rules say")
    _add_target(hold)
    hold.add_argument("--reason", required=True, help="why it is held; the plan of every prune says so")
    _add_by_and_asking(hold)
    hold.set_defaults(act=_hold)

    release = commands.add_parser("release", help="take a hold off: the rules decide again")
    _add_target(release)
    _add_asking(release)
    release.set_defaults(act=_release)

    hosts = commands.add_parser("hosts", help="what outlives a host's place in the policy")
    verbs = hosts.add_subparsers(metavar="COMMAND", required=True)
    forget = verbs.add_parser("forget", help="let the restore points of a host go that is no longer in the policy")
    forget.add_argument("host", help="its last name in a policy, or its id")
    _add_by_and_asking(forget)
    forget.set_defaults(act=_forget)


def _add_by_and_asking(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--by", default=None, help="who asks for it (default: you, on this machine)")
    _add_asking(verb)


def _add_asking(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="show it and change nothing")
    verb.add_argument("--yes", action="store_true", help="do not ask")


def _add_target(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", metavar="SNAPSHOT|HOST", help=WHAT)
    verb.add_argument("--at", type=a_time, metavar="TIME", help="the host's point of this time or day (UTC), or before")


def a_number(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a count from 0 up")
    return int(text)


def a_time(text: str) -> str:
    """In UTC; a time without an offset is taken as UTC, a day alone as its end. Raises ArgumentTypeError."""
    try:
        at = datetime.fromisoformat(f"{text}T23:59:59" if _A_DAY.fullmatch(text) else text)
        return moment_text(at.replace(tzinfo=UTC) if at.tzinfo is None else at)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a time like 2026-11-23T03:00:00Z") from None


def _prune(options: argparse.Namespace, _: Environment) -> int:
    payload = {"schema": 1, "dry_run": options.dry_run, "allow": options.allow}
    answer = session.invoke("prune", payload)
    if options.json:
        print_json(answer)
    else:
        prune_table.show(answer, options.dry_run)
    return 1 if answer["refused"] else 0


def _hold(options: argparse.Namespace, _: Environment) -> int:
    return _shown_then_done("hold", options, {"why": options.reason, "by": _by(options)})


def _release(options: argparse.Namespace, _: Environment) -> int:
    return _shown_then_done("release", options, {})


def _shown_then_done(verb: str, options: argparse.Namespace, more: Mapping[str, str]) -> int:
    """The second call names the snapshot that the first one has shown, whatever has been taken since."""
    is_snapshot = options.what.startswith("snap-")
    target = {"snapshot": options.what} if is_snapshot else {"host": options.what, "at": options.at}
    if is_snapshot and options.at:
        raise Refused(f"{options.what} is one snapshot: --at goes with a host")
    shown = session.invoke(verb, {"schema": 1, **target, **more, "dry_run": True})
    print(f"{shown['snapshot']}  {shown['at']}  run {shown['run']}")
    print(f"  now    {_in_words(shown['before'])}")
    print(f"  after  {_in_words(shown['after'])}")
    if shown["before"] == shown["after"]:
        print("nothing changes")
    elif not options.dry_run:
        _confirm(verb, options.yes)
        session.invoke(verb, {"schema": 1, "snapshot": shown["snapshot"], **more, "dry_run": False})
        print("done")
    return 0


def _forget(options: argparse.Namespace, _: Environment) -> int:
    payload = {"schema": 1, "host": options.host, "by": _by(options)}
    shown = session.invoke("forget_host", {**payload, "dry_run": True})
    for point in shown["points"]:
        print(f"{point['snapshot']}  {point['at']}")
    print(f"host {shown['id']}: these {len(shown['points'])} points keep no snapshot any more, for good")
    if shown["already"]:
        print("nothing changes")
    elif not options.dry_run:
        _confirm("hosts forget", options.yes)
        session.invoke("forget_host", {**payload, "dry_run": False})
        print("done: the next prune marks what nobody else keeps")
    return 0


def _by(options: argparse.Namespace) -> str:
    return options.by or f"{getpass.getuser()}@{socket.gethostname()}"


def _in_words(hold: Mapping[str, Any] | None) -> str:
    if hold is None:
        return "not held"
    told = (("by", hold["by"]), ("since", hold["since"]))
    return "held" + "".join(f" {word} {value}" for word, value in told if value) + f": {hold['why']}"


def _confirm(verb: str, yes: bool) -> None:
    """Raises Refused unless a person says yes here, or has said so with --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"nobody is here to ask: say `ebbtide {verb} --yes`, or look with --dry-run")
    if input(f"{verb}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused("nothing was changed")
