"""What a machine that was lost may never have written: the next push compares it, whatever its size and time say.

A file's size and time can be on the disk while its content was in the machine's memory alone: rsync sets both by itself
where it writes in place, and the size of whatever ends in a hole. By these two the next push would take it for the
host's. So what was written since a push began gets a time that no host's file has, once another boot finds it so.
That is drawn: whoever may write to a host could give it to a file.
"""

from __future__ import annotations

import os
import secrets
import stat
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent.walk import Found, walk

# Of the first second of 1970. A push compares nanoseconds.
_TIMES_NS = range(1, 10**9)
# How far a clock may be set back while a tree is pushed to: as one that was told of another time zone.
_SET_BACK = timedelta(days=1)


def draw_time() -> int:
    """For files that are to be compared, in nanoseconds since the epoch; never 0."""
    return secrets.choice(_TIMES_NS)


def have_compared(tree: Path, since: datetime, time_ns: int) -> bool:
    """Have the next push compare all files that were written to a tree since then: they get this time.

    Whether there are any: then that is still to be written to the disk.
    """
    earliest, are_any = (since - _SET_BACK).timestamp(), False
    for found in walk(tree):
        if stat.S_ISREG(found.stat.st_mode) and found.stat.st_ctime >= earliest:
            os.utime(found.where, ns=(found.stat.st_atime_ns, time_ns), follow_symlinks=False)
            are_any = True
    return are_any


def is_to_be_compared(found: Found, time_ns: int) -> bool:
    """Whether no push has come by since files got this time; 0 if none did."""
    return time_ns != 0 and stat.S_ISREG(found.stat.st_mode) and found.stat.st_mtime_ns == time_ns
