"""`ebbtide restore`: a server that is back on an instance of its own, and where to log in to it."""

import argparse
from collections.abc import Iterator
from textwrap import wrap

from chalicelib.core.verdicts import FAILED
from ebbtide_agent.restore.boot_image import MASKED, MASKED_WHERE_IT_STANDS
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command
from ebbtide_console.cli.openings import Standing, check_is_not_over, said, watched
from ebbtide_console.cli.retention import a_time

DESCRIPTION = """\
Bring a server back: a machine of its own with the point's tree on it, booted with its own init, for seven days.

  $ ebbtide restore us0 --port 80 --port 443
  $ ebbtide restore us0 --at 2026-11-21 --allow 203.0.113.7/32

Whoever could log in to the server then can do so here, by ssh at the address that is told when it is up: same users,
same keys, same host keys. Port 22 is open, and the ports that are named, to the networks of the receiver's `allow`, or
to those that are named. Cron, timers, mail servers and its backup are not started; what another unit wants by itself
still runs. Its tree stays as it was restored: what it writes lies beside it, on the same volume.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `restore`."""
    restore = add_command(commands, "restore", "bring a whole server back, and say where to log in to it", DESCRIPTION)
    restore.add_argument("host", help="the host's name in the policy, for instance us0, or its id")
    restore.add_argument("--at", type=a_time, metavar="TIME", help="its point of this time or day (UTC), or before")
    restore.add_argument("--port", type=int, action="append", default=[], help="let in to this TCP port as well")
    restore.add_argument("--allow", action="append", default=[], metavar="NETWORK", help="let in only from there")
    restore.add_argument("--name", help="what it calls itself (default: restored- and its id)")
    restore.add_argument("--is-meant", action="store_true", help="it may take a name that is in production")
    restore.add_argument("--no-wait", action="store_true", help="do not wait until it is up")
    restore.set_defaults(act=_restore)


def _restore(options: argparse.Namespace, _: Environment) -> int:
    payload = {
        "schema": 1,
        "host": options.host,
        "at": options.at,
        "name": options.name,
        "is_meant": options.is_meant,
        "ports": options.port,
        "allow": options.allow or None,
    }
    standing: Standing = session.invoke("restore", payload)
    print(f"restoring {standing['recovery']}: {standing['host']} as it was at {said(standing['at'])}")
    if not options.no_wait:
        standing = watched(standing["recovery"], lambda now: now["verdict"] is not None)
    for line in _where(standing):
        print(line)
    return 1 if standing["verdict"] == FAILED else 0


def _where(standing: Standing) -> Iterator[str]:
    """Once it is known; and how to be rid of it."""
    check_is_not_over(standing)
    yield from standing["findings"]
    yield from standing["waiting"] or ["the same command again says where to log in to it"]
    if standing["verdict"] is not None:
        yield "its fstab mounts nothing there, and these do not start (docs/restore.md says how one does all the same):"
        yield from _listed(*MASKED, *MASKED_WHERE_IT_STANDS)
    yield f"`ebbtide close {standing['recovery']}` takes it down before {said(standing['until'])}"


def _listed(*names: str) -> Iterator[str]:
    yield from wrap(", ".join(names), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
