"""That this host pushes to a tree on a disk of its own: noted beside it, until all of that is on the disk.

Where another boot finds the note this host was lost meanwhile, and the next push compares what it has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ebbtide_agent import moments, procs
from ebbtide_agent.files import write_whole
from ebbtide_agent.lost import draw_time, have_compared


@dataclass(frozen=True)
class PushNote:
    """The note of one tree: it says which boot pushes, and its change time since when."""

    place: Path
    tree: Path

    def put(self) -> None:
        """Before the first push of a boot. Raises OSError, and PermanentError where the disk does not take it."""
        if self._is_of_this_boot():
            return
        if self.place.exists() and self.tree.exists():
            since = datetime.fromtimestamp(self.place.stat().st_ctime, timezone.utc)
            if have_compared(self.tree, since, draw_time()):
                self._write_all()
        write_whole(self.place, moments.up().start.encode())

    def take_off(self) -> None:
        """After the last one. Raises as `put` does. What another boot has left, and no push has come to, stays."""
        if self._is_of_this_boot():
            self._write_all()
            self.place.unlink()

    def _is_of_this_boot(self) -> bool:
        return self.place.exists() and self.place.read_bytes() == moments.up().start.encode()

    def _write_all(self) -> None:
        procs.check(("sync", "-f", str(self.place)))
