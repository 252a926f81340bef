"""Where a host's backup goes, as the operator writes it in TARGET: one value for each kind of target.

Each kind knows how owners, modes and devices are kept there: as themselves, or recorded in attributes.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Union

from ebbtide_agent.report import FAKE_SUPER, REAL

SSH_PORT = 22
EXPECTED = (
    "receiver://name[:port], an absolute path such as /backup, ssh://user@name[:port]/path, or"
    " volume://ID@vol-…/region/archive"
)

LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_IPV6 = r"\[(?P<ipv6>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]"
_PLACE = rf"(?:(?P<name>{LABEL}(?:\.{LABEL})*)|{_IPV6})(?::(?P<port>[0-9]{{1,5}}))?"
_RECEIVER = re.compile(rf"receiver://{_PLACE}")
_DIRECTORY = re.compile(r"/[^\x00-\x1f\x7f]*")
# Nothing that a shell, or something like one over there, would take for more than a letter.
_REMOTE = re.compile(
    rf"ssh://(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,31}})@{_PLACE}(?P<path>/(?:~|[\w.][\w.-]*)(?:/[\w.][\w.-]*)*/?)",
    re.ASCII,
)
_VOLUME = re.compile(
    r"volume://(?P<id>[a-z0-9]{4})@(?P<volume>vol-[a-z0-9-]{1,60})/(?P<region>[a-z0-9-]+)/(?P<archive>[a-z0-9.-]{3,63})"
)


@dataclass(frozen=True)
class Receiver:
    """A machine that is up for the night and runs our gate."""

    tree: ClassVar[str] = FAKE_SUPER
    name: str
    port: int = SSH_PORT

    def __str__(self) -> str:
        return f"receiver://{_name_and_port(self.name, self.port)}"


@dataclass(frozen=True)
class Directory:
    """A directory of this host: a disk of its own, we hope."""

    tree: ClassVar[str] = REAL
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def hides(self, root: Path) -> tuple[str, ...]:
        """The rsync patterns, seen from `root`, that keep the backup out of itself: all that is in the directory."""
        return tuple(f"{place}/*" for place in self.seen_from(root))

    def seen_from(self, root: Path) -> tuple[str, ...]:
        """The directory as patterns with a wildcard begin, if it is below `root`."""
        real = Path(os.path.realpath(root))
        places = dict.fromkeys((self.path, Path(os.path.realpath(self.path))))
        inside = [place.relative_to(above) for place in places for above in {root, real} if _is_below(place, above)]
        return tuple(f"/{_literally(str(place))}" for place in inside)


@dataclass(frozen=True)
class Remote:
    """A directory on a machine that is not ours, reached by ssh. All it needs to have is rsync; it may have no shell.

    `path` is as rsync is given it: absolute, or as seen from where the login begins.
    """

    tree: ClassVar[str] = FAKE_SUPER
    user: str
    name: str
    port: int
    path: str

    def __str__(self) -> str:
        path = self.path if self.path.startswith("/") else f"/~/{self.path}"
        return f"ssh://{self.user}@{_name_and_port(self.name, self.port)}{path}"


@dataclass(frozen=True)
class Volume:
    """An EBS volume of this host's own, attached to it; what came of a night this host puts into the archive itself."""

    tree: ClassVar[str] = REAL
    host_id: str
    volume_id: str
    region: str
    archive: str

    def __str__(self) -> str:
        return f"volume://{self.host_id}@{self.volume_id}/{self.region}/{self.archive}"


Target = Union[Receiver, Directory, Remote, Volume]
# Those that want a key, and a host key to be pinned.
BY_SSH = (Receiver, Remote)
# For a configuration that names none, which is a fault of its own.
NOWHERE = Directory(Path("/nowhere"))


def parse(text: str) -> Target:
    """Raises ValueError with what was expected."""
    receiver, remote, volume = (kind.fullmatch(text) for kind in (_RECEIVER, _REMOTE, _VOLUME))
    if receiver:
        return Receiver(_name(receiver), _port(receiver["port"]))
    if remote:
        path = _tidy(remote["path"])
        path = path[len("/~/") :] if path.startswith("/~/") else path
        if path == "/~":
            raise ValueError("a directory below ~, which is where the login begins")
        return Remote(remote["user"], _name(remote), _port(remote["port"]), path)
    if volume:
        return Volume(volume["id"], volume["volume"], volume["region"], volume["archive"])
    if _DIRECTORY.fullmatch(text):
        path = _tidy(text)
        if path == "/":
            raise ValueError("a directory below /")
        return Directory(Path(path))
    raise ValueError(EXPECTED)


def _name(place: re.Match[str]) -> str:
    """An IPv6 address is in brackets where a port may follow it, and nowhere else."""
    if place["ipv6"] is None:
        return place["name"]
    try:
        ipaddress.IPv6Address(place["ipv6"])
    except ValueError:
        raise ValueError("an IPv6 address in brackets, such as [2001:db8::1]") from None
    return place["ipv6"]


def _port(text: str | None) -> int:
    port = int(text or SSH_PORT)
    if not 0 < port < 65536:
        raise ValueError("a port from 1 to 65535")
    return port


def _tidy(path: str) -> str:
    if ".." in PurePosixPath(path).parts:
        raise ValueError("a path without ..")
    return str(PurePosixPath("/", *PurePosixPath(path.lstrip("/")).parts))


def _name_and_port(name: str, port: int) -> str:
    enclosed = f"[{name}]" if ":" in name else name
    return enclosed if port == SSH_PORT else f"{enclosed}:{port}"


def _is_below(place: Path, above: Path) -> bool:
    return above in place.parents


def _literally(place: str) -> str:
    """A path in a pattern that has a wildcard elsewhere: only there does rsync take a backslash for an escape."""
    return re.sub(r"([*?\[\\])", r"\\\1", place)
