"""The way to a target: all that tells one kind of target from another. The night is the same for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from ebbtide_agent.host.config import Config
from ebbtide_agent.host.link import World
from ebbtide_agent.host.push import Pass
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Directory, Receiver
from ebbtide_agent.host.to_directory import ToDirectory
from ebbtide_agent.host.to_receiver import way_to_receiver
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Hello, Report


class Way(Protocol):
    """What a night asks of its target, in this order."""

    def hello(self, until: datetime) -> Hello:
        """Find the target ready: what it calls this night, how its tree was left, until when it may be pushed to.

        Raises Refused, TransientError when nobody was there by `until`, or PermanentError.
        """

    def passes(self, taken: Survey) -> Iterator[Pass]:
        """The rsyncs that make its tree equal to ours."""

    def route(self, attempt: int) -> tuple[str, ...]:
        """What rsync is told to get there, the place last. Raises TransientError while nobody knows where that is."""

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Have the night recorded, and return it as it was; what is complete must outlast a crash by then."""


@contextlib.contextmanager
def way_to(config: Config, paths: HostPaths, world: World) -> Iterator[Way]:
    """The way as long as the block lasts."""
    target = config.target
    if isinstance(target, Receiver):
        with way_to_receiver(target, config, paths, world) as way:
            yield way
    elif isinstance(target, Directory):
        yield ToDirectory(target, config, paths, world)
    else:
        raise NotImplementedError
