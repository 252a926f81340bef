"""`ebbtide open` and `ebbtide close`: a restore point that stands read-only for its host, until its time is over."""

import argparse
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from chalicelib.core.model import RecoveryState
from chalicelib.core.opening import LONGEST, SHORTEST, USUAL
from chalicelib.core.recovery_times import told
from chalicelib.core.verdicts import FAILED, OPENED, is_down
from chalicelib.errors import PermanentError
from chalicelib.wiring import the_time
from ebbtide_console import session
from ebbtide_console.cli.command import Commands, Environment, add_command
from ebbtide_console.cli.retention import a_time

Standing = Mapping[str, Any]

LOOK_EVERY_SECONDS = 5.0
WIDTH = 1000  # what stands is a line each, to grep and to cut; a terminal wraps by itself
OPEN = """\
Let a host get files of its own back: one of its restore points, the newest if nothing else is said, stands read-only on
a machine of its own, for two hours. The host's own key gets in, and those of the policy's `restore.readers`.

  $ ebbtide open us0
  $ ebbtide open us0 --at 2026-11-21T02:12:28Z --for 45m

It takes minutes, and ends by saying what is to be run on the host, as root: `ebbtide-agent restore`, the path, and the
address. `ebbtide find` says which point has what; `ebbtide get` fetches to here instead. It costs some 3 cents an hour,
and closes by itself when its time is over. Asked again for a point that stands, it says where: its time stays as it is.
"""
CLOSE = """\
Take down what `ebbtide open` or `ebbtide restore` made, before its time is over; alone, list what stands.

  $ ebbtide close                         what stands, where and until when; closes nothing
  $ ebbtide close us0                     all that is open of us0, and none of its restored servers
  $ ebbtide close us0a/2026-11-23/1       the one of this id, which is the only way to end a restored server

Of a restored server everything goes: its machine, its volume, and what was written there since. That may take five
minutes, and goes on when this command is interrupted. The host itself and its restore points are not touched.
"""
_A_MINUTE = timedelta(minutes=1)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `open` and `close`."""
    summary = "let a host get files back: a restore point stands read-only for a while"
    opening = add_command(commands, "open", summary, OPEN)
    opening.add_argument("host", help="the host's name in the policy, for instance us0, or its id")
    opening.add_argument(
        "--at", type=a_time, metavar="TIME", help="its point of this time or day (UTC), or before (default: the newest)"
    )
    lasts = opening.add_argument("--for", type=some_minutes, metavar="TIME", help="how long: 45m, 2h, 1d (default: 2h)")
    lasts.dest, lasts.default = "minutes", USUAL // _A_MINUTE
    _add_waiting(opening, "it is open")
    opening.set_defaults(act=_open)

    summary = "take down what `open` or `restore` made, before its time is over"
    closing = add_command(commands, "close", summary, CLOSE)
    closing.add_argument(
        "of",
        nargs="?",
        metavar="HOST|ID",
        help="the host, with all that is open of it; or the id of one opening, or of a restore; without it, what "
        "stands is listed and nothing is closed",
    )
    _add_waiting(closing, "nothing is left")
    closing.set_defaults(act=_close)


def _add_waiting(verb: argparse.ArgumentParser, until: str) -> None:
    verb.add_argument("--no-wait", action="store_true", help=f"do not wait until {until}")


def some_minutes(text: str, shortest: timedelta = SHORTEST, longest: timedelta = LONGEST) -> int:
    """Raises ArgumentTypeError."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", text)
    lasts = int(match[1]) * _UNITS[match[2]] if match else timedelta(0)
    if not shortest <= lasts <= longest:
        within = f"from {_in_a_unit(shortest)} to {_in_a_unit(longest)}"
        raise argparse.ArgumentTypeError(f"{text!r}, expected a time such as 45m, 2h or 7d, {within}")
    return lasts // _A_MINUTE


def _in_a_unit(lasts: timedelta) -> str:
    """The largest that it fills without a rest, but for a single day."""
    unit = next(unit for unit in ("d", "h", "m") if lasts % _UNITS[unit] == timedelta(0) and lasts > _UNITS[unit])
    return f"{lasts // _UNITS[unit]}{unit}"


def _open(options: argparse.Namespace, _: Environment) -> int:
    standing = begun(options.host, options.at, options.minutes)
    if options.no_wait:
        check_is_not_over(standing)
    else:
        standing = once_open(standing)
    for line in _what_to_do(standing):
        print(line)
    return 0


