"""A parsed TOML document held against a table of keys: every value converted, every fault collected with its path."""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Fault:
    """One thing to edit: where, and what is wrong with what is there."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}{self.problem}"


class Invalid:
    """Stands where a value would be, had it been valid."""


INVALID = Invalid()


@dataclass
class Faults:
    """Every fault of a document, in the order in which they are found."""

    found: list[Fault] = field(default_factory=list)

    def add(self, path: str, problem: str) -> Invalid:
        self.found.append(Fault(path, problem))
        return INVALID

    def wrong(self, path: str, value: object, expected: str) -> Invalid:
        return self.add(path, f" = {shown(value)}: expected {expected}")


def shown(value: object) -> str:
    """The value much as the operator wrote it, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def within(path: str, name: str) -> str:
    """The path of a name inside a table, as TOML would write it."""
    name = name if _BARE_NAME.fullmatch(name) else f'"{name}"'
    return f"{path}.{name}" if path else name


_BARE_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Shape(Protocol):
    """What a value may look like."""

    @property
    def expected(self) -> str:
        """Reads well after the word `expected`."""

    def read(self, value: object, path: str, faults: Faults) -> Any:
        """The converted value, or INVALID after at least one fault was added."""


@dataclass(frozen=True)
class Value:
    """A value without parts. `convert` raises ValueError for what it does not take."""

    expected: str
    convert: Callable[[Any], Any]
    takes: type = str

    def read(self, value: object, path: str, faults: Faults) -> Any:
        if type(value) is not self.takes:  # exactly: to Python a bool is an int as well
            return faults.wrong(path, value, self.expected)
        try:
            return self.convert(value)
        except ValueError:
            return faults.wrong(path, value, self.expected)


@dataclass(frozen=True)
class ListOf:
    """At least one and at most `most` different values of one shape."""

    each: Value
    most: int | None = None

    @property
    def expected(self) -> str:
        count = "one or more" if self.most is None else f"one to {self.most}"
        return f"a list of {count}, each {self.each.expected}"

    def read(self, value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, list) or not value or len(value) > (self.most or len(value)):
            return faults.wrong(path, value, self.expected)
        read = tuple(self.each.read(entry, f"{path}[{index}]", faults) for index, entry in enumerate(value))
        for index, entry in enumerate(value):
            if entry in value[:index]:
                faults.wrong(f"{path}[{index}]", entry, "each entry once")
        return INVALID if any(entry is INVALID for entry in read) else read


REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """One key of a table: what it may hold, what it means, what it is when it is left out."""

    name: str
    shape: Shape
    meaning: str
    default: Any = REQUIRED


@dataclass(frozen=True)
class Table:
    """Exactly these keys. What is invalid or missing is left out of what is read, so that other checks can go on."""

    keys: tuple[Key, ...]
    expected: str = "a table"

    def read(self, value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, dict):
            return faults.wrong(path, value, self.expected)
        for name in value:
            self._know(name, value[name], path, faults)
        read = {key.name: self._read(key, value, path, faults) for key in self.keys}
        return {name: found for name, found in read.items() if found is not INVALID}

    def _know(self, name: str, value: object, path: str, faults: Faults) -> None:
        known = [key.name for key in self.keys]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            faults.add(within(path, name), f" = {shown(value)} is no key of the policy: {hint}")

    def _read(self, key: Key, value: Mapping[str, object], path: str, faults: Faults) -> Any:
        if key.name in value:
            return key.shape.read(value[key.name], within(path, key.name), faults)
        if key.default is REQUIRED:
            return faults.add(within(path, key.name), f" is missing: expected {key.shape.expected}")
        return key.default


@dataclass(frozen=True)
class Named:
    """A table for each name: `[host.us0]`, `[host.eu0]`."""

    name: Value
    table: Table
    expected: str

    def read(self, value: object, path: str, faults: Faults) -> Any:
        if not isinstance(value, dict) or not value:
            return faults.wrong(path, value, self.expected)
        for name in value:
            self.name.read(name, f"the name in [{within(path, name)}]", faults)
        read = {name: self.table.read(each, within(path, name), faults) for name, each in value.items()}
        return {name: {} if each is INVALID else each for name, each in read.items()}
