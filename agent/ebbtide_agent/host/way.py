"""The way to a target: all that tells one kind of target from another. The night is the same for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ebbtide_agent.host.claim import held
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.connections import connections
from ebbtide_agent.host.far_place import FarPlace
from ebbtide_agent.host.link import World
from ebbtide_agent.host.push import Pass
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import BY_SSH, Directory, Receiver, Volume
from ebbtide_agent.host.to_directory import ToDirectory
from ebbtide_agent.host.to_receiver import ToReceiver
from ebbtide_agent.host.to_remote import ToRemote
from ebbtide_agent.host.to_volume import ToVolume
from ebbtide_agent.paths import DirectoryPaths, HostPaths
from ebbtide_agent.report import Hello, Report


class Way(Protocol):
    """What a night asks of its target, in this order."""

    def hello(self, until: datetime) -> Hello:
        """Find the target ready: what it calls this night, how its tree was left, until when it may be pushed to.

        Raises Refused, TransientError when nobody was there by `until`, or PermanentError.
        """

    def passes(self, hello: Hello, taken: Survey) -> Iterator[Pass]:
        """The rsyncs that make its tree equal to ours; again after others of tonight for what they have left over."""

    def route(self, hello: Hello, attempt: int) -> tuple[str, ...]:
        """What rsync is told to get there, the place last. Raises TransientError while nobody knows where that is."""

    def deliver(self, hello: Hello, report: Report) -> Report:
        """Have the night recorded, and return it as it was; what is complete must outlast a crash by then.

        Raises Unseen where the target has seen none of it: from its hello on it is to be done once more.
        """


@contextlib.contextmanager
def open_way(config: Config, paths: HostPaths, world: World, machine: str = "") -> Iterator[Way]:
    """The way for a block, which leaves nothing of it open: neither connections nor, whatever ends it, a volume.

    A directory is held for as long. Raises Refused when it is not the right one, or another night has it.
    """
    if isinstance(config.target, BY_SSH):
        with connections(paths.sockets, world.say) as sockets:
            yield way_to(config, paths, world, sockets, machine)
    elif isinstance(config.target, Volume):
        way = ToVolume(config.target, config, paths, world)
        with way.let_go_on_failure():
            yield way
    else:
        with held(DirectoryPaths(config.target.path), paths, config.host):
            yield way_to(config, paths, world)


def way_to(config: Config, paths: HostPaths, world: World, sockets: Path | None = None, machine: str = "") -> Way:
    """`sockets`: a directory for those of connections that are shared (`connections`), if that is wanted.

    `machine`: what a receiver, or a report that waits somewhere, is told of which machine this is.
    """
    target = config.target
    if isinstance(target, Receiver):
        return ToReceiver(target, config, paths, world, sockets, machine)
    if isinstance(target, Directory):
        return ToDirectory(target, config, paths, world)
    if isinstance(target, Volume):
        return ToVolume(target, config, paths, world)
    return ToRemote(FarPlace(target, config, paths, world, sockets), machine)
