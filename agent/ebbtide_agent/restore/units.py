"""Which of a tree's own units, and its users', would do the original's work or touch other servers', by what they are,
not by a list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from ebbtide_agent.restore.layer import is_within

_DIRECTORIES = tuple(f"{place}/systemd/system" for place in ("etc", "run", "usr/local/lib", "usr/lib", "lib"))
# What lies here goes before what systemd is told on its command line.
_BEFORE_ALL = PurePosixPath("etc/systemd/system.control")
# Where every user's systemd looks, for what holds of each of its timers, wherever that comes from.
_USERS = "usr/lib/systemd/user"
_OF_EACH_TIMER = f"{_USERS}/timer.d"
# Its operator makes a file here, of a timer's name, to have that one all the same.
WANTED = "etc/ebbtide-user-timers"
_UNLESS_WANTED = f"[Unit]\nConditionPathExists=/{WANTED}/%n\n".encode()
_FOR_LATER = re.compile(r"[\w:.\\@-]+\.timer", re.ASCII)
_MOUNTS = re.compile(r"[\w:.\\@-]+\.(auto)?mount", re.ASCII)
# What a kernel shows as files, and memory: what systemd itself and Debian have units for. No server's disk is there.
_OF_THE_KERNEL = re.compile(r"((dev|proc|sys)-.+|.*rpc_pipefs|run-lock|tmp|-)\.(auto)?mount")


def left_out(tree: Path) -> tuple[str, ...]:
    """Every timer, and whatever mounts what is neither the kernel's nor memory: the names of the tree's own units."""
    directories = (*_DIRECTORIES, str(_BEFORE_ALL))
    names = {each.name for place in directories if is_within(tree, place) for each in (tree / place).iterdir()}
    return tuple(sorted(name for name in names if _is_left_out(name)))


def before_all(tree: Path, units: Iterable[str]) -> Iterator[str]:
    """Where one of these units lies in the tree so that no word on a command line would keep it from starting."""
    if is_within(tree, _BEFORE_ALL):
        for unit in units:
            if os.path.lexists(tree / _BEFORE_ALL / unit):
                yield str(_BEFORE_ALL / unit)


def over_users(tree: Path) -> Iterator[tuple[str, bytes | None]]:
    """Paths, and what is there in place of what was, so that no user's timer starts before it is wanted here."""
    if is_within(tree, _OF_EACH_TIMER if os.path.lexists(tree / _OF_EACH_TIMER) else _USERS):
        yield f"{_OF_EACH_TIMER}/ebbtide.conf", _UNLESS_WANTED
    if is_within(tree, "etc") and os.path.lexists(tree / WANTED):
        yield WANTED, None


def _is_left_out(name: str) -> bool:
    if _MOUNTS.fullmatch(name):
        return not _OF_THE_KERNEL.fullmatch(name)
    return _FOR_LATER.fullmatch(name) is not None
