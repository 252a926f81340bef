"""`ebbtide find`: which versions of a file the restore points hold, and when it changed or went."""

import argparse
import json
import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from chalicelib.errors import PermanentError
from chalicelib.fields import moment_text
from ebbtide_agent.entry import KINDS, Entry, quoted
from ebbtide_agent.printable import printable
from ebbtide_agent.walk import ROOT
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command
from ebbtide_console.cli.retention import a_time
from ebbtide_console.past.pattern import Pattern, as_typed, parse_pattern
from ebbtide_console.past.points import Point, find_points, of_host
from ebbtide_console.past.search import search
from ebbtide_console.past.versions import Version

NOTHING_FOUND = 3
_FORMATS = {letter: kind for kind, letter in KINDS.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_A_DAY = len("2026-11-23")
_HEADINGS = ("host", "mode", "size", "changed (UTC)", "first point", "last point", "gone since", "path")

DESCRIPTION = """\
Say which versions of a file the restore points hold, a line each. First comes what the newest of them hold, and of that
what changed last; then what they do not hold any more.

  $ ebbtide find invoice.txt                                  that name, wherever it is, on every host
  $ ebbtide find '/etc/nginx/*' --host us0                    all below a directory
  $ ebbtide find '*.docx' --between 2026-11-01 2026-11-14     as it was in these days

PATTERN is a glob (* ? [abc] [!abc]; [*] for a star itself), in quotes for the shell to leave it alone. Without a slash
it is for the name, as with `find -name`; with one it is for the whole path from / on, as with `find -path`, and there *
goes beyond slashes. Upper and lower case differ. A path that no terminal shows as it is comes
as $'…', with \\n or \\xff for what that is. Typed like this, bash, zsh and ksh make the path of it again:

  $ ebbtide find $'*\\xff*'
  $ ebbtide get us0:$'/srv/new\\nline'

`first point` and `last point` are the restore points between which it was as the line says, and `gone since` is the
first one without it. Either of the first two can be opened, and then the host fetches the file:

  $ ebbtide open us0 --at 2026-11-22T02:12:31Z                a line's `last point`

Only lists of files are read, from the archive, and with your own rights: s3:GetObject and s3:ListBucket there, and
ec2:DescribeSnapshots. No machine is started. A million files in thirty points take some minutes, the less the fewer
points there are in between --between. Exit code 3, and not a word, when nothing matches.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `find`."""
    find = add_command(commands, "find", "which versions of a file there are, and since when it is gone", DESCRIPTION)
    find.add_argument("pattern", type=a_pattern, metavar="PATTERN", help="a name like invoice.txt, or a path")
    find.add_argument("--host", help="its name in the newest policy, or its id (default: every host)")
    find.add_argument(
        "--between",
        nargs=2,
        metavar=("FROM", "TO"),
        help="only in restore points of these days or times (UTC), both included; what was before is not looked at",
    )
    find.add_argument("--json", action="store_true", help="as one object, with the names percent-encoded as well")
    find.set_defaults(act=_find, usage_error=find.error)


def a_pattern(text: str) -> Pattern:
    """Raises ArgumentTypeError."""
    try:
        return parse_pattern(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _find(options: argparse.Namespace, _: Environment) -> int:
    between = _between(options)
    account = session.the_account()
    points, faults = find_points(account)
    _tell(faults)
    if not points:
        raise PermanentError(f"there is no restore point in {account.region}: is that the region of the backups?")
    chosen = _chosen(points, options.host, between)
    with Console(stderr=True).status("reading") as status:
        searched = search(chosen, options.pattern, account, status.update)
    _tell(searched.faults)
    found, unread = searched.versions, (*faults, *searched.faults)
    if options.json:
        print(json.dumps({"versions": [as_object(each) for each in found], "not_searched": unread}, indent=2))
    elif found:
        print("\n".join(as_lines(found)))
    if unread and not found:
        raise PermanentError("nothing matches in what could be searched, which is not all")
    return 0 if found else NOTHING_FOUND


def _tell(faults: Sequence[str]) -> None:
    for fault in faults:
        print(f"ebbtide: not searched: {fault}", file=sys.stderr)


def _between(options: argparse.Namespace) -> tuple[datetime, datetime]:
    """A day alone is all of it. What is no time, or no time between, ends here with exit code 2."""
    if not options.between:
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    first, last = options.between
    try:
        times = a_time(f"{first}T00:00:00" if len(first) == _A_DAY else first), a_time(last)
    except argparse.ArgumentTypeError as error:
        options.usage_error(f"--between: {error}")
    begins, ends = map(datetime.fromisoformat, times)
    if begins > ends:
        options.usage_error(f"--between: {first} is after {last}")
    return begins, ends


def _chosen(points: list[Point], host: str | None, between: tuple[datetime, datetime]) -> list[Point]:
    of = of_host(points, host) if host else points
    chosen = [point for point in of if _shown_at(point) >= between[0] and point.at <= between[1]]
    if not chosen:
        of_all = f"{len(of)} from {_at(min(of, key=_time))} to {_at(max(of, key=_time))}"
        raise PermanentError(f"there is no restore point to search, of {of_all}")
    return chosen


# -- what is shown ----------------------------------------------------------------------------------------------------


def as_lines(found: Sequence[Version]) -> list[str]:
    """A heading, and one line a version: columns, with the path last."""
    rows = [_HEADINGS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1])) for row in rows
    ]


def _row(version: Version) -> tuple[str, ...]:
    entry = version.entry
    target = f" -> {printable(entry.link)}" if entry.link is not None else ""
    return (
        version.first.host,
        stat.filemode(_FORMATS[entry.kind] | entry.mode),
        str(entry.size),
        _changed(entry),
        _at(version.first),
        _at(version.last),
        _at(version.gone) if version.gone else "",
        as_typed(_whole(entry)) + target,
    )


def as_object(version: Version) -> dict[str, Any]:
    entry = version.entry
    return {
        "host": version.first.host,
        "id": version.first.host_id,
        "path": printable(_whole(entry)),
        "quoted": quoted(_whole(entry)),
        "kind": entry.kind,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "link": None if entry.link is None else quoted(entry.link),
        "sha256": entry.sha256,
        "first": _point_object(version.first),
        "last": _point_object(version.last),
        "gone": version.gone and _point_object(version.gone),
    }


def _point_object(point: Point) -> dict[str, str]:
    return {"at": moment_text(point.at), "run": str(point.run), "snapshot": point.snapshot.id}


def _whole(entry: Entry) -> bytes:
    return b"/" if entry.path == ROOT else b"/" + entry.path


def _changed(entry: Entry) -> str:
    """A file may say that it was changed in any year."""
    try:
        return f"{_EPOCH + timedelta(seconds=entry.mtime_ns // 10**9):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"@{entry.mtime_ns // 10**9}"


def _at(point: Point) -> str:
    return moment_text(_shown_at(point))


def _shown_at(point: Point) -> datetime:
    """The next whole second: `ebbtide open --at` looks for the point of that time or before."""
    return (point.at + timedelta(microseconds=999_999)).replace(microsecond=0)


def _time(point: Point) -> datetime:
    return point.at
