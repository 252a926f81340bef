"""The first process of every machine: runs its user data, reaps what dies, and ends all of it when told.

SIGTERM is the power button: everything gets SIGTERM, then SIGKILL. The end of standard input is the plug being pulled:
the sandbox holds the other end, so whatever ends the sandbox ends its machines. Standard library only, one thread.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
LIFELINE = 0
GRACE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.02


def main(arguments: Sequence[str]) -> None:
    """Wait for the sandbox's word on standard input, then be the first process of a machine: `init COMMAND…`."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if wait_for_the_word():
        serve(arguments)


def wait_for_the_word() -> bool:
    """True once the sandbox says that the machine is ready to run; False when it is gone instead."""
    return os.read(LIFELINE, 1) != b""


def serve(command: Sequence[str]) -> None:
    """Run a command, or nothing, until the machine powers off or its plug is pulled; nothing of it is left."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    power_button: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: power_button.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    if command:
        _spawn(command)
    while not power_button:
        ready, _, _ = select.select([LIFELINE, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
        _reap()
        if LIFELINE in ready and os.read(LIFELINE, 4096) == b"":
            break
    if power_button:
        _end_all(signal.SIGTERM, GRACE_SECONDS)
    _end_all(signal.SIGKILL, None)


def _spawn(command: Sequence[str]) -> None:
    if os.fork() == 0:
        os.setsid()
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, LIFELINE)
        for ignored in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        try:
            os.execvp(command[0], list(command))
        except OSError as error:
            print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(127)


def _end_all(number: signal.Signals, within: float | None) -> None:
    """Send a signal to every process below us and reap until none is left or the time is up (seconds)."""
    limit = None if within is None else time.monotonic() + within
    told: set[int] = set()
    while below := _descendants():
        for pid in below:
            if pid not in told or number is signal.SIGKILL:
                told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        _reap()
        if limit is not None and time.monotonic() > limit:
            return
        time.sleep(LOOK_AGAIN_SECONDS)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants() -> set[int]:
    """Every live process below this one, at any depth."""
    parents = dict(_parents())
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _parents() -> list[tuple[int, int]]:
    """(pid, its parent) of every process that is not a zombie, from /proc."""
    pairs = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
                if state != "Z":
                    pairs.append((int(entry.name), int(parent)))
    return pairs


if __name__ == "__main__":
    main(sys.argv[1:])
