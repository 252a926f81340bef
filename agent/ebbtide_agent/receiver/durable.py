"""That what was written is on the disk, or that some of it never will be: what a disk does not take is lost for all.

The kernel says so once, and not whose it was (`disk`). So it is kept for all who ask later, and whoever has something
written to a volume of several hosts asks here.
"""

from __future__ import annotations

from ebbtide_agent import disk, volume
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import locked, write_whole
from ebbtide_agent.paths import GatePaths

READ_ONLY = "the receiver's volume turned read-only after a file system error"
NOT_KEPT = "the receiver's volume did not keep what was written to it"


def write_all(paths: GatePaths) -> None:
    """Have what was written on the disk. Raises PermanentError where some of it is lost, now or before."""
    # Whoever comes while another one is told waits: only then it is known.
    with locked(paths.run):
        if not paths.not_kept.exists():
            why = disk.sync(paths.hosts)
            if why is None:
                return
            write_whole(paths.not_kept, why.encode())
    raise PermanentError(f"{NOT_KEPT}: {paths.not_kept.read_text()}")


def find_why_lost(paths: GatePaths) -> str | None:
    """Why nobody can vouch for what was pushed; None as far as it is known."""
    if paths.not_kept.exists():
        return NOT_KEPT
    return READ_ONLY if volume.has_turned_read_only(paths.hosts) else None


def keep_why_lost(paths: GatePaths) -> str | None:
    """The same, kept: once it is mended nobody sees any more that a volume has turned read-only, and what was in memory
    then is lost."""
    why = find_why_lost(paths)
    if why and not paths.not_kept.exists():
        write_whole(paths.not_kept, why.encode())
    return why
