"""Letters that wait to be sent: in a directory, each a file or a directory of its own."""

from __future__ import annotations

from pathlib import Path


def waiting(place: Path) -> list[Path]:
    """What is to be sent, by name; what is still being written, or was sent, has a name that begins with a dot."""
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))
