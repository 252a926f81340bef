"""How the host's own disks are: what SMART says of each, its arrays, and its file systems that fill up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ebbtide_agent.beside import Interfered, get_beside
from ebbtide_agent.host.arrays import arrays, text_of
from ebbtide_agent.host.mounts import MOUNTS, ON_A_DISK, read_mounts
from ebbtide_agent.host.smart import PATIENCE_SECONDS, disks
from ebbtide_agent.printable import printable
from ebbtide_agent.report import WARNING, Health

FULL_PERCENT = 90


@dataclass(frozen=True)
class Sources:
    """Where to look."""

    smartctl: str = "smartctl"
    mdstat: Path = Path("/proc/mdstat")
    mounts: Path = MOUNTS
    blocks: Path = Path("/sys/block")


THIS_HOST = Sources()


def read_health(sources: Sources) -> Iterator[Health]:
    """All there is to say, well or not."""
    yield from disks(sources.smartctl)
    yield from arrays(text_of(sources.mdstat), sources.blocks)
    yield from file_systems(read_mounts(sources.mounts))


def file_systems(mounts: Mapping[bytes, str]) -> Iterator[Health]:
    """Those of this host's disks that are nearly full, each once however often it is mounted, or do not answer."""
    seen = set()
    for point, kind in mounts.items():
        if kind not in ON_A_DISK:
            continue
        what = f"file system {printable(point)}"
        try:
            device, found = get_beside(f"a look at the {what}", partial(_found_at, point), PATIENCE_SECONDS)
        except OSError:
            continue
        except Interfered:
            yield Health(what, WARNING, f"does not answer within {PATIENCE_SECONDS:.0f} s")
            continue
        if device in seen or found.f_flag & os.ST_RDONLY:
            continue
        seen.add(device)
        full = max(
            _percent(found.f_blocks - found.f_bfree, found.f_bavail),
            _percent(found.f_files - found.f_ffree, found.f_favail),
        )
        if full >= FULL_PERCENT:
            yield Health(what, WARNING, f"{full} % full")


def _found_at(point: bytes) -> tuple[int, os.statvfs_result]:
    return os.stat(point).st_dev, os.statvfs(point)  # noqa: PTH116 - a path of bytes


def _percent(used: int, left: int) -> int:
    """As df counts: what is kept for root is neither used nor left. Without a limit nothing is used."""
    return -(-used * 100 // (used + left)) if used + left > 0 else 0
