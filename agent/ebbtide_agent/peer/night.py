"""A night on a peer: nobody opens it beforehand, so the host's hello does. Which one a hello gets is decided here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.errors import Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.shapes import decode, encode, field, moment

LASTS = timedelta(hours=24)
# A host whose key changes says hello twice, with nothing in between: both belong to one night.
REPEATED_WITHIN = timedelta(hours=1)
# Whoever holds a key can begin nights, and each may leave a report and a snapshot.
MOST_A_DAY = 24
_RUN = re.compile(r"peer/([0-9]{4}-[0-9]{2}-[0-9]{2})/([0-9]+)")


@dataclass(frozen=True)
class Night:
    """What the last hello of a host was answered."""

    run: str
    nonce: str
    opened: datetime

    @property
    def deadline(self) -> datetime:
        return self.opened + LASTS

    def lasts(self, now: datetime) -> bool:
        """Whether it may go on; one of a day when the clock was ahead does not."""
        return abs(now - self.opened) < LASTS


def night_of_hello(last: Night | None, is_touched: bool, runs: Iterable[str], now: datetime, nonce: str) -> Night:
    """The night that a hello begins: always one of its own, unless the last hello led to nothing.

    `is_touched`: something was pushed or reported since the last hello. `runs` are those with a report, and of some of
    them there is nothing else. Raises Refused after too many in a day.
    """
    runs = tuple(runs)
    if last and not is_touched and abs(now - last.opened) < REPEATED_WITHIN and last.run not in runs:
        return last
    return Night(_next_run(now, (*runs, *((last.run,) if last else ()))), nonce, now)


def _next_run(now: datetime, runs: Iterable[str]) -> str:
    """Never one that there was, also when the clock was set back."""
    today = f"{now:%Y-%m-%d}"
    found = (_RUN.fullmatch(run) for run in runs)
    attempt = max((int(match[2]) for match in found if match and match[1] == today), default=0) + 1
    if attempt > MOST_A_DAY:
        raise Refused(f"there were {MOST_A_DAY} nights on {today} already, and there are no more in a day")
    return f"peer/{today}/{attempt}"


def find_night(path: Path) -> Night | None:
    what = str(path)
    try:
        values = decode(what, path.read_bytes())
    except FileNotFoundError:
        return None
    opened = moment(what, values, "opened")
    return Night(field(what, values, "run", str), field(what, values, "nonce", str), opened)


def write_night(path: Path, night: Night) -> None:
    write_whole(path, encode({"run": night.run, "nonce": night.nonce, "opened": moments.write(night.opened)}))
