"""The way back from a target: which restore points can be read now, and how rsync gets to one of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host.address import Address
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.far_place import FarPlace
from ebbtide_agent.host.from_directory import FromDirectory
from ebbtide_agent.host.from_receiver import FromReceiver
from ebbtide_agent.host.from_remote import FromRemote
from ebbtide_agent.host.from_volume import FromVolume
from ebbtide_agent.host.link import World
from ebbtide_agent.host.push import Route
from ebbtide_agent.host.restorable import AtHand, Restorable
from ebbtide_agent.host.target import Directory, Receiver, Volume
from ebbtide_agent.paths import HostPaths


class WayBack(Protocol):
    """What a restore asks of a target, in this order."""

    def at_hand(self) -> AtHand:
        """Raises Refused when what is there is not this host's, TransientError when nobody answers."""

    def reached(self, point: Restorable) -> AbstractContextManager[Route]:
        """For a block: what rsync is told to read the tree of a point, the place last."""


def way_back(
    config: Config, paths: HostPaths, world: World, address: Address | None = None, sockets: Path | None = None
) -> WayBack:
    """`address`: of a machine that was opened, for a target that is a receiver."""
    target = config.target
    if isinstance(target, Receiver):
        return FromReceiver(target, config, paths, world, address, sockets)
    if address:
        raise ConfigError((f"--from is for a receiver:// that was opened; TARGET is {target}",))
    if isinstance(target, Directory):
        return FromDirectory(target, config, paths)
    if isinstance(target, Volume):
        return FromVolume(target, paths)
    return FromRemote(FarPlace(target, config, paths, world, sockets))
