"""What an opened machine is told: which restore point it serves, to which host alone, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.points import Point, point_name
from ebbtide_agent.receiver.brief import Caller, check_caller
from ebbtide_agent.report import FAKE_SUPER
from ebbtide_agent.shapes import decode, field, maybe_moment, moment

WHAT = "the brief of an opened machine"


@dataclass(frozen=True)
class Opening:
    """One restore point of one host, opened for a while."""

    recovery: str
    host: Caller
    point: Point
    volume_id: str
    until: datetime
    host_key_parameter: str


def is_asked_for(body: bytes) -> bool:
    """Whether a recovery's brief wants a machine that is opened, and not one that proves."""
    return decode(WHAT, body).get("serve") is not None


def parse_opening(body: bytes) -> Opening:
    """Raises PermanentError when something is missing, or cannot be served at all."""
    values = decode(WHAT, body)
    serve = field(WHAT, values, "serve", dict)
    tree = field(WHAT, values, "tree", str)
    if tree != FAKE_SUPER:
        raise PermanentError(
            f"{WHAT}: the tree is {tree}, and only root could read it: give the host a volume made from the snapshot"
        )
    host = Caller(
        name=field(WHAT, values, "host", str),
        id=field(WHAT, values, "id", str),
        uid=field(WHAT, serve, "uid", int),
        keys=tuple(field(WHAT, serve, "keys", list)),
    )
    check_caller(WHAT, host)
    run = field(WHAT, values, "run", str)
    return Opening(
        recovery=field(WHAT, values, "recovery", str),
        host=host,
        point=Point(point_name(run), run, maybe_moment(WHAT, values, "at")),
        volume_id=field(WHAT, field(WHAT, values, "volume", dict), "id", str),
        until=moment(WHAT, serve, "until"),
        host_key_parameter=field(WHAT, serve, "host_key_parameter", str),
    )
