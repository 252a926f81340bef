"""What has to be there before a host may knock: room for the gate's notes, a place for each host, and walls."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.brief import BriefedHost

# What is the volume's and no host's own.
_OF_THE_VOLUME = (*volume.UNREADABLE, errno.EROFS)


def make_room(paths: GatePaths) -> None:
    """For the gate's own notes; from here on it is not closing, and nothing that is written was lost."""
    paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.sessions.mkdir(exist_ok=True, mode=0o700)
    paths.closing.unlink(missing_ok=True)
    paths.not_kept.unlink(missing_ok=True)


def make_directory(tree: Path) -> None:
    tree.mkdir(mode=0o700)


def make_places(
    paths: GatePaths,
    hosts: Iterable[BriefedHost],
    as_root: bool,
    make_tree: Callable[[Path], None] = make_directory,
) -> dict[str, str]:
    """A place for each host. Returns why by the id of each that has none, and leaves that for its gate to say.

    Raises OSError or PermanentError when the volume is at fault, or nobody has a place.
    """
    hosts, without = tuple(hosts), dict[str, str]()
    for host in hosts:
        try:
            make_place(paths, host, as_root, make_tree)
        except (OSError, PermanentError) as error:
            without[host.id] = str(error)
            if len(without) == len(hosts) or getattr(error, "errno", None) in _OF_THE_VOLUME:
                raise
    for host_id, why in without.items():
        write_whole(paths.without_place(host_id), why.encode())
    return without


def make_place(
    paths: GatePaths, host: BriefedHost, as_root: bool, make_tree: Callable[[Path], None] = make_directory
) -> None:
    """The host's user may pass through it, and owns nothing but the tree within."""
    for passed in (paths.hosts, paths.host(host.id)):
        passed.mkdir(exist_ok=True)
        passed.chmod(0o711)
    tree = paths.tree(host.id)
    if not tree.exists():
        make_tree(tree)
    if as_root and tree.lstat().st_uid != host.uid:
        tree.chmod(0o700)
        os.chown(tree, host.uid, host.uid, follow_symlinks=False)
    paths.without_place(host.id).unlink(missing_ok=True)


def find_why_turned_away(paths: GatePaths, host_id: str) -> str | None:
    """What is said of a host that has no place tonight; None when it has one."""
    without = paths.without_place(host_id)
    if not without.exists():
        return None
    return f"{host_id} has no place on the receiver's volume tonight: {without.read_text()}"


def choose_walls(paths: GatePaths, as_root: bool) -> str:
    """Choose the walls around each host's rsync, write them down for the gate, and say which they are."""
    kind = confine.choose(as_root)
    write_whole(paths.confinement, kind.encode())
    return confine.sentence(kind)
