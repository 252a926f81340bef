"""Small files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new, never a piece."""
    making = path.with_name(f".{path.name}.new")
    making.unlink(missing_ok=True)
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
