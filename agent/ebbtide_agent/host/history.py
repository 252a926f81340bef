"""The last nights of this host: a report a line, the oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from ebbtide_agent import moments
from ebbtide_agent.errors import AgentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report, encode_report, parse_report

MOST_NIGHTS = 30


def remember(paths: HostPaths, report: Report, say: Callable[[str], None]) -> None:
    """Keep a report as the last one, in the place of what was kept of the same night before.

    A full disk is no reason to have no backup: then it is said, and no more.
    """
    try:
        write_whole(paths.last_report, encode_report(report))
        others = [line for line, night in _read(paths) if not _are_one_night(night, report)]
        write_whole(paths.history, b"".join((*others, encode_report(report))[-MOST_NIGHTS:]))
    except OSError as error:
        say(f"the report was not kept on this host: {error}")


def find_nights(paths: HostPaths) -> list[Report]:
    """Those that can be read, the last one last."""
    return [night for _, night in _read(paths)]


def find_last(paths: HostPaths) -> Report | None:
    """The report of the last night, or None when there is none that can be read. Raises OSError."""
    nights = find_nights(paths)
    return nights[-1] if nights else None


def _are_one_night(one: Report, other: Report) -> bool:
    """A host has one night at a time; what it is called may not be known before it is recorded."""
    return moments.write(one.started) == moments.write(other.started)


def _read(paths: HostPaths) -> Iterator[tuple[bytes, Report]]:
    try:
        lines = paths.history.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield line, parse_report(line)
        except AgentError:
            # Of another agent; nothing is lost by passing over it.
            continue
