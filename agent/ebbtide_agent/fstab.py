"""What fstab says should be mounted: a directory that waits for a disk must not be written to without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")


def not_mounted(path: Path, fstab: Path) -> Iterator[Path]:
    """Where a file system should be mounted, on the way to a directory, and is not."""
    try:
        lines = fstab.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return
    said = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = {Path(_unescaped(fields[1])) for fields in said if len(fields) > 1}
    real = path.resolve()
    for point in dict.fromkeys((path, *path.parents, real, *real.parents)):
        if point in points and not _is_mounted(point):
            yield point


def _is_mounted(point: Path) -> bool:
    """A directory that is mounted a second time looks like any other one, but to the kernel."""
    if point.is_mount():
        return True
    mounts = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    return str(point.resolve()) in (_unescaped(line.split()[4]) for line in mounts)


def _unescaped(text: str) -> str:
    """A space is written as \\040."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
