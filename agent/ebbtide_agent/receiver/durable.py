"""That what was written is on the disk, or that some of it never will be: what a disk does not take is lost for all.

The kernel goes on, and says so once, to whoever asks first after it (syncfs, Linux 5.8), and not whose it was; whoever
reads finds it in memory, as if it were there. So it is kept for all who ask later.
"""

from __future__ import annotations

from ebbtide_agent import procs, volume
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
            ended = procs.run(("sync", "-f", str(paths.hosts)))
            if ended.exit_code == 0:
                return
            write_whole(paths.not_kept, ended.why.encode())
    raise PermanentError(f"{NOT_KEPT}: {paths.not_kept.read_text()}")


def find_why_lost(paths: GatePaths) -> str | None:
    """Why nobody can vouch for what was pushed; None as far as it is known."""
    if paths.not_kept.exists():
        return NOT_KEPT
    return READ_ONLY if volume.has_turned_read_only(paths.hosts) else None
