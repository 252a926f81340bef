"""What a file system was given, all of it on its disk: the one door to that, and what the kernel says there.

What a disk does not take is lost for all, and the kernel goes on: whoever reads finds it in memory, as if it were
there. It says so once, to whoever first syncs the file system after it (syncfs, Linux 5.8), and not whose it was. So
where a file system holds what is several hosts', nobody comes here but who keeps that word for all of them. Who syncs
a file or a directory by itself (`files`) takes it from nobody.
"""

from __future__ import annotations

from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.stillness import STILL_SECONDS


def sync(place: Path) -> str | None:
    """Have on its disk what the file system of a place was given; why some of it never will be, if so."""
    ended = procs.run(("sync", "-f", str(place)), still_seconds=STILL_SECONDS)
    return None if ended.exit_code == 0 else ended.why


def check_synced(place: Path) -> None:
    """Have it there. Raises PermanentError."""
    if why := sync(place):
        raise PermanentError(f"the disk did not keep what was written to it: {why}")
