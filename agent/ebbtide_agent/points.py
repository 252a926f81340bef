"""What a gate answers to `list`: the restore points of a host that can be read through it now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.shapes import decode, encode, field, maybe_moment

WHAT = "the answer to list"
# The module that the night's push writes to; each restore point is one of its own, read only.
TREE = "tree"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}", re.ASCII)
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]", re.ASCII)


@dataclass(frozen=True)
class Point:
    """A restore point by the name of its module: the run it is of, and what is known of when and how large."""

    name: str
    run: str
    at: datetime | None = None
    entries: int | None = None


@dataclass(frozen=True)
class Offer:
    """All that a gate serves to one host, the oldest first; `until` is when it closes, if it does, and `now` the time
    there: an earlier gate does not say it."""

    host: str
    id: str
    points: tuple[Point, ...] = ()
    until: datetime | None = None
    now: datetime | None = None

    @property
    def left(self) -> timedelta | None:
        """How long until it closes, whatever the time is here."""
        return self.until - self.now if self.until and self.now else None


def point_name(run: str) -> str:
    """What a point is called by its run: `main/2026-11-23/1` is `2026-11-23.1`. It can be a module and a directory."""
    name = _UNSAFE.sub("_", ".".join(run.split("/")[-2:])).lstrip("._-")
    if not _is_name(name):
        raise PermanentError(f"run {run!r:.80} is none that a restore point could be named by")
    return name


def encode_offer(offer: Offer) -> bytes:
    return encode(
        {
            "host": offer.host,
            "id": offer.id,
            "points": [_as_object(point) for point in offer.points],
            "until": None if offer.until is None else moments.write(offer.until),
            **({} if offer.now is None else {"now": moments.write(offer.now)}),
        }
    )


def parse_offer(body: bytes) -> Offer:
    """Raises PermanentError when it is not an answer to list: a point's name becomes part of an rsync command."""
    values = decode(WHAT, body)
    return Offer(
        host=field(WHAT, values, "host", str),
        id=field(WHAT, values, "id", str),
        points=tuple(_point(each) for each in field(WHAT, values, "points", list)),
        until=maybe_moment(WHAT, values, "until"),
        now=maybe_moment(WHAT, values, "now"),
    )


def _as_object(point: Point) -> Mapping[str, Any]:
    at = None if point.at is None else moments.write(point.at)
    entries = {} if point.entries is None else {"entries": point.entries}
    return {"name": point.name, "at": at, "run": point.run, **entries}


def _point(values: Any) -> Point:
    if not isinstance(values, dict):
        raise PermanentError(f"{WHAT}: a point is {values!r:.80}, expected an object")
    name = field(WHAT, values, "name", str)
    if not _is_name(name):
        raise PermanentError(f"{WHAT}: {name!r:.80} is not the name of a restore point")
    entries = field(WHAT, values, "entries", int) if values.get("entries") is not None else None
    return Point(name, field(WHAT, values, "run", str), maybe_moment(WHAT, values, "at"), entries)


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name != TREE
