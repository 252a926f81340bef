"""A running machine of the sandbox, of either substrate: its first process and the lifeline that keeps it alive."""

import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from chalicelib.errors import PermanentError
from ebbtide_console import procs

REPOSITORY = Path(__file__).resolve().parents[2]
RUN_MODULE = "import sys; sys.path.insert(0, {place!r}); from {module} import main; main(sys.argv[1:])"


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with the bare standard library, whatever the environment says."""
    return [sys.executable, "-I", "-S", "-c", RUN_MODULE.format(place=str(REPOSITORY), module=module), *arguments]


class Machine:
    """One machine: `argv` ends in our init, whose standard input is the lifeline."""

    def __init__(
        self, argv: Sequence[str], log: Path, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = procs.start(argv, procs.PIPE, output, procs.STDOUT, environment, descriptors)
        assert self._process.stdin is not None
        self._lifeline: IO[bytes] = self._process.stdin
        self._waiter: threading.Thread | None = None
        self.pid = self._process.pid

    def run(self, gone: Callable[[], None]) -> None:
        """Let the machine start its user data; `gone` is called once, from a thread, when nothing of it is left."""
        with suppress(BrokenPipeError):
            self._lifeline.write(b"\n")
            self._lifeline.flush()

        def wait() -> None:
            self._process.wait()
            gone()

        self._waiter = threading.Thread(target=wait, daemon=True, name=f"machine-{self.pid}")
        self._waiter.start()

    def pull_the_plug(self) -> None:
        """Have every process of it killed, now. Returns at once."""
        with suppress(OSError):
            self._lifeline.close()

    def join(self) -> None:
        """Wait until it is gone and `gone` has returned."""
        self._process.wait()
        if self._waiter is not None and self._waiter is not threading.current_thread():
            self._waiter.join()


class NamespaceMachine(Machine):
    """A machine in namespaces of its own: `pid` is its first process, and the kernel ends everything with that."""

    def __init__(self, argv_to: Callable[[int], Sequence[str]], log: Path, environment: Mapping[str, str]) -> None:
        """`argv_to(descriptor)` is the command; it writes its first process's id there once its inside is built."""
        ready, tell = os.pipe()
        try:
            super().__init__(argv_to(tell), log, environment, (tell,))
        finally:
            os.close(tell)
        with os.fdopen(ready) as answer:
            first_process = answer.readline().strip()
        if not first_process:
            self._process.wait()
            raise PermanentError(f"a machine could not be built: {procs.last_line(log)}")
        self.pid = int(first_process)
        self._handle = os.pidfd_open(self.pid)
        weakref.finalize(self, os.close, self._handle)

    def pull_the_plug(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
