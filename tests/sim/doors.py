"""The doors of app.py before a simulated world: the only place that knows how a trigger becomes a call."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from io import StringIO
from itertools import count
from typing import Any
from unittest.mock import patch

from chalice.test import Client

import app
from chalicelib.core.policy_file import parse
from chalicelib.flows import policies
from chalicelib.ports import World
from tests.sim.clock import Agenda
from tests.sim.story import Listener, Story

_DOORS = {
    "EC2 Instance State-change Notification": "on_instance_state",
    "EBS Snapshot Notification": "on_snapshot_state",
}
# Pure, and four fifths of a simulated night's time.
_parse_once = cache(parse)


class Doors:
    """Knocks; whatever the door raises comes out. Every knock is a process of its own: `on_knock` begins it."""

    def __init__(self) -> None:
        self.client = Client(app.app)
        self.on_knock: Callable[[], None] = lambda: None

    def invoke(self, door: str, payload: Mapping[str, Any]) -> Any:
        self.on_knock()
        return self.client.lambda_.invoke(door, dict(payload)).payload

    def tick(self) -> None:
        self._scheduled("tick")

    def sweep(self) -> None:
        self._scheduled("sweep")

    def preflight(self) -> None:
        self._scheduled("preflight")

    def _scheduled(self, door: str) -> None:
        self.invoke(door, self.client.events.generate_cw_event("aws.events", "Scheduled Event", {}, []))

    def event(self, source: str, kind: str, detail: Mapping[str, Any]) -> None:
        door = "on_report" if source.startswith("ebbtide.") else _DOORS[kind]
        self.invoke(door, self.client.events.generate_cw_event(source, kind, dict(detail), []))


@contextmanager
def opened(world: World, agenda: Agenda, story: Story) -> Iterator[None]:
    """While this lasts the doors lead into this world, nonces are numbers, and what is logged is told."""
    numbers = count(1)
    log = logging.getLogger("ebbtide")
    with ExitStack() as stack:
        for name, value in {
            "the_world": lambda: world,
            "the_time": lambda: agenda.now,
            "new_nonce": lambda: f"{next(numbers):032x}",
            "emit": lambda measured: None,
        }.items():
            stack.enter_context(patch.object(app, name, value))
        stack.enter_context(patch.object(policies, "parse", _parse_once))
        stack.enter_context(patch.dict(os.environ, clear=True))  # chalice copies it at every knock
        stack.enter_context(patch.object(log, "handlers", [Listener(story)]))
        stack.enter_context(patch.object(log, "propagate", False))
        stack.enter_context(redirect_stdout(StringIO()))
        yield
