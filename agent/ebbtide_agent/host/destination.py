"""Where a restore puts things: where they were, below a directory that was named, or in a new one of its own.

A new one says by its name that it is not finished, until all is there; a restore that was cut off goes on in it. It is
closed to everybody else. A whole tree has its root's mode and owner, so that lies one below, in `tree`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from ebbtide_agent import disk
from ebbtide_agent.errors import Refused
from ebbtide_agent.files import sync_directory
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.past import WHOLE
from ebbtide_agent.host.restorable import Restorable
from ebbtide_agent.host.target import Directory

_UNFINISHED = ".unfinished"
_TREE = "tree"


def of(config: Config, point: Restorable, paths: tuple[bytes, ...], named: Path | None, in_place: bool) -> Path:
    """Raises Refused for a place among the backups. What is unfinished is only gone on with for the same paths."""
    if in_place:
        return config.root
    wished = hashlib.sha256(b"\0".join(sorted(paths))).hexdigest()[:8]
    own = Path.cwd() / f"restored-{config.host}-{point.name}{_UNFINISHED}-{wished}"
    new = own / _TREE if WHOLE in paths else own
    into = Path(os.path.realpath(named)) if named else new
    if isinstance(config.target, Directory):
        store = Path(os.path.realpath(config.target.path))
        if into == store or store in into.parents:
            raise Refused(f"{into} is where the backups are; choose another place with --into DIR")
    return into


def make(into: Path, is_new: bool) -> None:
    """Raises Refused when a restore's own directory is somebody else's: in /tmp anybody may put one there."""
    if is_new:
        _make_own(_closed_of(into))
    into.mkdir(mode=0o700, parents=not is_new, exist_ok=True)


def _make_own(closed: Path) -> None:
    """Closed before anything is written into it: an earlier agent left it with the mode of what it brought back."""
    with contextlib.suppress(FileExistsError):
        closed.mkdir(mode=0o700)
    try:
        descriptor = os.open(closed, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        raise _refusal(closed) from None
    try:
        seen = os.fstat(descriptor)
        if seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
            raise _refusal(closed)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _refusal(closed: Path) -> Refused:
    return Refused(f"{closed} is not the directory of a restore that was cut off; take it away, or choose --into DIR")


def _closed_of(into: Path) -> Path:
    """The directory that nobody else gets into."""
    return into.parent if into.name == _TREE else into


def finished(into: Path) -> Path:
    """The place under the name it gets when all is there, and on the disk: one that nothing has yet.

    Raises PermanentError where the disk does not take it.
    """
    disk.check_synced(into)
    closed = _closed_of(into)
    name = closed.name.rpartition(_UNFINISHED)[0]
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    free = next(closed.with_name(each) for each in names if not os.path.lexists(closed.with_name(each)))
    closed.rename(free)
    sync_directory(free.parent)
    return free / into.relative_to(closed)
