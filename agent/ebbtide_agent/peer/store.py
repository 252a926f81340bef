"""The place where a peer keeps everything: known by its mark, and refused when something else lies there."""

from __future__ import annotations

from pathlib import Path

from ebbtide_agent.errors import Refused
from ebbtide_agent.files import is_blank
from ebbtide_agent.fstab import not_mounted
from ebbtide_agent.paths import PeerPaths
from ebbtide_agent.shapes import decode


def check_store(paths: PeerPaths, mark: str, fstab: Path) -> None:
    """Raises Refused unless it is ours: a disk that is not mounted leaves an empty directory behind."""
    found = find_mark(paths, fstab)
    if found is None:
        raise Refused(f"{paths.store} has no {paths.volume_owner.name}: mount the file system that has it")
    if found != mark:
        raise Refused(f"{paths.store} is the store of {found}, and this machine's is {mark}: mount the right one")


def find_mark(paths: PeerPaths, fstab: Path) -> str | None:
    """Whose store it is; None when nobody's and empty. Raises Refused when it is neither, or not mounted."""
    for point in not_mounted(paths.store, fstab):
        raise Refused(f"{paths.store}: {fstab} has a file system for {point}, and it is not mounted")
    if paths.volume_owner.is_file():
        return str(decode(str(paths.volume_owner), paths.volume_owner.read_bytes()).get("receiver"))
    if paths.store.is_dir() and not is_blank(paths.store, paths.volume_owner):
        raise Refused(
            f"{paths.store} holds files and no {paths.volume_owner.name}: it is not a store of Ebbtide's. Mount the"
            " file system that is, or name an empty directory"
        )
    return None
