"""What has failed within a booted image, as its own systemd and journal tell it: why a service does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ebbtide_agent.restore.compare import shown
from ebbtide_agent.restore.inits import last_words
from ebbtide_agent.restore.within import run_within

_MOST = 5
# For all that is asked, and more than that by these for each unit at the most: somebody may wait to be told where their
# server stands, and a cold volume may hold a large journal.
_SECONDS = 20.0
_AT_LEAST_SECONDS = 1.0
# One that is started again and again has not failed yet.
_LIST = ("systemctl", "--plain", "--no-legend", "--no-pager", "--full", "--state=failed,auto-restart", "list-units")
# What the unit's own processes have said since this boot, and not what systemd says of it.
_LAST_LINE = ("journalctl", "--quiet", "--no-pager", "--boot", "--lines=1", "--output=cat")


def failed_units(leader: int) -> tuple[str, ...]:
    """Each unit that has failed, a handful of them, and what it said last; why that is not known, if it is not."""
    until = time.monotonic() + _SECONDS
    listed = run_within(leader, [*_LIST], _SECONDS)
    if listed.exit_code != 0:
        return (f"which of its units have failed is not known: {last_words(listed.err or listed.out)}",)
    units = [line.split()[0].decode("utf-8", "replace") for line in listed.out.splitlines() if line.strip()]
    return (*_told(leader, units[:_MOST], until), *_rest(len(units) - _MOST))


def _told(leader: int, units: list[str], until: float) -> Iterator[str]:
    for unit in units:
        left = max(_AT_LEAST_SECONDS, until - time.monotonic())
        said = run_within(leader, [*_LAST_LINE, f"_SYSTEMD_UNIT={unit}"], left)
        last = last_words(said.out) if said.exit_code == 0 else "what it said last is not known"
        yield f"`{shown(unit.encode())}` has failed: {last}"


def _rest(more: int) -> Iterator[str]:
    if more > 0:
        yield f"and {more} more of its units have failed"
