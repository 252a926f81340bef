"""What handlers print and log: into a file, as CloudWatch would keep it, instead of the operator's screen."""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class HandlerOutput(io.TextIOBase):
    """Stands in for sys.stdout: lines of a thread that is running a handler go to the log, all others through."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._before: TextIO = sys.stdout

    def install(self) -> None:
        self._before = sys.stdout
        sys.stdout = self

    def remove(self) -> None:
        """Loggers made meanwhile keep this object, so it stays usable and writes through."""
        if sys.stdout is self:
            sys.stdout = self._before
        with self._lock:
            self._log.close()

    @contextmanager
    def of(self, function: str) -> Iterator[None]:
        """Within, this thread's output is the function's."""
        self._thread.function, self._thread.begun = function, ""
        try:
            yield
        finally:
            if self._thread.begun:
                self.write("\n")
            self._thread.function = None

    def write(self, text: str) -> int:
        """Whole lines go to the log; what is not ended yet waits, since others write there too."""
        function = getattr(self._thread, "function", None)
        with self._lock:
            if function is None or self._log.closed:
                return self._before.write(text)
            *lines, self._thread.begun = (self._thread.begun + text).split("\n")
            self._log.writelines(f"{function} {line}\n" for line in lines)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            self._before.flush()
            if not self._log.closed:
                self._log.flush()

    def writable(self) -> bool:
        return True
