"""Which numbers of very many come more than once, with eight bytes of memory for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import islice

# Sorted, a number is an object of four times the size: so it is done with one part of them at a time.
_PARTS = 256


def found_twice(numbers: Iterable[int]) -> set[int]:
    """Those that come at least twice, of numbers from 0 to 2**64 - 1."""
    parts = [array("Q") for _ in range(_PARTS)]
    for number in numbers:
        parts[number % _PARTS].append(number)
    found: set[int] = set()
    for part in parts:
        in_order = sorted(part)
        found.update(one for one, following in zip(in_order, islice(in_order, 1, None)) if one == following)
    return found
