"""A JSON object read field by field: each has the type it should have, or the message says which has not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from chalicelib.core.model import SCHEMA, Disk, Quota, Step, Times, Way
from chalicelib.errors import PermanentError

_LONGEST_WHY = 500
_Choice = TypeVar("_Choice", bound=StrEnum)

# Whole numbers beyond it are not exact in every reader of JSON (RFC 8259, 6), and DynamoDB keeps 38 digits at most.
LARGEST = 2**53


@dataclass(frozen=True)
class Fields:
    """The fields of one object. `what` names it in messages; every reader raises PermanentError."""

    what: str
    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        return self._encodable(name, self._expect(name, self.values.get(name), str, "a text"))

    def maybe_text(self, name: str) -> str | None:
        return None if self.values.get(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(
            self._encodable(name, self._expect(name, value, str, "a list of texts")) for value in self._list(name)
        )

    def maybe_texts(self, name: str) -> tuple[str, ...]:
        return () if self.values.get(name) is None else self.texts(name)

    def choice(self, name: str, kind: type[_Choice]) -> _Choice:
        text = self.text(name)
        try:
            return kind(text)
        except ValueError:
            raise self._fault(name, text, "one of " + ", ".join(kind)) from None

    def number(self, name: str) -> int:
        value = self.real(name)
        if value != int(value) or isinstance(self.values[name], float):
            raise self._fault(name, value, "a whole number")
        return int(self.values[name])

    def count(self, name: str) -> int:
        number = self.number(name)
        if number < 0:
            raise self._fault(name, number, "0 or more")
        return number

    def maybe_number(self, name: str) -> int | None:
        return None if self.values.get(name) is None else self.number(name)

    def maybe_minutes(self, name: str) -> timedelta | None:
        minutes = self.maybe_number(name)
        try:
            return None if minutes is None else timedelta(minutes=minutes)
        except OverflowError:
            raise self._fault(name, minutes, "fewer minutes") from None

    def maybe_numbers(self, name: str) -> tuple[int, ...]:
        """None is no number."""
        if self.values.get(name) is None:
            return ()
        return tuple(Fields(self.what, {name: value}).number(name) for value in self._list(name))

    def real(self, name: str) -> float:
        value: Any = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not -LARGEST <= value <= LARGEST:
            raise self._fault(name, value, f"a number of at most {LARGEST}")
        return float(value)

    def flag(self, name: str) -> bool:
        return bool(self._expect(name, self.values.get(name), bool, "true or false"))

    def moment(self, name: str) -> datetime:
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._fault(name, text, "a time like 2026-11-23T06:00:00Z") from None
        if moment.tzinfo is None:
            raise self._fault(name, text, "a time with its zone, like 2026-11-23T06:00:00Z")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise self._fault(name, text, "a time that UTC can tell as well") from None

    def maybe_moment(self, name: str) -> datetime | None:
        return None if self.values.get(name) is None else self.moment(name)

    def part(self, name: str) -> "Fields":
        return Fields(f"{self.what}, {name}", self._expect(name, self.values.get(name), Mapping, "an object"))

    def maybe_part(self, name: str) -> "Fields | None":
        return None if self.values.get(name) is None else self.part(name)

    def parts(self, name: str) -> tuple["Fields", ...]:
        return tuple(
            Fields(f"{self.what}, {name}[{index}]", self._expect(name, value, Mapping, "a list of objects"))
            for index, value in enumerate(self._list(name))
        )

    def _encodable(self, name: str, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self._fault(name, text, "a text without halves of characters") from None
        return text

    def _list(self, name: str) -> list[Any]:
        return list(self._expect(name, self.values.get(name), list, "a list"))

    def _expect(self, name: str, value: Any, kind: type, expected: str) -> Any:
        if not isinstance(value, kind):
            raise self._fault(name, value, expected)
        return value

    def _fault(self, name: str, value: Any, expected: str) -> PermanentError:
        return PermanentError(f"{self.what}: {name} is {repr(value)[:80]}, expected {expected}")


def read_disk(fields: Fields | None) -> Disk | None:
    """How full a disk is, as the wire and the table both write it. Raises PermanentError."""
    if fields is None:
        return None
    return Disk(
        size=fields.count("size"),
        used=fields.count("used"),
        free=fields.count("free"),
        inodes=fields.count("inodes"),
        inodes_used=fields.count("inodes_used"),
    )


def read_quota(fields: Fields | None) -> Quota | None:
    """What a host holds of what it may, as the wire and the table both write it. Raises PermanentError."""
    if fields is None:
        return None
    most, used = (None if fields.values.get(name) is None else fields.count(name) for name in ("most", "used"))
    return Quota(most, used, fields.text("why")[:_LONGEST_WHY])


def read_ways(fields: Fields) -> tuple[Way, ...]:
    """The ways in to what was restored, as the wire and the table both write them. Raises PermanentError."""
    ways = fields.parts("ways") if fields.values.get("ways") is not None else ()
    return tuple(Way(way.number("port"), way.text("network")) for way in ways)


def read_times(fields: Fields | None) -> Times | None:
    """What a recovery took, as the wire and the table both write it; older ones did not. Raises PermanentError."""
    if fields is None:
        return None
    steps = fields.part("steps")
    return Times(fields.maybe_moment("answered"), {name: steps.real(name) for name in steps.values})


def times_values(times: Times) -> dict[str, Any]:
    answered = None if times.answered is None else moment_text(times.answered)
    return {"answered": answered, "steps": dict(times.steps)}


def read_step(fields: Fields | None) -> Step | None:
    """Raises PermanentError."""
    return None if fields is None else Step(fields.text("name"), fields.moment("since"))


def step_values(step: Step | None) -> dict[str, Any] | None:
    return None if step is None else {"name": step.name, "since": moment_text(step.since)}


def read(what: str, body: bytes | str | Mapping[str, Any]) -> Fields:
    """The fields of a JSON object that carries our schema. Raises PermanentError."""
    return checked(what, body if isinstance(body, Mapping) else _decoded(what, body))


def checked(what: str, value: Any) -> Fields:
    """The fields of an already decoded object that carries our schema. Raises PermanentError."""
    if not isinstance(value, Mapping):
        raise PermanentError(f"{what}: expected a JSON object, found {type(value).__name__}")
    fields = Fields(what, value)
    if fields.number("schema") != SCHEMA:
        raise PermanentError(f"{what}: schema is {value['schema']!r}, this version reads {SCHEMA}")
    return fields


def _decoded(what: str, body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise PermanentError(f"{what}: not JSON ({fault})") from None


def written(values: Mapping[str, Any]) -> bytes:
    """JSON as we write it: our schema first, the fields in the order given, one line and its end."""
    return json.dumps({"schema": SCHEMA, **values}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def minutes_of(span: timedelta) -> int:
    return span // timedelta(minutes=1)


def moment_text(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
