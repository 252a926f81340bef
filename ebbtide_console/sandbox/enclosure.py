"""The full sandbox's outer wall: private mounts and processes of its own, gone with whatever ends it.

The operator's command runs itself again inside `enter_argv(…)`. The first process in there reaps, passes SIGTERM on and
ends when the sandbox does; with it the kernel ends every process and mount of the enclosure.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ebbtide_console.sandbox.machine import python

MODULE = "ebbtide_console.sandbox.enclosure"
UNSHARE = (
    "unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private", "--",
)  # fmt: skip


def enter_argv(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` in an enclosure; it ends with its exit code. Needs root."""
    return [*UNSHARE, *python(MODULE, *argv)]


def enclosed() -> bool:
    """Whether this process runs in an enclosure."""
    return MODULE.encode() in Path("/proc/1/cmdline").read_bytes()


def main(argv: Sequence[str]) -> None:
    """Be the first process of an enclosure: run a command and end with its exit code (128 + N for signal N)."""
    command = os.fork()
    if command == 0:
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, a program of the operator's does not
            signal.signal(ignored, signal.SIG_DFL)
        os.execvp(argv[0], list(argv))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the command itself
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(command, number))
    while True:
        pid, status = os.wait()
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            sys.exit(code if code >= 0 else 128 - code)
