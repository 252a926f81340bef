"""The dated snapshots in a directory: what the next one is called, and which go. Names in, names out.

A name is the moment at which a snapshot was complete; whatever has another name is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

# A clock may be set back a little at any time, and then the next name is a second after the last.
FAR_AHEAD = timedelta(days=1)
_FORM = "%Y-%m-%dT%H-%M-%SZ"
_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z", re.ASCII)


def find(names: Iterable[str]) -> tuple[str, ...]:
    """The snapshots among the names in a directory, the oldest first."""
    return tuple(sorted(name for name in names if _is_name(name)))


def moment_of(name: str) -> datetime:
    """When a snapshot was complete. Raises ValueError when it is none."""
    return datetime.strptime(name, _FORM).replace(tzinfo=timezone.utc)


def name_next(now: datetime, snapshots: tuple[str, ...]) -> str:
    """The name of a snapshot that is complete now: later than all there are, also when the clock was set back."""
    name = _name_of(now)
    if snapshots and name <= snapshots[-1]:
        return _name_of(moment_of(snapshots[-1]) + timedelta(seconds=1))
    return name


def date_anew(snapshots: tuple[str, ...], latest: datetime) -> tuple[tuple[str, str], ...]:
    """Those dated far ahead of `latest`, each with a name right before that moment, in their order."""
    sound = tuple(name for name in snapshots if moment_of(name) <= latest + FAR_AHEAD)
    wrong = snapshots[len(sound) :]
    renamed: list[tuple[str, str]] = []
    for number, name in enumerate(wrong):
        right = name_next(latest - timedelta(seconds=len(wrong) - number), sound)
        renamed.append((name, right))
        sound = (*sound, right)
    return tuple(renamed)


def expire(snapshots: tuple[str, ...], keep: int) -> tuple[str, ...]:
    """Those that go when `keep` of them stay, the oldest first. The newest never goes."""
    return snapshots[: -max(keep, 1)]


def expire_days(snapshots: tuple[str, ...], days: int) -> tuple[str, ...]:
    """Those that go when all of the last `days` days that have any stay, the oldest first. The newest never goes.

    So whoever can make many in one day cannot make the days before go any sooner.
    """
    dates = sorted({_date_of(name) for name in snapshots})[-max(days, 1) :]
    return tuple(name for name in snapshots if _date_of(name) < dates[0])


def _date_of(name: str) -> str:
    return name.partition("T")[0]


def _name_of(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime(_FORM)


def _is_name(name: str) -> bool:
    try:
        return bool(_NAME.fullmatch(name)) and moment_of(name) is not None
    except ValueError:
        return False
