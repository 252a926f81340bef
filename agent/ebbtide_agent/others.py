"""Where this machine keeps the backups of other servers, if it is their peer."""

from __future__ import annotations

from pathlib import Path

from ebbtide_agent.shapes import decode, field


def find_store(register: Path) -> Path | None:
    """Given `peer.json`. Raises PermanentError when it cannot be read."""
    try:
        values = decode(str(register), register.read_bytes())
    except FileNotFoundError:
        return None
    return Path(field(str(register), values, "store", str))
