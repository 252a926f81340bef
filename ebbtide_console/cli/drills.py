"""`ebbtide drills`: of each host the newest point, and when and how well its backup was proved last."""

import argparse
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from chalicelib.core.model import Recovery
from chalicelib.core.recovery_times import rto, spoken
from chalicelib.core.verdicts import satisfies
from chalicelib.errors import PermanentError
from chalicelib.fields import moment_text
from chalicelib.wire.shared import as_line
from chalicelib.wiring import the_time
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command, print_json
from ebbtide_console.past.drills import Proof, find_proofs
from ebbtide_console.past.points import find_points

WIDTH = 1000  # a host is one line, to grep and to cut; a terminal wraps by itself

DESCRIPTION = """\
Say of each host how old its newest restore point is, and when its last drill was, of which point, and what came of it:
its verdict (docs/restore.md says what each means), its RTO, and the first of its findings. A drill of an older point
does not take the place of one of a newer point. `gone since` says that its point is there no more: that drill proves
what was, and that a restore of this host works.

  $ ebbtide drills

It reads the tags of the snapshots and the archive, with your own rights, and starts nothing. A drill that is under way
is not told of. Exit code 1 when a host was never drilled, or its last drill did not prove all that it could.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `drills`."""
    summary = "when each host's backup was proved last, how well, and how old its newest point is"
    drills = add_command(commands, "drills", summary, DESCRIPTION)
    drills.add_argument("--json", action="store_true", help='as one object: {"hosts": [...], "not_read": [...]}')
    drills.set_defaults(act=_drills)


def _drills(options: argparse.Namespace, _: Environment) -> int:
    account, now = session.the_account(), the_time()
    points, damaged = find_points(account)
    if not points:
        raise PermanentError(f"there is no restore point in {account.region}: is that the region of the backups?")
    proofs, unread = find_proofs(points, account.archive)
    faults = (*damaged, *unread)
    for fault in faults:
        print(f"ebbtide: not read: {as_line(fault)}", file=sys.stderr)
    if options.json:
        print_json({"hosts": [as_object(proof) for proof in proofs], "not_read": faults})
    else:
        show(proofs, now)
    return 0 if all(is_proved(proof) for proof in proofs) else 1


def is_proved(proof: Proof) -> bool:
    """Whether its last drill has proved all that it could, of whatever point."""
    drill = proof.drill
    return drill is not None and satisfies(drill.verdict, drill.probe, drill.findings)


def show(proofs: Iterable[Proof], now: datetime) -> None:
    """A line for each host. Whoever can write to the archive moves nobody's cursor."""
    table = Table(
        "host",
        "newest point (UTC)",
        "last drill (UTC)",
        "of the point of",
        "verdict",
        "RTO",
        "finding",
        box=None,
        pad_edge=False,
    )
    for proof in proofs:
        cells = (proof.newest.host, _aged(proof.newest.at, now), *_of_drill(proof, now))
        table.add_row(*map(as_line, cells))
    Console(width=WIDTH, markup=False, highlight=False).print(table)


def _of_drill(proof: Proof, now: datetime) -> tuple[str, ...]:
    drill = proof.drill
    if drill is None:
        return ("never", "", "", "", "`ebbtide drill` proves it")
    first = next(iter(drill.findings), "")
    of = _at(drill.point.at) + (", gone since" if proof.is_gone else "")
    return (_aged(drill.opened, now), of, drill.verdict or "none", _took(drill), first)


def as_object(proof: Proof) -> dict[str, Any]:
    drill = proof.drill
    return {
        "host": proof.newest.host,
        "id": proof.newest.host_id,
        "newest": moment_text(proof.newest.at),
        "drill": None if drill is None else {**_drill_object(drill), "gone": proof.is_gone},
        "proved": is_proved(proof),
    }


def _drill_object(drill: Recovery) -> dict[str, Any]:
    after = rto(drill)
    return {
        "recovery": str(drill.id),
        "opened": moment_text(drill.opened),
        "at": moment_text(drill.point.at),
        "verdict": drill.verdict,
        "findings": list(drill.findings),
        "rto": None if after is None else after.total_seconds(),
    }


def _took(drill: Recovery) -> str:
    after = rto(drill)
    return "" if after is None else spoken(after.total_seconds())


def _aged(moment: datetime, now: datetime) -> str:
    return f"{_at(moment)}, {spoken(max(timedelta(0), now - moment).total_seconds())} ago"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
