"""`ebbtide-agent run`: one night of this host."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.commands import preview
from ebbtide_agent.commands.here import Commands, Here, add_command, add_places, exit_code_of, paths_of
from ebbtide_agent.host import catching_up, link, night, progress
from ebbtide_agent.host.config_keys import DEFAULTS, KEYS
from ebbtide_agent.host.due import BETWEEN_LOOKS
from ebbtide_agent.report import COMPLETE, WARNING, WITH_WARNINGS, Report, encode_report
from ebbtide_agent.syslog import Log, open_log, telling

_DESCRIPTION = """\
Back this host up, once: run /etc/backupscripts in order, say hello to the receiver, push with rsync, report.
`ebbtide-agent install` has it started every night, in the receiver's window.

Where nobody looks on it says nothing, unless something is wrong; so cron writes a mail only then.

It reads four files, and never executes what is in the first three:

  /etc/backup_config     one KEY=value a line: HOST=us0, TARGET=receiver://backup.example.org, KEEP=7, and what is below
  /etc/backup_include    what is backed up, one place such as /etc or /srv/*/data a line; without any, everything
  /etc/backup_exclude    rsync patterns, one a line, that do not travel
  /etc/backupscripts/    executables [0-9][0-9]*, run first, each with EBBTIDE_RUN, EBBTIDE_HOST and EBBTIDE_DUMPS, a
                         directory for what is to travel; when one fails the rest is pushed, and the night is partial,
                         or complete with a warning if a line at its top says "# ebbtide: optional"

TARGET may also be

  /backup                               a directory of this host, where KEEP snapshots of it stay
  ssh://user@host[:port]/path           a machine that needs no more than rsync
  volume://ID@vol-0abc/region/archive   of an EC2 host, an EBS volume of its own

and /etc/backup_config may also say, by default

{keys}

With --dry-run it shows what would be pushed and deleted now, and does nothing of it.

What changed since the last complete push is found by an index below --state. Once a week rsync compares everything, by
size and time; without the index it compares contents, too. To have that done tonight, delete /var/lib/ebbtide/index.
"""

_LONGEST = max(len(f"{key}={default}") for key, default in DEFAULTS.items())
DESCRIPTION = _DESCRIPTION.format(
    keys="\n".join(
        f"  {f'{key.name}={key.default}':{_LONGEST}}   {key.meaning}" for key in KEYS if key.name in DEFAULTS
    )
)

LOOK_EVERY_SECONDS = BETWEEN_LOOKS.total_seconds()
NONE_DUE = "no backup was begun: none is due, or one is under way; ebbtide-agent run begins one whatever is due"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "run", run, "back this host up, once", DESCRIPTION)
    add_places(parser)
    parser.add_argument(
        "--progress",
        choices=["auto", "lines", "none"],
        default="auto",
        help="auto: a bar on a terminal, and elsewhere none: say nothing but what is wrong (default: auto)",
    )
    parser.add_argument(
        "--catch-up",
        action="store_true",
        help="only if a night is due that no run has begun yet; say and do nothing otherwise",
    )
    parser.add_argument(
        "--accept-shrink",
        action="store_true",
        help="this once: that much of the tree is gone, or a file system not mounted, is meant; delete it over there",
    )
    parser.add_argument(
        "--accept-rewrite", action="store_true", help="this once: that most files are gone or rewritten is meant"
    )
    parser.add_argument(
        "--log",
        type=Path,
        default=Path("/dev/log"),
        metavar="SOCKET",
        help="where syslog or journald is told of the night (default: /dev/log, if it is there)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be pushed and deleted now; say hello to nobody"
    )
    parser.add_argument(
        "--json", action="store_true", help="the report (or the dry run) on standard output, all else on standard error"
    )


def run(options: argparse.Namespace, here: Here) -> int:
    if options.dry_run:
        return preview.show(paths_of(options), here, options.json)
    screen = sys.stderr if options.json else sys.stdout
    how = progress.how_to_show(options.progress, screen)

    def say(line: str) -> None:
        if how != "none":
            print(f"ebbtide: {line}", file=screen, flush=True)

    if options.catch_up and not _is_due(options, here):
        return 0
    procs.stop_on(signal.SIGTERM, signal.SIGHUP)
    log = open_log(options.log)
    with telling(log, "backup"), _looked_at(options, here), progress.shown_on(screen, how) as show:
        report = night.run(
            night.Night(
                paths_of(options),
                link.World.around(here.clock, say),
                here.environment,
                show,
                gives_way=True,
                accept_shrink=options.accept_shrink,
                accept_rewrite=options.accept_rewrite,
            )
        )
    _log(log, report)
    say(f"{report.status}: {report.files} files, {report.bytes_sent} bytes sent, run {report.run}")
    if options.json:
        print(encode_report(report).decode(), end="")
    for line in _to_be_told(report, briefly=how == "none"):
        print(f"ebbtide: {line}", file=sys.stderr)
    return exit_code_of(report.status)


def _is_due(options: argparse.Namespace, here: Here) -> bool:
    decision = catching_up.decide(paths_of(options), here.clock())
    if decision.told:
        _tell(options, decision.told)
    elif not decision.is_due and _by_systemctl(here.environment):
        open_log(options.log)(logging.INFO, NONE_DUE)
    return decision.is_due


@contextlib.contextmanager
def _looked_at(options: argparse.Namespace, here: Here) -> Iterator[None]:
    """Look each hour whether this run goes on and on: cron starts who does meanwhile, and systemd starts nobody."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_EVERY_SECONDS):
            if told := catching_up.find_long_under_way(paths_of(options), here.clock()):
                _tell(options, told)

    if _by_systemd(here.environment):
        threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _tell(options: argparse.Namespace, line: str) -> None:
    open_log(options.log)(logging.ERROR, line)
    print(f"ebbtide: {line}", file=sys.stderr)


def _by_systemd(environment: Mapping[str, str]) -> bool:
    return "INVOCATION_ID" in environment


def _by_systemctl(environment: Mapping[str, str]) -> bool:
    """True of what systemd runs and no timer triggered. One older than 252 does not tell the two apart."""
    return _by_systemd(environment) and "TRIGGER_UNIT" not in environment


def _log(log: Log, report: Report) -> None:
    took = (report.finished - report.started).total_seconds()
    level = {COMPLETE: logging.INFO, WITH_WARNINGS: logging.WARNING}.get(report.status, logging.ERROR)
    counts = f"{report.files} files, {report.bytes_sent} bytes sent, {took:.0f} s"
    log(level, f"backup ended: {report.status}, {counts}, run {report.run}")
    for problem in (*report.problems, *warnings_of(report)):
        log(logging.WARNING, problem)


def _to_be_told(report: Report, briefly: bool) -> tuple[str, ...]:
    """All that is wrong; where nobody looks on, of a night that is a restore point all the same one line at most."""
    told = (*report.problems, *warnings_of(report))
    if not (briefly and report.is_complete and len(told) > 1):
        return told
    return (f"{report.status}: {told[0]}; and {len(told) - 1} more, which ebbtide-agent status tells",)


def warnings_of(report: Report) -> tuple[str, ...]:
    """What the host's disks warn of: no part of the night, and not to be overlooked."""
    return tuple(f"disk warning: {each.what}: {each.said}" for each in report.health if each.state == WARNING)
