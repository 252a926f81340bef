"""`ebbtide-agent restore`: files of a restore point back onto this host."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.commands import agreeing
from ebbtide_agent.commands.here import (
    Commands,
    Here,
    add_command,
    add_json,
    add_places,
    add_source,
    exit_code_of,
    paths_of,
)
from ebbtide_agent.host import destination, progress
from ebbtide_agent.host.back import way_back
from ebbtide_agent.host.bring import RestoreRequest, bring, check_destination, compared, protection, within
from ebbtide_agent.host.config import Config, load
from ebbtide_agent.host.connections import connections
from ebbtide_agent.host.link import World
from ebbtide_agent.host.outcome import Outcome
from ebbtide_agent.host.past import Source, check_there
from ebbtide_agent.host.restorable import NEWEST, AtHand, Restorable, choose
from ebbtide_agent.host.restore_preview import RestorePreview, preview_restore
from ebbtide_agent.host.scratch import SOCKETS, scratch
from ebbtide_agent.printable import size
from ebbtide_agent.report import COMPLETE

DESCRIPTION = """\
Bring files or directories back as they were, with owners, modes, ACLs, attributes, hard links and times:

  $ ebbtide-agent restore /etc/nginx /srv/www/shop                       the newest restore point, into a new directory
  $ ebbtide-agent restore /etc/nginx --at 2026-11-20                     the newest one of that day
  $ ebbtide-agent restore /etc/nginx --at 2026-11-20 --in-place          to where it was
  $ ebbtide-agent restore /etc/nginx --from 203.0.113.9                  from a machine that the operator has opened

It begins in ./restored-HOST-POINT.unfinished-…, keeps the whole path below it, and takes the end of that name away when
all is there; cut off, the same command again goes on in it. Of the whole ROOT what comes back lies below tree/ in it;
the directory is closed to others. With --in-place, or --into a directory that holds something, it compares contents,
shows what it would replace, change or delete of what is there, and asks; where nobody can answer it needs --yes.
Nothing that is there besides is deleted without --delete, and never what is not backed up at all. It never writes
through a symbolic link. `ebbtide-agent list` says what there is to choose from.

Without root owners, devices and set-user-id bits cannot be given back; it says so, and does the rest.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "restore", restore, "bring files of a restore point back to this host", DESCRIPTION)
    parser.add_argument("path", nargs="+", metavar="PATH", help="an absolute path of this host, as it was then")
    parser.add_argument(
        "--at",
        metavar="POINT",
        default=NEWEST,
        help="a restore point as `list` names it, or how the name of whole ones begins: a date (default: newest)",
    )
    add_source(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--into", type=Path, metavar="DIR", help="below this directory, which may hold something")
    where.add_argument("--in-place", action="store_true", help="to where they were; asks before anything there changes")
    parser.add_argument(
        "--delete", action="store_true", help="also delete what is there and was not then; shown and asked first"
    )
    parser.add_argument("--yes", action="store_true", help="change what is there without being asked")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument(
        "--progress",
        choices=["auto", "lines", "none"],
        default="auto",
        help="auto: a bar on a terminal (default: auto)",
    )
    add_json(parser)
    add_places(parser)
    parser.set_defaults(usage_error=parser.error)


def restore(options: argparse.Namespace, here: Here) -> int:
    procs.stop_on(signal.SIGTERM, signal.SIGHUP)
    paths = paths_of(options)
    config = load(paths)
    wanted = _wanted(options, config)
    terminal = agreeing.Terminal(_say, sys.stdin.isatty() and sys.stderr.isatty())
    world = World.around(here.clock, _say)
    # A place of their own: a night that is under way has its connections where the others are.
    with scratch(paths) as place, connections(place / SOCKETS, _say) as sockets:
        way = way_back(config, paths, world, options.source, sockets)
        at_hand = way.at_hand()
        point = choose(at_hand, options.at)
        _say(f"restore point {point}")
        with way.reached(point) as route:
            source = Source(config.rsync, route, _until(config, at_hand, world.waiting()), world, config.root)
            check_there(source, wanted, point.name)
            return _restore(options, config, source, point, wanted, terminal)


def _restore(
    options: argparse.Namespace,
    config: Config,
    source: Source,
    point: Restorable,
    paths: tuple[bytes, ...],
    terminal: agreeing.Terminal,
) -> int:
    into = destination.of(config, point, paths, options.into, options.in_place)
    as_root = os.geteuid() == 0
    is_new = not (options.in_place or options.into)
    request = compared(
        RestoreRequest(paths, into, as_root, protection(config) if options.delete else None, is_own=is_new)
    )
    check_destination(request)
    if not as_root:
        terminal.say("not root: owners, groups, device files and set-user-id bits are not given back")
    if request.by_content:
        terminal.say("comparing contents: what is asked for is read, here and in the backup")
    preview = None
    if not is_new or options.dry_run:
        preview = preview_restore(source, request)
        agreeing.show(preview, into, terminal)
        if options.dry_run:
            _print(options, _as_object(point, into, preview))
            return 0
        if not options.yes:
            agreeing.ask(preview, terminal)
    destination.make(into, is_new)
    with progress.shown_on(sys.stderr, progress.how_to_show(options.progress, sys.stderr)) as show:
        outcome = bring(source, request, progress.Reader(show).feed)
    for problem in outcome.problems:
        terminal.say(problem)
    if is_new and outcome.status == COMPLETE:
        into = destination.finished(into)
    counts = f"{outcome.counts.files} files, {size(outcome.counts.bytes_total)}"
    terminal.say(f"{outcome.status}: {counts} of {point}{'' if point.is_whole else ','} are in {into}")
    _print(options, _as_object(point, into, preview, outcome))
    return exit_code_of(outcome.status)


def _print(options: argparse.Namespace, told: dict[str, object]) -> None:
    if options.json:
        print(json.dumps(told, indent=2))


def _as_object(
    point: Restorable, into: Path, preview: RestorePreview | None, outcome: Outcome | None = None
) -> dict[str, object]:
    return {
        "done": outcome is not None,
        "point": point.name,
        "run": point.run,
        "into": str(into),
        "changes": preview and agreeing.as_objects(preview, into),
        "added": preview and preview.added,
        "status": outcome and outcome.status,
        "files": outcome and outcome.counts.files,
        "bytes_total": outcome and outcome.counts.bytes_total,
        "problems": outcome.problems if outcome else (),
    }


def _wanted(options: argparse.Namespace, config: Config) -> tuple[bytes, ...]:
    """The command line that cannot be meant ends here, with exit code 2."""
    if options.delete and not (options.in_place or options.into):
        options.usage_error("--delete goes with --in-place or --into")
    try:
        return within(config.root, map(os.fsencode, options.path))
    except ValueError as error:
        return tuple(options.usage_error(str(error)))


def _until(config: Config, at_hand: AtHand, now: datetime) -> datetime:
    """As long as a night would try; not beyond the time at which nobody can be there any more."""
    patience = now + timedelta(seconds=config.wait_seconds)
    closes = at_hand.until if at_hand.left is None else now + at_hand.left
    return min(patience, closes) if closes else patience


def _say(line: str) -> None:
    print(f"ebbtide: {line}", file=sys.stderr, flush=True)
