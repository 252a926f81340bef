"""What a host's last complete nights held: a guard that knew the last one alone would see no loss that takes two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ebbtide_agent.manifest import Before
from ebbtide_agent.shapes import field

# Counted, not dated: no clock is read, and a host that stays away ages nothing.
MOST_NIGHTS = 30


@dataclass(frozen=True)
class Held:
    """What one complete night held, by the name of its run. `entries` and `size` are as in its manifest's summary."""

    run: str
    entries: int
    size: int


def remembered(nights: tuple[Held, ...], before: Before) -> tuple[Held, ...]:
    """The nights with the last complete one, which is on record by now; once, however many come after it in vain."""
    if before.damage or not before.run or (nights and nights[-1].run == before.run):
        return nights
    return (*nights, Held(before.run, before.entries, before.size))[-MOST_NIGHTS:]


def parse_held(what: str, values: Mapping[str, Any]) -> Held:
    """Raises PermanentError."""
    return Held(
        field(what, values, "run", str),
        field(what, values, "entries", int),
        field(what, values, "size", int),
    )
