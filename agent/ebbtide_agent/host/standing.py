"""How this host stands: its last nights, its index, and whether one is under way. Only looks."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ebbtide_agent.host.course import FULL_EVERY
from ebbtide_agent.host.history import find_nights
from ebbtide_agent.host.identity import Installed, find_legible
from ebbtide_agent.host.index import Header, find_index
from ebbtide_agent.host.long_push import LongPush, find_long_push
from ebbtide_agent.host.mark import find_begun, find_mark
from ebbtide_agent.host.mounts import MOUNTS
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report

_LOCKS = Path("/proc/locks")
# A night and a half: by then the next one should have ended.
LONG_AGO = timedelta(hours=36)


@dataclass(frozen=True)
class IndexStanding:
    """The index: what its header says, when it was kept, and by when everything is compared again."""

    header: Header
    kept: datetime
    full_by: datetime


@dataclass(frozen=True)
class Standing:
    """No last night: none was ever reported. `under_way` is the process of a night that goes on now.

    `cut_short` is when a later one began that did not come to its end, `unreported` when one did that left no report
    for whatever reason.
    """

    last: Report | None
    index: IndexStanding | None
    long_push: LongPush | None
    under_way: int | None
    cut_short: str | None
    unreported: datetime | None
    installed: Installed | None

    def is_overdue(self, now: datetime) -> bool:
        """Whether the last night that was reported is longer ago than nights are apart."""
        return self.last is not None and now - self.last.finished > LONG_AGO


def standing_of(paths: HostPaths) -> Standing:
    nights, under_way = find_nights(paths), holder_of(paths.lock)
    cut_short = None if under_way else find_mark(paths.running)
    last = nights[-1] if nights else None
    unreported = None if under_way else find_unreported(paths.lock, last)
    index, long_push = _index(paths.index), find_long_push(nights)
    return Standing(last, index, long_push, under_way, cut_short, unreported, find_legible(paths))


def find_unreported(lock: Path, last: Report | None) -> datetime | None:
    """When the last run began, if it is another one than was reported last; its clock may have been wrong."""
    begun = find_begun(lock)
    if begun is None or (last is not None and int(begun.timestamp()) == int(last.started.timestamp())):
        return None
    return begun


def _index(path: Path) -> IndexStanding | None:
    index = find_index(path)
    if index is None:
        return None
    kept = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    return IndexStanding(index.header, kept, index.header.full + FULL_EVERY)


def holder_of(lock: Path) -> int | None:
    """The process that holds a lock, or None.

    It is looked up and not tried: whoever tries holds the lock for a moment, and a night that begins then is refused.
    """
    try:
        name, held = _name_among_locks(lock), _LOCKS.read_text()
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 1234 00:2f:5678 0 EOF
    found = re.search(rf"FLOCK\s+\S+\s+WRITE\s+(\d+)\s+{name}\s", held)
    return int(found[1]) if found else None


def _name_among_locks(lock: Path) -> str:
    """The pattern of what the kernel calls a file there: its inode, which others have elsewhere, after the device of
    its file system. Of some, such as btrfs, only the mount tells that device, and of a chroot's own it tells nothing.
    """
    with lock.open("rb") as file:
        inode, opened = os.fstat(file.fileno()).st_ino, Path(f"/proc/self/fdinfo/{file.fileno()}").read_text()
    mount = re.search(r"^mnt_id:\s*(\d+)$", opened, re.MULTILINE)
    device = mount and re.search(rf"^{mount[1]} \d+ (\d+):(\d+) ", MOUNTS.read_text(errors="replace"), re.MULTILINE)
    return f"{int(device[1]):02x}:{int(device[2]):02x}:{inode}" if device else rf"\S+:{inode}"
