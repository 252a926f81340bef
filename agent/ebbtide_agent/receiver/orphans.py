"""A session is over when the last of its processes is: whom a program leaves behind becomes our child, and is awaited.

The kernel ends all within the walls with the program that put them up, but whoever waits for a disk, or has much memory
to give back, is there a while longer. Until then the tree is not quiet.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence

from ebbtide_agent import procs

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def run_to_the_last(argv: Sequence[str], files: Sequence[int] = ()) -> int:
    """As `procs.run_attached`, and then, also if we are told to stop, wait for whom the program has left behind."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        return procs.run_attached(argv, files)
    finally:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
