"""What a gate needs of an archive: objects that are written once, and word to whoever waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Archive(Protocol):
    """AWS, on a receiver; a directory beside the tree, on a peer."""

    def get(self, key: str) -> bytes:
        """Raises KeyError when absent."""

    def put_once(self, key: str, body: bytes | Path) -> bool:
        """Write an object, from memory or from a file; False when the key was there already: what was there stays."""

    def digest(self, key: str) -> str:
        """The SHA-256 of an object, in hex. Raises KeyError when absent."""

    def send_event(self, source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Leave a hint for whoever sends it on; it may get lost."""
