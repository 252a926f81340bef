"""`ebbtide restore`: a server that is back on an instance of its own, and where to log in to it."""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import wrap

from chalicelib.core.restored import LONGEST, USUAL
from chalicelib.core.verdicts import DIFFERENT, is_all_there_is_to_prove, is_down
from ebbtide_agent.restore.masked import MASKED, MASKED_WHERE_IT_STANDS
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command, add_json, print_json, told_beside
from ebbtide_console.cli.openings import (
    Standing,
    check_is_not_over,
    is_over,
    look,
    said,
    some_minutes,
    times_told,
    watched,
)
from ebbtide_console.cli.retention import a_time

DESCRIPTION = """\
Bring a server back: a machine of its own with the point's tree on it, for seven days. It boots with its own init, if
that is systemd or sysvinit, and else by the commands that the policy has for it (`start`).

  $ ebbtide restore us0 --port 80 --port 443
  $ ebbtide restore us0 --at 2026-11-21 --allow 203.0.113.7/32
  $ ebbtide restore us0 --at main/2026-11-21/1             the point of that run; or of a snapshot, snap-…
  $ ebbtide restore us0 --for 14d                          of one that stands: for 14 days from now on

Whoever could log in to the server then can do so here, by ssh at the address that is told when it is up: same users,
same keys, same host keys. Port 22 is open, and the ports that are named, to the networks of the receiver's `allow`, or
to those that are named. Cron, timers, mail servers and its backup are not started, nothing is mounted, and no mail
leaves it. Its tree stays as it was restored: what it writes lies beside it, on the same volume.

At its end it goes, with what was written there, which is in no backup: the policy's alarm says so two days before.

It answers before it is compared with its backup, and is told as soon as it does, or that it has not come up, and why.
The command goes on waiting for what the comparison says; to interrupt it then changes nothing. Exit code 0: it runs,
is what was backed up, and has answered if the policy has a `probe` for it. Exit code 1: anything else, and the findings
say what. It stands all the same, if it has not failed. With --no-wait: 0 as well while nothing speaks against it.

With --json standard output has one object when it ends: recovery, host, at, state, verdict, findings, until, waiting
(where to log in, in words), address, runs (whether it does, now), zone, and rto, rpo and each of its steps in seconds,
as the function `recover` answers. While its verdict is not known it has the step that it is at, too, and since when.
"""
_COMPARING = """\
it is being compared with its backup now, beside whatever it does there: that takes as long as to read all of it.
Ctrl-C ends only this waiting. If it is not what was backed up, the policy's alarm says so too."""

