"""Whether a directory is the one that the backups of this host go to: refused when something else lies in its place.

A disk that is not mounted leaves an empty directory behind, and a backup written there fills the system's own disk and
leaves the operator without one. So the directory carries our mark, and a mark that was there must be there again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Callable

from ebbtide_agent import snapshots
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.files import write_whole
from ebbtide_agent.fstab import not_mounted
from ebbtide_agent.host.lock import locked
from ebbtide_agent.host.look import look_first
from ebbtide_agent.paths import DirectoryPaths, HostPaths
from ebbtide_agent.shapes import decode, encode, field


def claim(store: DirectoryPaths, paths: HostPaths, host: str, say: Callable[[str], None]) -> None:
    """Leave our mark on a directory that is held, or find it.

    Raises Refused when another host has left its own before we held it.
    """
    if not _is_marked(store, host):
        write_whole(store.mark, encode({"host": host}))
    keep_target(paths.target, str(store.path), say)


def keep_target(kept: Path, target: str, say: Callable[[str], None]) -> None:
    """Remember where the last one of its kind went."""
    try:
        if went_to(kept, target):
            return
    except PermanentError as error:
        say(f"where the last one went is not known any more: {error}")
    try:
        write_whole(kept, encode({"target": target}))
    except OSError as error:
        # A full disk is no reason to have no backup.
        say(f"where this went was not kept: {error}")


def went_to(kept: Path, target: str) -> bool:
    """Whether the last one of its kind went there. Raises PermanentError when that cannot be read."""
    return _find(kept, "target") == target


@contextlib.contextmanager
def held(store: DirectoryPaths, paths: HostPaths, host: str) -> Iterator[None]:
    """Be the only one who writes to a directory, for a block; whoever reads there is in nobody's way.

    The lock lies there, and not with our state: what runs with another state, or on another machine, meets it too.
    Raises Refused as `check_place` does, having written nothing, and while another one holds it.
    """
    check_place(store, paths, host)
    with locked(store.lock):
        yield


def check_place(store: DirectoryPaths, paths: HostPaths, host: str) -> None:
    """Raises Refused for a directory that does not carry our mark and must not be given it; Interfered when it does not
    answer."""
    look_first(f"a look at TARGET {store.path}", partial(_check_place, store, paths, host))


def _check_place(store: DirectoryPaths, paths: HostPaths, host: str) -> None:
    if not store.path.is_dir():
        raise Refused(f"TARGET {store.path} is not a directory: mount what belongs there, or make it")
    for point in not_mounted(store.path, paths.fstab):
        raise Refused(f"TARGET {store.path}: {paths.fstab} has a file system for {point}, and it is not mounted")
    if _is_marked(store, host):
        return
    if went_to(paths.target, str(store.path)):
        raise Refused(
            f"TARGET {store.path} is not what it was at the last backup: {store.mark.name} is missing there. Mount the"
            f" right disk; or, to begin anew on this one, delete {paths.target}"
        )
    if snapshots.find(path.name for path in store.path.iterdir()):
        raise Refused(f"TARGET {store.path} holds dated snapshots and no {store.mark.name} that says whose they are")


def _is_marked(store: DirectoryPaths, host: str) -> bool:
    """Whether our mark is there. Raises Refused for another host's."""
    owner = _find(store.mark, "host")
    if owner not in (None, host):
        raise Refused(f"TARGET {store.path} holds the backups of {owner}; HOST is {host}. Give each host its own")
    return owner is not None


def _find(path: Path, name: str) -> str | None:
    try:
        return str(field(str(path), decode(str(path), path.read_bytes()), name, str))
    except FileNotFoundError:
        return None
