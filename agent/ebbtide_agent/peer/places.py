"""A guest's place in the store, and the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.receiver.places import make_place

_OTHERS_PASS = 0o001


@dataclass(frozen=True)
class MakePlace:
    """A step: the host's own place, and in it the tree, which alone is its user's."""

    paths: PeerPaths
    guest: Guest
    as_root: bool

    def __str__(self) -> str:
        whose = f", of user id {self.guest.uid}" if self.as_root else ""
        return f"make the directory {self.paths.tree(self.guest.id)}{whose}"

    def take(self) -> None:
        make_place(self.paths, self.guest.as_briefed(), self.as_root)


def closed_above(store: Path) -> Iterator[Path]:
    """The directories that are there, on the way to the store and it itself, and that only their owners may pass."""
    for place in (store, *store.parents):
        if place.is_dir() and not place.stat().st_mode & _OTHERS_PASS:
            yield place
