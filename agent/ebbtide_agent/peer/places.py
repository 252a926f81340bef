"""A guest's place in the store, and the user id that its tree belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.peer.register import Guest
from ebbtide_agent.receiver.places import make_places

# The first is what a receiver gives the same host; containers may have been given all of it.
_FIRST_UIDS = (1_000_000, 2_000_000_000)
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
        make_places(self.paths, [self.guest.as_briefed()], self.as_root)


def choose_uid(host_id: str, taken: Sequence[range]) -> int:
    """A user id that is nobody's, the same wherever it can be. Raises PermanentError when there is none."""
    for first in _FIRST_UIDS:
        uid = first + int(host_id, 36)
        if not any(uid in each for each in taken):
            return uid
    raise PermanentError(f"user id {uid} for {host_id} is somebody's in /etc/passwd or /etc/subuid: give another --id")


def closed_above(store: Path) -> Iterator[Path]:
    """The directories that are there, on the way to the store and it itself, and that only their owners may pass."""
    for place in (store, *store.parents):
        if place.is_dir() and not place.stat().st_mode & _OTHERS_PASS:
            yield place
