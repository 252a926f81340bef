"""What an rsync that looks at everything has come by, as it tells, and what of a scan it has not."""

from __future__ import annotations

import contextlib
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import Callable

from ebbtide_agent.host.changes import MOST_CHANGES
from ebbtide_agent.host.index import ROOT, STAT, Entry
from ebbtide_agent.host.scan import AS_PACKED

# Every name, be there something to do or not; in front of it what there is to do, of what is deleted a star.
EVERY_NAME = ("-ii", "--out-format=> %i %n")
_MARK, _DELETED = b"> ", b"*"
_BEFORE_A_NAME = len(">f+++++++++ ")
_ESCAPE = re.compile(rb"\\#([0-7]{3})")

# Of others somebody who is not root makes none.
_KINDS = (S_IFREG, S_IFDIR, S_IFLNK)
# A name is known by 44 bits of its hash, by the part it is in and four bytes there: one that was away is taken for one
# of a million others once in seventeen million times. Sorted, a number is an object of eight times the size: so that is
# done with one part at a time.
_PARTS = 1 << 12
_BITS_IN_PART = 32


class Named:
    """The names in rsync's output, with four bytes of memory for each."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts = [array("I") for _ in range(_PARTS)]

    def heard_by(self, listener: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """What hears the output before this listener, which may go away."""

        def hear(chunk: bytes) -> None:
            self.feed(chunk)
            with contextlib.suppress(OSError):
                listener(chunk)

        return hear

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            # Where rsync has complained meanwhile it goes on in the line of its progress, which has no mark in it.
            _, mark, told = line.partition(_MARK)
            if mark and not told.startswith(_DELETED):
                part, number = _place_of(_name_in(told))
                self._parts[part].append(number)

    def lacking(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Those of these entries that anybody may push and that are not among the names."""
        for part, numbers in enumerate(self._parts):
            self._parts[part] = array("I", sorted(numbers))
        for entry in entries:
            part, number = _place_of(entry.path)
            numbers = self._parts[part]
            at = bisect_left(numbers, number)
            if (at == len(numbers) or numbers[at] != number) and _kind_of(entry) in _KINDS:
                yield entry


@dataclass(frozen=True)
class Missed:
    """What was there when it was scanned, and not when everything was pushed.

    `paths` are the topmost, not many more than can be listed; `again` those that are there again as they were, whatever
    is above them: how many, and one of them. `unseen` is why nobody could look, if so.
    """

    paths: tuple[bytes, ...] = ()
    again: int = 0
    example: bytes = b""
    unseen: str = ""

    def __str__(self) -> str:
        if self.unseen:
            return f"what was away while everything was pushed is not known: {self.unseen}"
        more = f" and {self.again - 1} more" if self.again > 1 else ""
        return f"{os.fsdecode(self.example)}{more} {'were' if more else 'was'} away while everything was pushed"


def find_missed(root: bytes, lacking: Iterable[Entry]) -> Missed:
    """Of entries that a push did not name, in the order of a walk. One that did not name the root tells no names."""
    tops: list[bytes] = []
    directories: set[bytes] = set()
    again, example = 0, b""
    for entry in lacking:
        if entry.path == ROOT:
            return Missed()
        if entry.path.rpartition(b"/")[0] not in directories and len(tops) <= MOST_CHANGES:
            tops.append(entry.path)
        if _kind_of(entry) == S_IFDIR:
            directories.add(entry.path)
        if _is_there_again(root, entry):
            again, example = again + 1, example or entry.path
    return Missed(tuple(tops), again, example)


def unescaped(name: bytes) -> bytes:
    """A name that rsync printed."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), name)


def _is_there_again(root: bytes, entry: Entry) -> bool:
    """Whatever its change time: that is new where it was moved away and back."""
    try:
        found = AS_PACKED(os.lstat(root + b"/" + entry.path))
    except OSError:
        return False
    was = STAT.unpack(entry.stat)
    return _but_for_change(found) == _but_for_change(was)


def _but_for_change(row: tuple[int, ...]) -> tuple[int, ...]:
    *others, _changed, inode = row
    return (*others, inode)


def _kind_of(entry: Entry) -> int:
    (mode, *_) = STAT.unpack(entry.stat)
    return S_IFMT(mode)


def _name_in(told: bytes) -> bytes:
    name = told[_BEFORE_A_NAME:].rstrip(b"/")
    return ROOT if name == b"." else unescaped(name)


def _place_of(path: bytes) -> tuple[int, int]:
    """The part that its number is in, and the number."""
    rest, number = divmod(hash(path), 1 << _BITS_IN_PART)
    return rest % _PARTS, number
