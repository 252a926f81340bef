"""Whether programs stand still: for how long nothing was heard of them and none took anything of a processor."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Callable

# Whoever waits for somebody who is gone wakes now and then to look, and its ssh asks again and again whether anybody is
# there: half a second in twelve hours, and a few on a slow machine.
NEXT_TO_NOTHING_SECONDS = 10.0
# Whoever stands still for so long waits for itself, or for a disk, and would do so in the next night, too.
STILL_SECONDS = 12 * 3600.0


class Stillness:
    """That of a process group which has just begun. `heard` is how much it has said so far."""

    def __init__(self, group: int, heard: Callable[[], int]) -> None:
        self._group, self._heard = group, heard
        self._said, self._took, self._since = 0, 0.0, time.monotonic()

    def seconds(self) -> float:
        """How long it has lasted, by the looks until now."""
        said, took = self._heard(), self._taken()
        if said != self._said or not 0 <= took - self._took <= NEXT_TO_NOTHING_SECONDS:
            self._said, self._took, self._since = said, took, time.monotonic()
        return time.monotonic() - self._since

    def _taken(self) -> float:
        """Seconds of a processor that those of the group have taken, with those they waited for (proc(5): stat)."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                _, _, after_its_name = stat.read_bytes().rpartition(b")")
                _, _, group, *others = after_its_name.split()
                if int(group) == self._group:
                    ticks += sum(map(int, others[8:12]))
        return ticks / os.sysconf("SC_CLK_TCK")
