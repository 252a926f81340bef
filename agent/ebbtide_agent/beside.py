"""Work in a process of its own, beside us, on another core if there is one: what it yields arrives in order."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
from collections.abc import Iterable, Iterator
from typing import IO, Callable, TypeVar

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError

Item = TypeVar("Item")

_AT_ONCE = 64
_MORE = True

# The processes that this one has beside it, by their ids.
_begun: set[int] = set()


class Interfered(PermanentError):
    """Work that somebody else has ended: the kernel, when there was no more memory."""


@contextlib.contextmanager
def beside(what: str, work: Callable[[], Iterable[Item]], within: float | None = None) -> Iterator[Iterator[Item]]:
    """Begin the work for a block, and have what it yields. With the block it ends, done or not.

    What the work raises is raised where its items are read, after those that came before; Interfered when its process
    was ended by somebody else, or when the first of them has not come `within` so many seconds.
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
        with open(outward, "rb") as stream:
            yield _taken(what, stream, within)
    finally:
        try:
            # And one from here on is heard once it has ended.
            signal.pthread_sigmask(signal.SIG_BLOCK, procs.ENDED_BY)
        finally:
            _end(child)
            _begun.remove(child)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _taken(what: str, stream: IO[bytes], within: float | None) -> Iterator[Item]:
    if not select.select((stream,), (), (), within)[0]:
        raise Interfered(f"{what} was not done within {within:.0f} s")
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
        with open(inward, "wb") as stream:
            _give_all(work, stream)
    finally:
        _leave()


def _leave(*_: object) -> None:
    """End what the work itself has beside it, and then ourselves: at whatever moment, so not by an exception."""
    for child in _begun:
        _end(child)
    os._exit(0)


def _end(child: int) -> None:
    # A second signal may have come while the first one was heard, and been quicker.
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


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
