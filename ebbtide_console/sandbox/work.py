"""What happens a moment later: a few threads and one queue in order of time, which knows when nothing is left to do."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)


class Work:
    """Jobs, each due after a delay. A job that raises is logged and counted among `faults`, the others go on."""

    def __init__(self, threads: int = 4) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._running = 0
        self._closed = False
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"work-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def later(self, seconds: float, job: Callable[[], None]) -> None:
        """Do `job` in so many seconds; after close() nothing is taken on any more."""
        with self._changed:
            if not self._closed:
                heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), job))
                self._changed.notify_all()

    def quiet(self, timeout: float) -> bool:
        """Wait until no job is waiting or running; False if it took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._due and not self._running, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Forget what waits, and give what runs `timeout` seconds to end."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, timeout)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception as error:
                LOG.exception("a piece of the sandbox's background work failed")
                self.faults.append(repr(error))
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._running += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
