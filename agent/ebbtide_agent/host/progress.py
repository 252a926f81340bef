"""How far rsync is, from its --info=progress2, as lines for a log or a bar for a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, TextIO

from ebbtide_agent.printable import size

# "  1,234,567  45%  1.23MB/s  0:00:12 (xfr#5, ir-chk=10/200)", redrawn with carriage returns.
_PROGRESS = re.compile(rb"^\s*([0-9,]+)\s+([0-9]{1,3})%\s+(\S+)\s+(\S+)(?:\s+\(xfr#([0-9]+))?")

_LONGEST_BAR, _SHORTEST_BAR = 30, 5
_USUAL_WIDTH = 80


@dataclass(frozen=True)
class Progress:
    """What rsync says of itself: bytes looked at so far, percent of what it knows of, its speed in its own words.

    `files` are those that were sent, known whenever one is done; `left` is the time that is left, known in between.
    """

    bytes: int
    percent: int
    speed: str
    files: int | None
    left: str | None


def parse(line: bytes) -> Progress | None:
    match = _PROGRESS.match(line)
    if not match:
        return None
    sent, percent, speed, time, files = match.groups()
    return Progress(
        int(sent.replace(b",", b"")),
        int(percent),
        speed.decode("ascii", "replace"),
        files=int(files) if files else None,
        left=None if files else time.decode("ascii", "replace"),
    )


class Reader:
    """Takes rsync's output as it comes, in any pieces, and passes each progress on."""

    def __init__(self, show: Callable[[Progress], None]) -> None:
        self._show = show
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + chunk)
        for progress in filter(None, map(parse, lines)):
            self._show(progress)


def how_to_show(asked: str, screen: TextIO) -> str:
    """ "bar", "lines" or "none". Cron mails whatever is said, so where nobody looks on nothing is."""
    if asked == "auto":
        return "bar" if screen.isatty() else "none"
    return asked


@contextmanager
def shown_on(screen: TextIO, how: str) -> Iterator[Callable[[Progress], None]]:
    """What shows a progress, for a block; what is written to the screen after it begins a line of its own."""
    if how != "bar":
        yield as_lines(screen) if how == "lines" else nothing
        return
    bar = Bar(screen)
    try:
        yield bar.show
    finally:
        bar.end()


class Bar:
    """One line of a terminal, however narrow, drawn over itself."""

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen
        self._files, self._left = 0, ""
        self._drawn = 0

    def show(self, progress: Progress) -> None:
        self._files = self._files if progress.files is None else progress.files
        self._left = self._left if progress.left is None else f"{progress.left} left"
        # The last column stays empty: in it a terminal would go on to the next line.
        line = self._line(progress, width_of(self._screen) - 1)
        self._screen.write(f"\r{line:<{self._drawn}}")
        self._screen.flush()
        self._drawn = len(line)

    def _line(self, progress: Progress, room: int) -> str:
        told = f"{progress.percent:3d}%  {self._files} files  {size(progress.bytes)}  {progress.speed}  {self._left}"
        length = min(_LONGEST_BAR, room - len(told) - len("  [] "))
        if length < _SHORTEST_BAR:
            return f"  {told}"[:room]
        full = progress.percent * length // 100
        return f"  [{'#' * full}{'.' * (length - full)}] {told}"

    def end(self) -> None:
        if self._drawn:
            self._screen.write("\n")
            self._screen.flush()


def width_of(screen: TextIO) -> int:
    """In columns. One that does not tell is taken for the usual."""
    try:
        return os.get_terminal_size(screen.fileno()).columns or _USUAL_WIDTH
    except OSError:
        return _USUAL_WIDTH


def as_lines(screen: TextIO) -> Callable[[Progress], None]:
    """A line whenever another tenth is done."""
    shown = -1

    def show(progress: Progress) -> None:
        nonlocal shown
        if progress.percent // 10 > shown:
            shown = progress.percent // 10
            screen.write(f"  {progress.percent:3d}%  {size(progress.bytes)}  {progress.speed}\n")
            screen.flush()

    return show


def nothing(_: Progress) -> None:
    """For cron, which mails whatever is said."""