_DIFFERENT_THERE = (
    "what is different there, beside its tree and not in it (docs/restore.md says how to have it all the same):",
    "  /etc/fstab is empty, /etc/hostname has its new name, /etc/resolv.conf is its machine's;",
    "  no timer of its units or of its users' starts;",
    "  nothing that they mount is mounted, but for the kernel's own file systems and memory;",
    "  no mail leaves it (TCP 25, 465, 587);",
    "  and these do not start, nor what of sysvinit's is called like them:",
)


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `restore`."""
    restore = add_command(commands, "restore", "bring a whole server back, and say where to log in to it", DESCRIPTION)
    restore.add_argument("host", help="the host's name in the policy, for instance us0, or its id")
    restore.add_argument(
        "--at",
        type=a_point_or_time,
        metavar="TIME|POINT",
        help="its point of this time or day (UTC), or before; or the one of this snapshot or run (default: the newest)",
    )
    restore.add_argument(
        "--port",
        type=int,
        action="append",
        default=[],
        help="let in to this TCP port as well as to 22; again for each further one",
    )
    restore.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="let in only from there, instead of the networks of the receiver; again for each further one",
    )
    restore.add_argument("--name", help="what it calls itself (default: restored- and its id)")
    restore.add_argument("--is-meant", action="store_true", help="it may take a name that is in production")
    lasts = restore.add_argument(
        "--for",
        type=_some_days,
        metavar="TIME",
        help="how long it stands from now on, 7d to 28d (default: 7d); one that stands never ends the sooner for it",
    )
    lasts.dest = "minutes"
    restore.add_argument(
        "--no-wait", action="store_true", help="do not wait until it answers, nor until it is compared"
    )
    add_json(restore)
    restore.set_defaults(act=_restore)


def a_point_or_time(text: str) -> str:
    """A restore point by its snapshot or its run, as it is; else a time. Raises ArgumentTypeError."""
    return text if text.startswith("snap-") or "/" in text else a_time(text)


def _some_days(text: str) -> int:
    """In minutes. Raises ArgumentTypeError."""
    return some_minutes(text, USUAL, LONGEST)


def _restore(options: argparse.Namespace, _: Environment) -> int:
    payload = {
        "schema": 1,
        "host": options.host,
        "at": options.at,
        "name": options.name,
        "is_meant": options.is_meant,
        "minutes": options.minutes,
        "ports": options.port,
        "allow": options.allow or None,
    }
    with told_beside(options.json):
        standing: Standing = session.invoke("restore", payload)
        print(f"{_begun_or_there(standing)}: {standing['host']} as it was at {said(standing['at'])}")
        if options.minutes:
            print(f"it stands until {said(standing['until'])}: its machine lives no longer than {LONGEST.days} days")
        if options.no_wait:
            # Only who looks after it knows where it stands by now.
            standing = look(standing["recovery"])[0] or standing
            _print(_where(standing))
        else:
            _print(f"  {finding}" for finding in standing["findings"])
            with _told_to_go_on(standing["recovery"]):
                standing = _once_back(standing["recovery"])
                if standing["verdict"] is None:
                    standing = _once_compared(standing)
    if options.json:
        print_json(standing)
    check_is_not_over(standing)
    return 0 if _is_as_it_should_be(standing) else 1


def _begun_or_there(standing: Standing) -> str:
    return f"{standing['recovery']} stands already" if _is_there(standing) else f"restoring {standing['recovery']}"


def _is_there(standing: Standing) -> bool:
    """It has come up, or it is known why not."""
    return standing["address"] is not None or standing["verdict"] is not None or is_down(standing["findings"])


@contextmanager
def _told_to_go_on(recovery: str) -> Iterator[None]:
    """Whoever interrupts the block learns what that has not ended."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"{recovery} goes on: the same command waits for it again, `ebbtide close {recovery}` ends it")
        raise


def _is_as_it_should_be(standing: Standing) -> bool:
    """It runs and is what was backed up, as far as that can be told; or, for whoever does not wait, it is under way."""
    if standing["verdict"] is None:
        return not is_down(standing["findings"])
    return bool(standing["runs"]) and is_all_there_is_to_prove(standing["verdict"], standing["probe"])


def _once_back(recovery: str) -> Standing:
    """Once it is there: then there is a verdict already, or will be."""
    standing = watched(recovery, _is_there)
    _print(_where(standing))
    return standing


def _once_compared(standing: Standing) -> Standing:
    print(_COMPARING)
    standing = watched(standing["recovery"], lambda now: now["verdict"] is not None, standing["waiting"])
    _print(_how_it_stands(standing))
    return standing


def _where(standing: Standing) -> Iterator[str]:
    """Once it is known; and how to be rid of it. Nothing of one that is over."""
    if is_over(standing):
        return
    yield from _how_it_stands(standing)
    if not standing["waiting"]:
        yield "the same command again says where to log in to it; if it fails, the policy's alarm says so"
    if standing["runs"]:
        yield from _DIFFERENT_THERE
        yield from _listed(*MASKED, *MASKED_WHERE_IT_STANDS)
    yield f"`ebbtide close {standing['recovery']}` takes it down before {said(standing['until'])}"


def _how_it_stands(standing: Standing) -> Iterator[str]:
    if is_over(standing):
        return
    if standing["runs"] is False and _is_there(standing):
        yield f"{standing['host']} {'HAS NOT COME UP' if standing['address'] is None else 'IS OFF'}:"
    if standing["verdict"] == DIFFERENT:
        yield f"{standing['host']} IS NOT WHAT WAS BACKED UP:"
    yield from standing["findings"]
    yield from standing["waiting"]
    yield from (f"  {line}" for line in times_told(standing))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _listed(*names: str) -> Iterator[str]:
    yield from wrap(", ".join(names), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
