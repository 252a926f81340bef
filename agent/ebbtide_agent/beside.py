"""Work in a process of its own, beside us, on another core if there is one: what it yields arrives in order."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import signal
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any, Callable, TypeVar

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError

Item = TypeVar("Item")

_AT_ONCE = 64
_READ_BYTES = 1 << 16
_MORE = True

# For who is asked to stop. Who has others beside it has to have the time to end them: left to themselves they would
# hold what is ours.
_PATIENCE_SECONDS = 10.0
_PATIENCE_BELOW_SECONDS = 2.0
# Most have come to their end by themselves, or are about to.
_FIRST_LOOK_SECONDS, _LOOK_EVERY_SECONDS = 0.0005, 0.02
_STANDARD_ERROR = 2

# The processes that this one has beside it, by their ids.
_begun: set[int] = set()


class Interfered(PermanentError):
    """Work that somebody else has ended: the kernel, when there was no more memory."""


@contextlib.contextmanager
def beside(what: str, work: Callable[[], Iterable[Item]], within: float | None = None) -> Iterator[Iterator[Item]]:
    """Begin the work for a block, and have what it yields. With the block it ends, done or not.

    What the work raises is raised where its items are read, after those that came before; Interfered when its process
    was ended by somebody else, or when nothing has come of it `within` so many seconds of waiting.
    """
    outward, inward = os.pipe()
    procs.widen(inward)
    # Until the other process has let go of our handlers, a signal to it would be taken for one to us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, procs.ENDED_BY)
    try:
        child = os.fork()
    except OSError:
        os.close(outward)
        os.close(inward)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if child == 0:
        os.close(outward)
        _begun.clear()
        _give(work, inward, mask)
    _begun.add(child)
    try:
        # A signal before this line would find nobody who ends the other process.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(inward)
        with io.BufferedReader(_Awaited(outward, what, within), _READ_BYTES) as stream:
            yield _taken(what, stream)
    finally:
        try:
            # And one from here on is heard once it has ended.
            signal.pthread_sigmask(signal.SIG_BLOCK, procs.ENDED_BY)
        finally:
            _end(child, _PATIENCE_SECONDS)
            _begun.remove(child)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def get_beside(what: str, work: Callable[[], Item], within: float | None = None) -> Item:
    """The one thing that the work gives. Raises as `beside` does."""
    with beside(what, lambda: (work(),), within) as found:
        return next(found)


class _Awaited(io.FileIO):
    """A pipe whose other end has to say something within a time."""

    def __init__(self, descriptor: int, what: str, within: float | None) -> None:
        super().__init__(descriptor)
        self._what, self._within = what, within

    def readinto(self, buffer: Any) -> int | None:
        if not select.select((self,), (), (), self._within)[0]:
            raise Interfered(f"{self._what} was not done within {self._within:.0f} s")
        return super().readinto(buffer)


def _taken(what: str, stream: io.BufferedIOBase) -> Iterator[Item]:
    while True:
        try:
            items, end = pickle.load(stream)
        except EOFError:
            raise Interfered(f"{what} was ended from outside; is there enough memory?") from None
        yield from items
        if isinstance(end, Exception):
            raise end
        if end is None:
            return


def _give(work: Callable[[], Iterable[Item]], inward: int, mask: Iterable[int]) -> None:
    """The life of the other process. What waits in buffers of ours is not its to write: it leaves without a word."""
    try:
        for number in procs.ENDED_BY:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _let_go_of_all_but(inward)
        with open(inward, "wb") as stream:
            _give_all(work, stream)
    finally:
        _leave()


def _let_go_of_all_but(kept: int) -> None:
    """Who waits for a mount that does not answer would hold for as long what is open here: the lock of a night, and
    what cron reads until nobody can write to it any more."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, and no paths
        if each <= _STANDARD_ERROR:
            os.dup2(nothing, each)
        elif each != kept:
            with contextlib.suppress(OSError):
                os.close(each)


def _leave(*_: object) -> None:
    """End what the work itself has beside it, and then ourselves: at whatever moment, so not by an exception."""
    for child in _begun:
        _end(child, _PATIENCE_BELOW_SECONDS)
    os._exit(0)


def _end(child: int, patience: float) -> None:
    """Ask it to stop, and make it stop if it does not: who waits for a mount that does not answer hears no question.

    Not even the kernel ends who waits for a disk in this way; nobody waits for that.
    """
    # A second signal may have come while the first one was heard, and been quicker.
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(child, number)
            if _has_ended(child, patience):
                break


def _has_ended(child: int, patience: float) -> bool:
    until, pause = time.monotonic() + patience, _FIRST_LOOK_SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LOOK_EVERY_SECONDS)
    return True


def _give_all(work: Callable[[], Iterable[Item]], stream: IO[bytes]) -> None:
    """Items in bunches; the last one, which may be empty, with what the work raised, or with nothing more to come."""
    items: list[Item] = []
    end = None
    try:
        for item in work():
            items.append(item)
            if len(items) == _AT_ONCE:
                pickle.dump((items, _MORE), stream)
                items.clear()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised on the other side
        end = _fit_to_travel(error)
    pickle.dump((items, end), stream)


def _fit_to_travel(error: Exception) -> Exception:
    """The error itself if it arrives as it was sent; of one that does not, what it is called and what it says."""
    try:
        arrives = str(pickle.loads(pickle.dumps(error))) == str(error)
    except Exception:  # noqa: BLE001 - what an error of somebody else's does when it is packed is anybody's guess
        arrives = False
    return error if arrives else PermanentError(f"{type(error).__name__}: {error}")
