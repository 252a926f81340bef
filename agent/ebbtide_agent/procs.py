"""The agent's one door to other programs: every process it starts is started here, and none outlives its caller."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Callable

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.stillness import Stillness

Child = subprocess.Popen[bytes]

# For a program's output: to be read from here, and its errors with it.
PIPE, WITH_OUTPUT = subprocess.PIPE, subprocess.STDOUT
TIMED_OUT = 124
NOT_FOUND = 127
NOT_EXECUTABLE = 126
KEEP_BYTES = 1 << 20
KILL_AFTER_SECONDS = 10.0
# As much as the kernel lets anybody have. Whoever writes goes on while what was written waits to be read.
_WAITING_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031  # of fcntl from Python 3.10 on
# A program that is listened to and has said so much goes on, line by line; in bunches it does not wake us for each.
_TALKATIVE_BYTES = 1 << 16
_GATHER_SECONDS = 0.02
# A program may leave a daemon behind that holds its output open; nobody waits for that one.
LINGER_SECONDS = 2.0
# Whether a program stands still is looked at so often.
LOOK_EVERY_SECONDS = 600.0
# With these somebody asks us to stop.
ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ended:
    """A program that came to its end. A signal N that ended it shows as exit code 128 + N.

    A time-out shows as 124, with which a program may end by itself, too: `timed_out` tells the one from the other.
    """

    argv: tuple[str, ...]
    exit_code: int
    out: bytes
    err: bytes
    seconds: float
    timed_out: bool = False

    @property
    def why(self) -> str:
        """The last thing it said, for a message."""
        said = (self.err.strip() or self.out.strip()).decode("utf-8", "replace")
        return said.splitlines()[-1] if said else f"exit code {self.exit_code}, and it said nothing"


class Kept:
    """The last bytes of a stream, read by a thread of its own, each chunk shown to a listener as it comes."""

    def __init__(self, stream: IO[bytes], keep: int, listener: Callable[[bytes], None] | None) -> None:
        self._stream = stream
        self._keep = keep
        self._listener = listener
        self._tail = bytearray()
        self.said = 0
        if listener:
            widen(stream.fileno())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), _WAITING_BYTES):
            self._tail += chunk
            del self._tail[: -self._keep]
            self._show(chunk)
            self.said += len(chunk)
            if self._listener and self.said > _TALKATIVE_BYTES:
                time.sleep(_GATHER_SECONDS)

    def _show(self, chunk: bytes) -> None:
        """Whoever watches may go away, a terminal or a pipe; the program must not wait for them for ever."""
        try:
            if self._listener:
                self._listener(chunk)
        except OSError:
            self._listener = None

    def get(self) -> bytes:
        self._thread.join(LINGER_SECONDS)
        return bytes(self._tail)


def widen(pipe: int) -> None:
    """Let much wait in a pipe, if the kernel has so much."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _WAITING_BYTES)


def run(
    argv: Sequence[str],
    feed: bytes = b"",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    listener: Callable[[bytes], None] | None = None,
    files: Sequence[int] = (),
    still_seconds: float | None = None,
) -> Ended:
    """Run a program in a process group of its own to its end; the group dies at the time-out or if we are stopped.

    Given `still_seconds` it may take as long as it likes, and it is a time-out when it has stood still for so long. It
    finds `files` open. `listener` sees standard output as it comes (in another thread). Of each stream the last MiB is
    kept. A program that is not there is exit code 127, one that cannot be executed 126.
    """
    started = time.monotonic()
    pipes = (subprocess.PIPE, subprocess.PIPE, subprocess.PIPE)
    with contextlib.ExitStack() as until_its_end:
        try:
            child = until_its_end.enter_context(_group_of(lambda: start(argv, *pipes, environment, files)))
        except OSError as error:
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return Ended(tuple(argv), code, b"", f"{argv[0]}: {error.strerror}".encode(), 0.0)
        assert child.stdin and child.stdout and child.stderr
        out, err = Kept(child.stdout, KEEP_BYTES, listener), Kept(child.stderr, KEEP_BYTES, None)
        threading.Thread(target=_feed, args=(child.stdin, feed), daemon=True).start()
        try:
            code = shell_code(_wait(child, timeout, still_seconds, lambda: out.said + err.said))
            timed_out = False
        except subprocess.TimeoutExpired:
            end_group(child)
            code, timed_out = TIMED_OUT, True
    return Ended(tuple(argv), code, out.get(), err.get(), time.monotonic() - started, timed_out)


