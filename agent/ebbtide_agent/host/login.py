"""Who is to be reached by ssh, as the configuration says: composed here, for every way there and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.host import compression
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.target import Receiver, Remote


@dataclass(frozen=True)
class Login:
    """Who is to be reached by ssh, as whom, with which key, and where the host keys are pinned.

    `sockets` is a directory for the sockets of connections that go on to be used; without one each command has its own.
    `elsewhere` is the address of a machine that stands in for the one of that name, and has its host key.
    `compress` is what COMPRESS says.
    """

    name: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    sockets: Path | None = None
    elsewhere: str = ""
    compress: str = compression.AUTO


def login_of(config: Config, there: Receiver | Remote, sockets: Path | None = None) -> Login:
    """A receiver takes this host as USER; a machine that is not ours, as whom TARGET says."""
    return Login(
        name=there.name,
        port=there.port,
        user=there.user if isinstance(there, Remote) else config.user,
        key=config.key,
        known_hosts=config.known_hosts,
        sockets=sockets,
        compress=config.compress,
    )
