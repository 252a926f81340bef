"""What a machine that was lost may never have written: the next push compares it, whatever its size and time say.

A file's size and time can be on the disk while its content was in the machine's memory alone: rsync sets both by itself
where it writes in place, and the size of whatever ends in a hole. By these two the next push would take it for the
host's. So what was written since a push began gets a time that no host's file has, once another boot finds it so.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

from ebbtide_agent.walk import Found, walk

# A nanosecond after 1970 began: there are files of 1970 itself, and a push compares nanoseconds.
_NO_FILES_TIME_NS = 1
# How far a clock may be set back while a tree is pushed to: as one that was told of another time zone.
_SET_BACK = timedelta(days=1)


def have_compared(tree: Path, since: datetime) -> None:
    """Have the next push compare all files that were written to a tree since then. Not on the disk yet."""
    earliest = (since - _SET_BACK).timestamp()
    for found in walk(tree):
        if stat.S_ISREG(found.stat.st_mode) and found.stat.st_ctime >= earliest:
            os.utime(found.where, ns=(found.stat.st_atime_ns, _NO_FILES_TIME_NS), follow_symlinks=False)


def is_to_be_compared(found: Found) -> bool:
    """Whether no push has come by since."""
    return stat.S_ISREG(found.stat.st_mode) and found.stat.st_mtime_ns == _NO_FILES_TIME_NS
