"""What has to be there before a host may knock: room for the gate's notes, a place for each host, and walls."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from ebbtide_agent.files import write_whole
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.brief import BriefedHost


def make_room(paths: GatePaths) -> None:
    """For the gate's own notes; from here on it is not closing."""
    paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.sessions.mkdir(exist_ok=True, mode=0o700)
    paths.closing.unlink(missing_ok=True)


def make_directory(tree: Path) -> None:
    tree.mkdir(mode=0o700)


def make_places(
    paths: GatePaths,
    hosts: Iterable[BriefedHost],
    as_root: bool,
    make_tree: Callable[[Path], None] = make_directory,
) -> None:
    """A place for each host: the host's user may pass through it, and owns nothing but the tree within."""
    paths.hosts.mkdir(exist_ok=True)
    paths.hosts.chmod(0o711)
    for host in hosts:
        paths.host(host.id).mkdir(exist_ok=True)
        paths.host(host.id).chmod(0o711)
        tree = paths.tree(host.id)
        if not tree.exists():
            make_tree(tree)
        if as_root and tree.lstat().st_uid != host.uid:
            tree.chmod(0o700)
            os.chown(tree, host.uid, host.uid, follow_symlinks=False)


def choose_walls(paths: GatePaths, as_root: bool) -> str:
    """Choose the walls around each host's rsync, write them down for the gate, and say which they are."""
    kind = confine.choose(as_root)
    write_whole(paths.confinement, kind.encode())
    return confine.sentence(kind)
