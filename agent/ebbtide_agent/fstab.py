"""What fstab says should be mounted: a directory that waits for a disk must not be written to without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def not_mounted(path: Path, fstab: Path) -> Iterator[Path]:
    """Where a file system should be mounted, on the way to a directory, and is not."""
    try:
        lines = fstab.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    points = {_unescaped(fields[1]) for line in lines if len(fields := line.split("#", 1)[0].split()) > 1}
    for point in (path, *path.parents):
        if str(point) in points and not point.is_mount():
            yield point


def _unescaped(text: str) -> str:
    """fstab writes a space as \\040."""
    return text.encode().decode("unicode_escape") if "\\" in text else text
