"""The doors of app.py before simulated worlds: the only place that knows how a trigger becomes a call."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from unittest.mock import patch

import app
from chalicelib.ports import World
from tests.sim.clock import Agenda
from tests.sim.story import Listener, Story

_DOORS = {
    "EC2 Instance State-change Notification": "on_instance_state",
    "EBS Snapshot Notification": "on_snapshot_state",
}
# All that Chalice's own event class asks for; who sent it and when, no door of ours wants to know.
_ENVELOPE = {"version": "", "id": "", "account": "", "time": "", "region": "", "resources": []}


@dataclass(frozen=True)
class Context:
    """What of Lambda's context a door reads."""

    aws_request_id: str


class Doors:
    """Knocks, in one world; what a door raises comes out. Every knock is a process of its own: `on_knock` begins it."""

    def __init__(self, the_world: Callable[[], World]) -> None:
        self.the_world = the_world
        self.on_knock: Callable[[], None] = lambda: None
        self._requests = count(1)

    def invoke(self, door: str, payload: Mapping[str, Any], request: str | None = None) -> Any:
        """By the handler that Lambda calls; `request` is the same for every retry of one invocation."""
        self.on_knock()
        before, app.the_world = app.the_world, self.the_world
        try:
            return app.app.handler_map[door](dict(payload), Context(request or self.new_request()))
        finally:
            app.the_world = before

    def new_request(self) -> str:
        return f"request {next(self._requests)}"

    def tick(self) -> None:
        self._event("tick", "aws.events", "Scheduled Event", {})

    def sweep(self) -> None:
        self._event("sweep", "aws.events", "Scheduled Event", {})

    def preflight(self) -> None:
        self._event("preflight", "aws.events", "Scheduled Event", {})

    def event(self, source: str, kind: str, detail: Mapping[str, Any]) -> None:
        door = "on_report" if source.startswith("ebbtide.") else _DOORS[kind]
        self._event(door, source, kind, detail)

    def _event(self, door: str, source: str, kind: str, detail: Mapping[str, Any]) -> None:
        self.invoke(door, {**_ENVELOPE, "source": source, "detail-type": kind, "detail": dict(detail)})


@contextmanager
def opened(agenda: Agenda, story: Story) -> Iterator[None]:
    """While this lasts it is the agenda's time, nonces are numbers, and what is logged is told."""
    numbers = count(1)
    with ExitStack() as stack:
        for name, value in {
            "the_time": lambda: agenda.now,
            "new_nonce": lambda: f"{next(numbers):032x}",
            "emit": lambda measured: None,
            "log": Listener(story),
        }.items():
            stack.enter_context(patch.object(app, name, value))
        yield
