"""`ebbtide drill`: a host's newest point proved by restoring it, and what came of that."""

import argparse

from chalicelib.core.verdicts import satisfies
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command, add_json, print_json, told_beside
from ebbtide_console.cli.openings import Standing, is_over, said, times_told, watched

DESCRIPTION = """\
Prove a host's newest restore point: restored, compared with its manifest, booted, its service asked, taken down again.

  $ ebbtide drill us0

It takes minutes, and ends with its verdict and every difference that was found; docs/restore.md says what each means.
Exit code 1 when it is not identical, when it did not answer the policy's `probe`, or when that point is older than the
host's `alarm_after` allows: when it is told as `drill failed`. With --no-wait: 0 once it is asked for.

With --json standard output has one object when it ends: recovery, host, at, state, verdict, findings, and rto, rpo and
each of its steps in seconds, as the function `recover` answers; with --no-wait its id alone.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `drill`."""
    summary = "restore a host's newest point, compare it, boot it, take it down, and say what came of it"
    drill = add_command(commands, "drill", summary, DESCRIPTION)
    drill.add_argument("host", help="the host's name in the policy, for instance us0, or its id")
    drill.add_argument("--no-wait", action="store_true", help="do not wait for its end; who is told of alarms is told")
    add_json(drill)
    drill.set_defaults(act=_drill)


def _drill(options: argparse.Namespace, _: Environment) -> int:
    with told_beside(options.json):
        begun = session.invoke("drill", {"schema": 1, "host": options.host})
        print(f"drilling {begun['recovery']}")
        ended = begun if options.no_wait else _ended(begun["recovery"])
    if options.json:
        print_json(ended)
    return 0 if options.no_wait or satisfies(ended["verdict"], ended["probe"], ended["findings"]) else 1


def _ended(recovery: str) -> Standing:
    """Once everything is taken down; and what came of it, told."""
    over = watched(recovery, is_over)
    for finding in over["findings"]:
        print(f"  {finding}")
    print(f"{over['host']} as it was at {said(over['at'])}: {over['verdict']}")
    for line in times_told(over):
        print(f"  {line}")
    return over
