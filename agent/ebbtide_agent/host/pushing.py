"""That this host pushes to a tree on a disk of its own: noted beside it, until all of that is on the disk.

Where another night finds the note nobody knows that it is: the host was lost meanwhile, or the run was killed, or the
disk took no more. The next push compares what was written since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ebbtide_agent import disk
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.lost import draw_time, have_compared


@dataclass(frozen=True)
class PushNote:
    """The note of one tree: it says which `night` pushes, a drawn word, and its change time since when."""

    place: Path
    tree: Path
    night: str

    def put(self) -> None:
        """Before the first push of a night. Raises OSError, and PermanentError where the disk does not take it."""
        if self._is_tonights():
            return
        if self.place.exists() and self.tree.exists() and have_compared(self.tree, self._since(), draw_time()):
            self.write_all()
        write_whole(self.place, self.night.encode())

    def put_of_nobody(self) -> None:
        """Have the next push compare everything that there is, whenever it was written. Raises OSError."""
        if self.tree.exists():
            write_whole(self.place, b"")

    def take_off(self) -> None:
        """After the last one. Raises as `put` does. What another night has left, and no push has come to, stays."""
        if self._is_tonights():
            self.write_all()
            self.place.unlink()

    def write_all(self) -> None:
        """Raises PermanentError where the disk has not kept some of it, and OSError.

        The kernel says so once, so that the note is of no night from then on, and the next push compares everything.
        """
        try:
            disk.check_synced(self.place.parent)
        except PermanentError:
            self.put_of_nobody()
            raise

    def _since(self) -> datetime:
        noted = self.place.stat()
        return datetime.fromtimestamp(noted.st_ctime if noted.st_size else 0, timezone.utc)

    def _is_tonights(self) -> bool:
        return self.place.exists() and self.place.read_bytes() == self.night.encode()
