"""What a machine that was lost may never have written: the next push compares it, whatever its size and time say.

A file's size and time can be on the disk while its content was in the machine's memory alone: rsync sets both by itself
where it writes in place, and the size of whatever ends in a hole. By these two the next push would take it for the
host's. So a tree that is pushed to says which boot of a machine writes to it and since when, until all of that is on
the disk. Where another boot finds it so, what was written since then gets a time that no host's file has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from ebbtide_agent import moments
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver.durable import write_all
from ebbtide_agent.receiver.lease import find_holder
from ebbtide_agent.receiver.status import Status, read_status, write_status
from ebbtide_agent.walk import walk

# A nanosecond after 1970 began: there are files of 1970 itself, and a push compares nanoseconds.
NO_FILES_TIME_NS = 1
# How far a clock may be set back while a tree is pushed to.
_SET_BACK = timedelta(minutes=1)


def pushed_to(known: Status, boot: str, now: datetime) -> Status:
    """What is known of a tree once a push to it has begun."""
    is_at_it = known.boot == boot and not known.settled
    return known if is_at_it else replace(known, settled=False, boot=boot, since=moments.write(now))


def have_compared(paths: GatePaths, host_id: str, known: Status, boot: str) -> None:
    """Have the next push compare what another boot of a machine has written and was lost with, if one was."""
    if known.settled or known.boot in ("", boot):
        return
    earliest = (moments.read(known.since) - _SET_BACK).timestamp()
    for found in walk(paths.tree(host_id)):
        if stat.S_ISREG(found.stat.st_mode) and found.stat.st_ctime >= earliest:
            os.utime(found.where, ns=(found.stat.st_atime_ns, NO_FILES_TIME_NS), follow_symlinks=False)
    # Before anything says that it was done.
    write_all(paths)


def note_written(paths: GatePaths, hosts: Iterable[str], boot: str) -> None:
    """Have what this boot was pushed on the disk, and note that it is.

    Not of who pushes still, because nothing could end it; nor of who has pushed to a machine that was lost, and not to
    this one: nothing of that was compared.
    """
    write_all(paths)
    for host_id in hosts:
        known = read_status(paths.status(host_id))
        if known.boot == boot and find_holder(paths, host_id) is None:
            write_status(paths.status(host_id), replace(known, boot="", since=""))
