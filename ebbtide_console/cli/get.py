"""`ebbtide get`: a file, or a directory as a tar, out of a restore point and to the operator."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from chalicelib import wire
from chalicelib.core.ids import parse_recovery
from chalicelib.core.opening import USUAL
from chalicelib.errors import ConfigError, PermanentError, Refused
from chalicelib.wiring import the_time
from ebbtide_agent.entry import Entry
from ebbtide_agent.points import Point as Served
from ebbtide_agent.printable import printable, size
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command
from ebbtide_console.cli.openings import Standing, begun, once_open
from ebbtide_console.cli.retention import a_time
from ebbtide_console.past.fetch import Gate, fetch, mode_of, prove, served_at
from ebbtide_console.past.pattern import Below
from ebbtide_console.past.points import Point, find_points, find_reported
from ebbtide_console.past.search import read_entries
from ebbtide_console.past.tar import write_tar

_A_MINUTE = 60
SSH_PORT, LOGIN = 22, "root"

DESCRIPTION = """\
Fetch one file, or a directory as a tar, out of a host's restore point to here: for when the host is not there to do it.

  $ ebbtide get us0:/srv/invoice.txt                                   the newest point, to ./invoice.txt
  $ ebbtide get us0:/srv/invoice.txt --at 2026-11-21 --to old.txt      the newest of that day or before
  $ ebbtide get us0:/etc/nginx --at 2026-11-21T02:12:28Z               a directory: ./nginx.tar

It opens the point (ebbtide open), fetches by rsync over ssh, compares everything with the manifest that the archive has
had since that night, and closes the point again. Nothing that is there is written over. A file has its mode and time,
and its owner if you are root; a tar has all of it whoever you are: owners, modes, times, attributes, links, devices,
and no zeros for the holes of a file (as GNU tar writes them).

Your key has to be among restore.readers of the policy in force, and your network among those of the receiver's `allow`.
"""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `get`."""
    get = add_command(commands, "get", "fetch a file or a directory out of a restore point to here", DESCRIPTION)
    get.add_argument(
        "what",
        type=a_place,
        metavar="HOST:/PATH",
        help="the host's name in the policy, and a path as `find` shows it ($'…' for the shell)",
    )
    get.add_argument(
        "--at",
        type=a_time,
        metavar="POINT",
        help="its point of this time or day (UTC), or before (default: the newest)",
    )
    get.add_argument("--to", type=Path, metavar="FILE", help="where to, a file that is not there yet (default: here)")
    get.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        default=Path("~/.ssh/id_ed25519"),
        help="your ssh key (default: %(default)s)",
    )
    get.set_defaults(act=_get)


def a_place(text: str) -> tuple[str, bytes]:
    """A host, and a path as its tree has it. Raises ArgumentTypeError."""
    host, colon, path = text.partition(":")
    tidy = os.path.normpath(os.fsencode(path)).lstrip(b"/")
    if not (host and colon and path.startswith("/") and tidy) or ".." in path.split("/"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a host and an absolute path of it, like us0:/etc/fstab")
    return host, tidy


def _get(options: argparse.Namespace, _: Environment) -> int:
    host, path = options.what
    key = options.key.expanduser()
    if not key.exists():
        raise ConfigError((f"there is no ssh key {key}: name yours with --key",))
    _check_place(path, options.to)
    opening = begun(host, options.at, int(USUAL.total_seconds()) // _A_MINUTE)
    try:
        print(_fetched(once_open(opening), path, options.to, key))
    finally:
        if opening["is_new"]:
            session.invoke("close_host", {"schema": 1, "of": opening["recovery"]})
    return 0


def _fetched(standing: Standing, path: bytes, to: Path | None, key: Path) -> str:
    """What is there then, as a line for the screen."""
    account = session.the_account()
    beside = to.absolute().parent if to else Path.cwd()
    with tempfile.TemporaryDirectory(prefix=".ebbtide-get-", dir=beside) as scratch:
        login = _gate(standing, key, account).login(Path(scratch))
        point = served_at(login)
        expected = _expected(standing, point, path, account)
        into = Path(scratch, "tree")
        into.mkdir(mode=0o700)
        came = fetch(login, point, path, into, datetime.fromisoformat(standing["until"]), the_time)
        prove(expected, into, path)
        name, name_of_tar = _usual_names(path)
        if expected[0].kind != "d":
            target = to or beside / name
            if expected[0].kind != "l":
                came.chmod(mode_of(expected[0]))
            put(came, target)
            return f"{_shown(target)}: {size(expected[0].size)}, {_proof(expected)}"
        target, made = to or beside / name_of_tar, Path(scratch, "tar")
        with made.open("xb") as file:
            sockets = write_tar(expected, into, file)
        put(made, target)
        left_out = f", {sockets} sockets left out" if sockets else ""
        return f"{_shown(target)}: {len(expected)} entries, {_proof(expected)}{left_out}"


def _gate(standing: Standing, key: Path, account: session.Account) -> Gate:
    """The machine by its own word in the archive: nobody but machines of ours writes there."""
    opened = account.archive.get(wire.recovery_opened_key(parse_recovery(standing["recovery"])))
    host_key = wire.parse_opened(opened)
    if host_key is None:
        raise PermanentError("the machine does not tell its host key: put the current agent into the archive")
    return Gate(standing["address"], SSH_PORT, host_key, LOGIN, key)


def _expected(standing: Standing, served: Served, path: bytes, account: session.Account) -> tuple[Entry, ...]:
    """What the manifest says of the path; nothing when it was not there. Raises PermanentError without a manifest."""
    host_id = parse_recovery(standing["recovery"]).host_id
    points: list[Point] = find_points(account)[0]
    point = next((each for each in points if (each.host_id, str(each.run)) == (host_id, served.run)), None)
    manifest = find_reported(point, account).manifest if point else None
    if point is None or manifest is None:
        raise PermanentError(f"{served.run} has no manifest: there is nothing to compare with, so nothing is fetched")
    return read_entries(point, manifest, Below(path), account)


def _check_place(path: bytes, to: Path | None) -> None:
    """Before a machine is started. Whether the path is a directory is not known yet: neither name may be taken."""
    beside = to.parent if to else Path.cwd()
    if not beside.is_dir():
        raise ConfigError((f"--to: there is no directory {_shown(beside)}: make it, or say another",))
    if to:
        _check_free(to)
        return
    for name in _usual_names(path):
        _check_free(beside / name)


def _usual_names(path: bytes) -> tuple[str, str]:
    """What a file is called here, and a directory's tar."""
    name = os.fsdecode(path.rpartition(b"/")[2])
    return name, f"{name}.tar"


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise _taken(target)


def _taken(target: Path) -> Refused:
    return Refused(f"{_shown(target)} is there already, and nothing is written over: say another with --to")


def put(made: Path, target: Path) -> None:
    """Under its name, unless there is one by now. Where a file system has no hard links the name is taken first."""
    try:
        _name(made, target)
    except FileExistsError:
        raise _taken(target) from None


def _name(made: Path, target: Path) -> None:
    """Raises FileExistsError."""
    try:
        os.link(made, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        target.touch(exist_ok=False)
        made.replace(target)


def _proof(expected: Sequence[Entry]) -> str:
    unhashed = sum(entry.kind == "f" and entry.sha256 is None for entry in expected)
    return "as backed up" + (f", but for the content of {unhashed}, of which no hash was taken" if unhashed else "")


def _shown(path: Path) -> str:
    return printable(os.fsencode(path))
