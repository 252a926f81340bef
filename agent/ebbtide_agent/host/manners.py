"""Manners: a backup gives way to everything else on its host."""

from __future__ import annotations

import os

from ebbtide_agent import procs

# The kernel's words for a class, and the last place within it.
_CLASSES = {"idle": ("-c", "3"), "best-effort": ("-c", "2", "-n", "7")}


def give_way(nice: int, ionice: str) -> None:
    """Let this process, and with it all that it starts from now on, come after others: to a processor, and to a disk.

    Who is further back already stays there. Where there is no ionice, or the kernel will not have it, nothing is lost.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    if ionice in _CLASSES:
        procs.run(("ionice", *_CLASSES[ionice], "-p", str(os.getpid())))
