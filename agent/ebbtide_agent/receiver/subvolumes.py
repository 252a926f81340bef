"""Quotas on btrfs: each host's tree a subvolume, each subvolume a group of its own, and all of them in one.

Simple quotas (Linux 6.7): what is written belongs to the subvolume that it was written for as long as it is there. They
count what is stored, so compressed, and the records that lead to it; and only what is written once they are on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import locked

# The group of all trees. What it may not have is for manifests and status.
_ALL = "1/0"
# btrfs takes room for its records in chunks: each a tenth of a small volume, of others as much as this. And it takes
# the next one while there is still that much in the last: a hundredth of the whole, or this.
_CHUNK, _CHUNK_OF_A_SMALL_ONE, _SMALL = 1 << 30, 1 << 28, 50 << 30
_AHEAD = 1 << 26
_TOP_OF_A_SUBVOLUME = 256
_RESERVE = "reserve"


def enable(place: Path) -> str | None:
    """Count from here on what each subvolume takes; why that cannot be, if it cannot. Once more is success."""
    ended = procs.run(("btrfs", "quota", "enable", "--simple", str(place)))
    if ended.exit_code != 0:
        return ended.why
    if _ALL not in _groups(place):
        procs.check(("btrfs", "qgroup", "create", _ALL, str(place)))
    return None


def make(tree: Path) -> None:
    """A new, empty tree in the group of all."""
    procs.check(("btrfs", "subvolume", "create", "-i", _ALL, str(tree)))


def limit(tree: Path, most: int | None) -> None:
    """Let a tree hold `most` bytes, or as many as there are. Raises PermanentError."""
    if tree.stat().st_ino != _TOP_OF_A_SUBVOLUME:
        raise PermanentError(f"{tree} is no subvolume")
    procs.check(("btrfs", "qgroup", "limit", "none" if most is None else str(most), str(tree)))


def used(tree: Path) -> int:
    (group,) = _groups(tree, "-f").values()
    return int(group["referenced"])


def keep_a_reserve(place: Path) -> None:
    """A hundredth of a volume, put by in a file, and a limit for all trees together, so that records find room, too.

    How much btrfs will have taken for its records nobody can tell, so that the file alone is sure for contents, and the
    limit alone for what takes no contents.
    """
    whole = shutil.disk_usage(place).total
    with contextlib.suppress(OSError), (place / _RESERVE).open("ab") as file:  # as much as there is
        os.posix_fallocate(file.fileno(), 0, whole // 100)
    chunk = min(_CHUNK_OF_A_SMALL_ONE if whole <= _SMALL else _CHUNK, whole // 10)
    free = shutil.disk_usage(place).free - chunk - max(_AHEAD, whole // 100)
    _limit_all(place, int(_group_of_all(place)["referenced"]) + max(free, 0))


def give_the_reserve(place: Path) -> None:
    """Make room for what is to be recorded, and let no tree have it.

    Whoever comes while another one does so waits: only then is there room.
    """
    with locked(place):
        if (place / _RESERVE).exists():
            _limit_all(place, int(_group_of_all(place)["referenced"]))
            (place / _RESERVE).unlink()
            procs.check(("btrfs", "filesystem", "sync", str(place)))


def left(place: Path) -> int:
    """What all trees together may still take."""
    group = _group_of_all(place)
    return max(int(group["max_referenced"]) - int(group["referenced"]), 0)


def _limit_all(place: Path, most: int) -> None:
    procs.check(("btrfs", "qgroup", "limit", str(most), _ALL, str(place)))


def _group_of_all(place: Path) -> Mapping[str, Any]:
    if _ALL not in (groups := _groups(place)):
        raise PermanentError(f"{place} has no group {_ALL} of all trees, only {', '.join(groups)}")
    return groups[_ALL]


def _groups(place: Path, *which: str) -> Mapping[str, Mapping[str, Any]]:
    """The groups of a volume by their ids, with what is not yet written."""
    words = ("btrfs", "--format", "json", "qgroup", "show", "--sync", "--raw", "-r", *which, str(place))
    return {group["qgroupid"]: group for group in json.loads(procs.check(words))["qgroup-show"]}
