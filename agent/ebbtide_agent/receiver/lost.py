"""Which boot of a machine writes to a tree, and since when: until all of that is on the disk, its status says so.

Where another boot finds it so, the machine was lost, and the next push compares what that has written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from ebbtide_agent import lost, moments
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver.durable import write_all
from ebbtide_agent.receiver.lease import find_holder
from ebbtide_agent.receiver.status import ANYBODY, Status, read_status, write_status


def pushed_to(known: Status, boot: str, now: datetime) -> Status:
    """What is known of a tree once a push to it has begun."""
    is_at_it = known.boot == boot and not known.settled
    return known if is_at_it else replace(known, settled=False, boot=boot, since=moments.write(now))


def have_compared(paths: GatePaths, host_id: str, known: Status, boot: str) -> Status:
    """Have the next push compare what another boot of a machine has written and was lost with, if one was; what is
    known of the tree then."""
    if known.settled or known.boot in ("", boot):
        return known
    time_ns = known.uncompared or lost.draw_time()
    if not lost.have_compared(paths.tree(host_id), moments.read(known.since), time_ns):
        return known
    # Before anything says that it was done.
    write_all(paths)
    return replace(known, uncompared=time_ns)


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


def note_not_kept(paths: GatePaths, hosts: Iterable[str], boot: str) -> None:
    """Where the disk has not kept what this boot has written, that is as with a lost machine: who goes on in the same
    boot has it compared, and takes no push for seen."""
    if not paths.not_kept.exists():
        return
    for host_id in hosts:
        known = read_status(paths.status(host_id))
        if known.boot == boot:
            write_status(paths.status(host_id), replace(known, boot=ANYBODY))
        paths.session(host_id).unlink(missing_ok=True)
