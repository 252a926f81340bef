"""The order to stop, as a signal gives it: it is heard whatever this process is about at that moment."""

from __future__ import annotations

import contextlib
import signal
from queue import Empty, SimpleQueue
from types import FrameType

from ebbtide_agent.errors import AgentError


class Stopped(AgentError):
    """The order came before anybody was let in: of what was done until then nobody has to be told."""

    exit_code = 128 + signal.SIGTERM


class Order:
    """Given or not.

    Not an Event: a signal comes between two steps of the thread that waits for it, which may have the Event's lock just
    then, and neither would ever go on. A SimpleQueue takes what it is given at any time.
    """

    def __init__(self) -> None:
        self._given: SimpleQueue[None] = SimpleQueue()

    def give(self) -> None:
        self._given.put(None)

    def is_given(self) -> bool:
        return not self._given.empty()

    def wait(self, seconds: float) -> bool:
        """Whether it is given by then."""
        with contextlib.suppress(Empty):
            self._given.get(timeout=seconds)
            self.give()
        return self.is_given()

    def pause(self, seconds: float) -> None:
        """Wait so long. Raises Stopped when it is given by then."""
        self.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raises Stopped when it is given."""
        if self.is_given():
            raise Stopped("told to stop before anybody was let in")


def stopped_by_signals() -> Order:
    """Given when this process is told to stop."""
    stop = Order()

    def order(number: int, _: FrameType | None) -> None:
        stop.give()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, order)
    return stop
