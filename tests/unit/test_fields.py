"""Fields of objects from elsewhere: whatever stands in them, it is the right thing or one clear fault."""

import json
from collections.abc import Callable

import pytest

from chalicelib.errors import PermanentError
from chalicelib.fields import LARGEST, Fields, read

READERS: dict[str, Callable[[Fields], object]] = {
    "number": lambda fields: fields.number("it"),
    "real": lambda fields: fields.real("it"),
    "moment": lambda fields: fields.moment("it"),
    "text": lambda fields: fields.text("it"),
    "texts": lambda fields: fields.texts("it"),
}


def an_object(value: str) -> Fields:
    return read("report", f'{{"schema": 1, "it": {value}}}')


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("number", str(LARGEST + 1)),
        ("number", str(-(10**40))),
        ("number", "1" * 400),
        ("number", "1.5"),
        ("number", "true"),
        ("number", "NaN"),
        ("real", "1" * 400),
        ("real", "1e300"),
        ("real", "NaN"),
        ("real", "Infinity"),
        ("moment", '"0001-01-01T00:00:00+14:00"'),
        ("moment", '"9999-12-31T23:59:59-14:00"'),
        ("moment", '"2026-11-23T02:00:00"'),
        ("text", '"half a character: \\ud800"'),
        ("texts", '["\\udfff"]'),
    ],
)
def test_what_nothing_could_store_is_a_fault_with_its_name(reader: str, value: str) -> None:
    with pytest.raises(PermanentError, match=r"report: it is .*, expected "):
        READERS[reader](an_object(value))


@pytest.mark.parametrize(
    ("reader", "value"),
    [("number", LARGEST), ("number", -LARGEST), ("real", 0.5), ("real", LARGEST), ("text", "smörgås 🦀")],
)
def test_what_can_be_stored_comes_back_as_it_was(reader: str, value: object) -> None:
    assert READERS[reader](an_object(json.dumps(value))) == value