def begun(host: str, at: str | None, minutes: int) -> Standing:
    """Have a point opened, or find it under way, and say which one."""
    standing: Standing = session.invoke("open_host", {"schema": 1, "host": host, "at": at, "minutes": minutes})
    id_ = standing["recovery"]
    first = f"{id_} is open already" if standing["verdict"] == OPENED else f"opening {id_}"
    print(f"{first}: {standing['host']} as it was at {said(standing['at'])}")
    return standing


def once_open(standing: Standing) -> Standing:
    """How it stands when it can be read. Raises PermanentError when it is over before that."""
    standing = watched(standing["recovery"], lambda now: is_over(now) or now["verdict"] == OPENED)
    check_is_not_over(standing)
    return standing


def check_is_not_over(standing: Standing) -> None:
    if is_over(standing):
        why = "; ".join(standing["findings"]) or "closed"
        raise PermanentError(f"{standing['kind']} {standing['recovery']} is over: {why}")


def _close(options: argparse.Namespace, _: Environment) -> int:
    answer = session.invoke("close_host", {"schema": 1, "of": options.of})
    if options.of is None:
        _list(answer["standing"])
        return 0
    closing = answer["recoveries"]
    print(f"closing {', '.join(closing)}: that may take five minutes, and goes on without this command")
    if not options.no_wait:
        for recovery in closing:
            watched(recovery, is_over)
        gone = "its machine and its volume" if len(closing) == 1 else "their machines and their volumes"
        print(f"closed: {gone} are gone")
    return 0


def _list(all_standing: Iterable[Standing]) -> None:
    """Each as it is written down, whatever has become of its machine since."""
    table = Table(
        "id", "what", "host", "as of (UTC)", "where", "how it stands", "until (UTC)", box=None, pad_edge=False
    )
    for each in all_standing:
        how = "goes" if _is_on_its_way(each) else each["verdict"] or _how_far(each)
        at, until = (said(each[moment]).removesuffix(" UTC") for moment in ("at", "until"))
        table.add_row(each["recovery"], each["kind"], each["host"], at, each["address"] or "", how, until)
    if table.row_count:
        Console(width=WIDTH, markup=False, highlight=False).print(table)
    else:
        print("nothing stands open or restored")


def _how_far(standing: Standing) -> str:
    not_up = "has not come up, " if is_down(standing["findings"]) else ""
    return f"{not_up}at: {standing['step']}"


def _is_on_its_way(standing: Standing) -> bool:
    return bool(standing["verdict"] == FAILED or datetime.fromisoformat(standing["until"]) <= the_time())


def is_over(standing: Standing) -> bool:
    """Whether nothing of it stands any more."""
    return bool(standing["state"] != RecoveryState.OPEN)


def _what_to_do(standing: Standing) -> Iterator[str]:
    host, until = standing["host"], said(standing["until"])
    if standing["address"]:
        yield f"open, read-only, until {until}. On {host}, for instance:"
        yield f"  ebbtide-agent restore /etc/fstab --from {standing['address']}"
    else:
        yield f"it will stand until {until}; the same command again says where"
    yield f"`ebbtide close {host}` ends it before that"


def said(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"


def times_told(standing: Standing) -> tuple[str, ...]:
    """Nothing, while its machine has not said how far it came, nor of a deployment that does not measure it yet."""
    if not standing.get("steps"):
        return ()
    after = None if standing["rto"] is None else timedelta(seconds=standing["rto"])
    return told(after, timedelta(seconds=standing["rpo"]), standing["steps"])


def watched(recovery: str, is_enough: Callable[[Standing], bool], told_before: Iterable[str] = ()) -> Standing:
    """What it waits for, told line by line, until it is as it should be. Every look also helps it on."""
    known = set(told_before)
    while True:
        standing, waiting = look(recovery)
        if standing and is_enough(standing):
            return standing
        for line in waiting:
            if line not in known:
                known.add(line)
                print(f"  {line}")
        time.sleep(LOOK_EVERY_SECONDS)


def look(recovery: str) -> tuple[Standing | None, tuple[str, ...]]:
    """How it stands, and what it waits for. What failed just now, say for want of room, is tried again there.

    Raises PermanentError for one that is not known any more.
    """
    try:
        standing = session.invoke("recover", {"schema": 1, "recovery": recovery})
    except PermanentError as fault:
        return None, (f"not yet: {fault}",)
    if not standing:
        raise PermanentError(f"nothing is known of {recovery}: the log of the function `recover` says why")
    return standing, tuple(standing["waiting"])