def _wait(child: Child, timeout: float | None, still_seconds: float | None, heard: Callable[[], int]) -> int:
    """How it has ended. Raises TimeoutExpired; what no signal ends holds up nobody but a thread then."""
    if still_seconds is None:
        return child.wait(timeout)
    stillness, ended = Stillness(child.pid, heard), threading.Event()

    def wait() -> None:
        child.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    while not ended.wait(LOOK_EVERY_SECONDS):
        if stillness.seconds() >= still_seconds:
            raise subprocess.TimeoutExpired(child.args, still_seconds)
    return child.wait()


def check(
    argv: Sequence[str], feed: bytes = b"", timeout: float | None = None, still_seconds: float | None = None
) -> bytes:
    """Run a program that must succeed and return what it printed; PermanentError with its last line otherwise."""
    ended = run(argv, feed, timeout, still_seconds=still_seconds)
    if ended.exit_code != 0:
        raise PermanentError(f"{' '.join(argv)} ended with exit code {ended.exit_code}: {ended.why}")
    return ended.out


def run_attached(argv: Sequence[str], files: Sequence[int] = ()) -> int:
    """Run a program on our own standard streams (and `files`) to its end; its exit code, 128 + N for signal N."""
    with _group_of(lambda: subprocess.Popen(argv, pass_fds=tuple(files), start_new_session=True)) as child:
        return shell_code(child.wait())


def start(
    argv: Sequence[str],
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[int] = (),
) -> Child:
    """Start a program in a process group of its own and return it running. Raises OSError when it cannot start."""
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        pass_fds=tuple(files),
        start_new_session=True,
    )


def start_logged(argv: Sequence[str], log: Path) -> Child:
    """Start a program whose output goes to the end of a file."""
    with log.open("ab") as output:
        return start(argv, stdout=output, stderr=output)


def end(child: Child) -> None:
    """Ask a program itself to stop and wait for it; what it started goes on."""
    child.terminate()
    child.wait()


def end_group(child: Child) -> None:
    """Ask a program and its group to stop, and make it stop ten seconds later. Already gone is success.

    Who waits for a disk that does not answer dies when it does, and does nothing more; nobody waits for that.
    """
    with _unhurried():
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(child, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(KILL_AFTER_SECONDS)


@contextlib.contextmanager
def _unhurried() -> Iterator[None]:
    """Whoever asks us a second time to stop must not make us leave something running. For the main thread."""
    with _instead(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Whoever asks us to stop is heard at the end: a program that is being started has nobody yet who would end it."""
    heard: list[int] = []
    try:
        with _instead(lambda number, _: heard.append(number)):
            yield
    finally:
        for number in heard:
            signal.raise_signal(number)


@contextlib.contextmanager
def _instead(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Handle the signals that end us in this way for a block, but those that are ignored. For the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in ENDED_BY if signal.getsignal(number) is not signal.SIG_IGN]
    before = [signal.signal(number, handler) for number in heard]
    try:
        yield
    finally:
        for number, handler_before in zip(heard, before):
            signal.signal(number, handler_before)


def stop_on(*numbers: signal.Signals) -> None:
    """Let the first of these signals end us as an exception does, so that what we started ends too; no other one then.

    Left to themselves two in a row leave a program behind: the second one comes before the first has ended it. A signal
    that is ignored stays so: who starts us under nohup wants us to go on.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, lambda *_: None)
        sys.exit(128 + number)

    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def shell_code(code: int) -> int:
    """Popen says -N for signal N; a shell, and we, say 128 + N."""
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _group_of(begin: Callable[[], Child]) -> Iterator[Child]:
    """Whatever ends the caller's block early (Ctrl-C, SIGTERM made into an exception) ends the program too."""
    with contextlib.ExitStack() as not_yet:
        not_yet.enter_context(_held_back())
        child = begin()
        try:
            not_yet.close()
            yield child
        except BaseException:
            end_group(child)
            raise


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _feed(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(data)
