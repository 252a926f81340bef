"""`ebbtide keep`: try retention rules on times from standard input. Needs no AWS and changes nothing."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from chalicelib.core.retention import Rules
from chalicelib.core.trial import Tried, parse_times, try_rules
from chalicelib.errors import ConfigError
from chalicelib.fields import moment_text
from ebbtide_console.cli.command import Commands

DESCRIPTION = """\
Try retention rules before applying them. Reads times in ISO 8601 from standard input, one a line, in any order, and
prints which stay and why, and which go. A time without an offset is taken as UTC; hours, days, weeks, months and years
are those of UTC. The rules mean what `restic forget --keep-*` means, with -1 for all; without any rule nothing goes.
Blank lines are passed over; a time given twice is two restore points of that instant.
"""

MEANINGS = {
    "last": "keep the N newest",
    "hourly": "keep the newest of each of the last N hours that have one",
    "daily": "keep the newest of each of the last N days that have one",
    "weekly": "keep the newest of each of the last N ISO weeks that have one",
    "monthly": "keep the newest of each of the last N months that have one",
    "yearly": "keep the newest of each of the last N years that have one",
}


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `keep`."""
    keep = commands.add_parser("keep", help="try retention rules on times from standard input", description=DESCRIPTION)
    for rule in fields(Rules):
        keep.add_argument(f"--{rule.name}", type=a_count, default=0, metavar="N", help=MEANINGS[rule.name])
    keep.add_argument("--json", action="store_true", help='print {"keep": [{"at", "reasons"}], "expire": [{"at"}]}')
    keep.set_defaults(act=_keep)


def a_count(text: str) -> int:
    """How many to keep. Raises ArgumentTypeError."""
    if not re.fullmatch(r"-1|[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a count from 0 up, or -1 to keep all")
    return int(text)


def _keep(options: argparse.Namespace, _: Mapping[str, str]) -> int:
    rules = Rules(**{rule.name: getattr(options, rule.name) for rule in fields(Rules)})
    times, faults = parse_times(sys.stdin.buffer.read().decode("utf-8-sig", errors="replace").splitlines())
    if faults:
        raise ConfigError(faults)
    tried = try_rules(times, rules)
    if options.json:
        print(json.dumps(as_json(tried), indent=2))
    else:
        for line in as_lines(tried):
            print(line)
    return 0


def as_json(tried: Iterable[Tried]) -> dict[str, Any]:
    tried = tuple(tried)
    return {
        "keep": [{"at": moment_text(each.at), "reasons": list(each.reasons)} for each in tried if each.reasons],
        "expire": [{"at": moment_text(each.at)} for each in tried if not each.reasons],
    }


def as_lines(tried: Iterable[Tried]) -> list[str]:
    """One a time, the newest first: a history to look down."""
    return [
        f"{'keep  ' if each.reasons else 'expire'}  {moment_text(each.at)}  {', '.join(each.reasons)}".rstrip()
        for each in tried
    ]
