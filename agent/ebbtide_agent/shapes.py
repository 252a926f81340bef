"""JSON to values and back, for every shape that travels: unknown keys are ignored, missing ones are named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError

SCHEMA = 1


class OfLaterVersion(PermanentError):
    """What a later version has written, in words that this one does not know."""


def encode(fields: Mapping[str, Any]) -> bytes:
    """One line of JSON with `schema` first."""
    return json.dumps({"schema": SCHEMA, **fields}).encode() + b"\n"


def decode(what: str, body: bytes) -> dict[str, Any]:
    """A JSON object of our schema. Raises PermanentError naming `what` it was meant to be, OfLaterVersion if it may."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{what} is not JSON: {error}") from error
    schema = values.get("schema") if isinstance(values, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise OfLaterVersion(f"{what} is of schema {schema}, and this version knows {SCHEMA}: use a later one")
    if not isinstance(values, dict) or schema != SCHEMA:
        raise PermanentError(f"{what} is not an object of schema {SCHEMA}")
    return values


def field(what: str, values: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """One field of an object. Raises PermanentError when it is missing or of another type (true is not a number)."""
    value = values.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise PermanentError(f"{what}: {name} is {value!r:.80}, which is not what it should be")
    return value


def moment(what: str, values: Mapping[str, Any], name: str) -> datetime:
    """One field of an object that is a moment. Raises PermanentError."""
    try:
        return moments.read(field(what, values, name, str))
    except ValueError as error:
        raise PermanentError(f"{what}: {name}: {error}") from error


def maybe_moment(what: str, values: Mapping[str, Any], name: str) -> datetime | None:
    """None when there is none. Raises PermanentError."""
    return None if values.get(name) is None else moment(what, values, name)
