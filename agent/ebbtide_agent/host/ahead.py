"""The scan, begun by a process beside us while the target is still being asked: neither has to wait for the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Callable

from ebbtide_agent.beside import Interfered, beside
from ebbtide_agent.host import survey
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import HostPaths

# A target may keep a host waiting for hours; by then the tree is another one.
FRESH = timedelta(minutes=2)


@contextlib.contextmanager
def scanning(config: Config, paths: HostPaths, clock: Clock) -> Iterator[Callable[[], Survey]]:
    """Begin a scan for a block. What is yielded waits for it; too old, ended by somebody, or had already, it is done
    anew."""
    begun = clock()
    with contextlib.ExitStack() as under_way:
        found = under_way.enter_context(beside("the scan", lambda: (survey.scanned(config, paths, begun),)))

        def get() -> Survey:
            if abs(clock() - begun) <= FRESH:
                with contextlib.suppress(Interfered, StopIteration):
                    return next(found)
            under_way.close()
            return survey.scanned(config, paths, clock())

        yield get
