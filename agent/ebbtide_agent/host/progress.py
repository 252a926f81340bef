"""How far rsync is, from its --info=progress2, as lines for a log or a bar for a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, TextIO

from ebbtide_agent.printable import size

# "  1,234,567  45%  1.23MB/s  0:00:12 (xfr#5, ir-chk=10/200)", redrawn with carriage returns.
_PROGRESS = re.compile(rb"^\s*([0-9,]+)\s+([0-9]{1,3})%\s+(\S+)\s+(\S+)(?:\s+\(xfr#([0-9]+))?")


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


def as_bar(screen: TextIO) -> Callable[[Progress], None]:
    """One line of a terminal, drawn over itself."""
    files, left = 0, ""

    def show(progress: Progress) -> None:
        nonlocal files, left
        files = files if progress.files is None else progress.files
        left = left if progress.left is None else f"{progress.left} left"
        full = progress.percent * 30 // 100
        bar = "#" * full + "." * (30 - full)
        screen.write(
            f"\r  [{bar}] {progress.percent:3d}%  {files} files  {size(progress.bytes)}  {progress.speed}  {left}  "
        )
        screen.write("\n" if progress.percent == 100 else "")
        screen.flush()

    return show


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
