"""`ebbtide-agent status`: how this host stands."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import datetime, timedelta

from ebbtide_agent import moments
from ebbtide_agent.commands.here import Commands, Here, add_command, add_places, exit_code_of, paths_of
from ebbtide_agent.host import schedule
from ebbtide_agent.host.identity import Installed
from ebbtide_agent.host.long_push import LongPush
from ebbtide_agent.host.standing import LONG_AGO, IndexStanding, Standing, standing_of
from ebbtide_agent.printable import printable, size
from ebbtide_agent.report import WARNING, Report, encode_report

DESCRIPTION = """\
Say how the last night ended, what the index knows, and when everything is compared again. A first push that takes more
than one night shows how far it is, and the night it will be done.

The exit code is that of the last night. It is 1 as well if a later run left no report, because it was refused, failed
before it could or was killed, and if the last night ended more than 36 hours ago.
"""
# There is no last night that could be called good.
NONE = 1

_ENDED_EARLY = "it was refused, failed before it could, or was stopped (journalctl -t ebbtide-agent)"
_AN_HOUR = timedelta(hours=1)


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "status", status, "say how this host stands", DESCRIPTION)
    add_places(parser)
    parser.add_argument("--json", action="store_true", help="as one object")


def status(options: argparse.Namespace, here: Here) -> int:
    standing, now = standing_of(paths_of(options)), here.clock()
    if options.json:
        print(json.dumps(as_object(standing, now), indent=2))
    else:
        print("\n".join(f"{name:<12} {text}" for name, text in as_lines(standing, now)))
    return _exit_code(standing, now)


def _exit_code(standing: Standing, now: datetime) -> int:
    if standing.last is None or standing.unreported:
        return NONE
    return exit_code_of(standing.last.status) or (NONE if standing.is_overdue(now) else 0)


def as_lines(standing: Standing, now: datetime) -> Iterator[tuple[str, str]]:
    """Each with what it is about."""
    if standing.under_way:
        yield "under way", f"a backup, process {standing.under_way}"
    if standing.cut_short:
        yield "cut short", f"the run of {standing.cut_short}: it was stopped or killed, or the machine went down"
    elif standing.unreported:
        yield "no report", f"of the run that began {moments.write(standing.unreported)}: {_ENDED_EARLY}"
    if standing.is_overdue(now):
        yield "overdue", f"no night has ended for {LONG_AGO // _AN_HOUR} hours: ebbtide-agent check says what starts it"
    if standing.last:
        yield from _of_the_night("reported" if standing.unreported else "last night", standing.last, now)
    else:
        yield "last night", "none was reported yet"
    if standing.long_push:
        yield "first push", _of_the_push(standing.long_push)
    if standing.installed:
        yield "nights", _of_the_nights(standing.installed)
    if standing.index:
        yield from _of_the_index(standing.index, now)
    else:
        yield "index", "none; the next push compares everything, contents too"


def _of_the_night(name: str, last: Report, now: datetime) -> Iterator[tuple[str, str]]:
    took = last.finished - last.started
    yield name, f"{last.status}, run {last.run}"
    yield "ended", f"{moments.write(last.finished)}, {_ago(now - last.finished)}, after {took}"
    yield "files", f"{last.files}, {size(last.bytes_total)} in all; {size(last.bytes_sent)} sent"
    for problem in last.problems:
        yield "problem", printable(problem.encode("utf-8", "surrogateescape"))
    for each in last.health:
        if each.state == WARNING:
            yield "disk warning", f"{each.what}: {each.said}"
    if last.receiver is None and last.nonce:
        yield "recorded", "no: the receiver did not answer to the report"


def _of_the_push(push: LongPush) -> str:
    nights = f"{push.nights} night{'s' if push.nights > 1 else ''}"
    so_far = f"{push.percent} % after {nights} ({size(push.sent)} of {size(push.total)})"
    return f"{so_far}; done on {push.done_by}, if nights go on like this" if push.done_by else so_far


def _of_the_nights(installed: Installed) -> str:
    if installed.minute is None:
        return "as an earlier agent has scheduled them; ebbtide-agent install brings that up to date"
    return f"begin at {schedule.clock(installed.minute)} by this host's clock, in the window {installed.window}"


def _of_the_index(index: IndexStanding, now: datetime) -> Iterator[tuple[str, str]]:
    header = index.header
    yield "index", f"{header.entries} entries, kept {moments.write(index.kept)}, {_ago(now - index.kept)}"
    yield "generation", str(header.generation)
    yield "compared", f"everything, {moments.write(header.full)}; again from {moments.write(index.full_by)} on"


def _ago(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} minutes ago"
    hours = minutes // 60
    return f"{hours // 24} days ago" if hours >= 48 else f"{hours} hours ago"


def as_object(standing: Standing, now: datetime) -> dict[str, object]:
    index, push, installed = standing.index, standing.long_push, standing.installed
    return {
        "under_way": standing.under_way,
        "cut_short": standing.cut_short,
        "unreported": standing.unreported and moments.write(standing.unreported),
        "overdue": standing.is_overdue(now),
        "last": json.loads(encode_report(standing.last)) if standing.last else None,
        "first_push": push
        and {
            "percent": push.percent,
            "nights": push.nights,
            "bytes_sent": push.sent,
            "bytes_total": push.total,
            "done_by": push.done_by and push.done_by.isoformat(),
        },
        "nights": installed and {"minute": installed.minute, "window": installed.window},
        "index": index
        and {
            "entries": index.header.entries,
            "generation": index.header.generation,
            "kept": moments.write(index.kept),
            "full": moments.write(index.header.full),
            "full_by": moments.write(index.full_by),
        },
    }
