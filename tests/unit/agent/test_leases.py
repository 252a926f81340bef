"""Whoever is at work when the gates close is asked to stop, by the lease that it holds."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.errors import TransientError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import MOST_SESSIONS, end_sessions, seated
from ebbtide_agent.receiver.places import make_room

# Of the host us0a; when it is asked to stop, one of eu0a begins, which says whether it was asked as well.
SESSIONS = """
import os, signal, sys
from pathlib import Path
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.lease import leased

paths, asked = MachinePaths(Path(sys.argv[1])), []
signal.signal(signal.SIGTERM, lambda *_: asked.append("asked"))

with leased(paths, "us0a"):
    print("here", flush=True)
    signal.pause()
    at_work, begun = os.pipe()
    later = os.fork()
    if later == 0:
        asked.clear()
        with leased(paths, "eu0a"):
            os.write(begun, b"!")
            while not asked:
                signal.pause()
        print("asked as well", flush=True)
        os._exit(0)
    os.read(at_work, 1)
os.waitpid(later, 0)
"""


# Of the host us0a; it does not hear that it is to stop, as one that records a report.
DEAF = """
import signal, sys
from pathlib import Path
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.gate import ignore_signals
from ebbtide_agent.receiver.lease import leased

ignore_signals()
with leased(MachinePaths(Path(sys.argv[1])), "us0a"):
    print("here", flush=True)
    while True:
        signal.pause()
"""


def test_a_host_has_a_few_sessions_at_once_and_the_next_one_is_to_come_again(tmp_path: Path) -> None:
    paths = MachinePaths(tmp_path)
    make_room(paths)

    with ExitStack() as sessions:
        for _ in range(MOST_SESSIONS):
            sessions.enter_context(seated(paths, "us0a"))
        with pytest.raises(TransientError, match="host us0a has 4 sessions already"):
            sessions.enter_context(seated(paths, "us0a"))
        sessions.enter_context(seated(paths, "eu0a"))

    with seated(paths, "us0a"):
        pass


def test_who_begins_while_the_others_are_ended_is_asked_to_stop_as_well(tmp_path: Path) -> None:
    """Not waited for until our patience ends, and then killed: it may say nothing until then."""
    paths = MachinePaths(tmp_path)
    make_room(paths)
    with at_work(SESSIONS, tmp_path) as sessions:
        assert sessions.stdout
        end_sessions(paths, ["us0a", "eu0a"], patience=5)

        assert sessions.stdout.readline() == b"asked as well\n"


@pytest.mark.fault("R10")
def test_whoever_is_deaf_is_waited_for_as_long_as_our_patience_and_ended_then(tmp_path: Path) -> None:
    paths = MachinePaths(tmp_path)
    make_room(paths)
    with at_work(DEAF, tmp_path) as session:
        try:
            end_sessions(paths, ["us0a"], patience=0.1)

            assert session.wait(30) == -signal.SIGKILL
        finally:
            session.kill()


@contextmanager
def at_work(program: str, root: Path) -> Iterator["subprocess.Popen[bytes]"]:
    words = [sys.executable, "-c", program, str(root)]
    environment = {**os.environ, "PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as session:
        assert session.stdout and session.stdout.readline() == b"here\n"
        yield session
