"""Programs that the agent starts: nobody who watches can hold them up, nobody who hurries leaves one behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ebbtide_agent import procs, stillness

PATIENCE_SECONDS = 120.0
LOUD = ("sh", "-c", "yes | head -c 1000000; echo done >&2")
STUBBORN = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from ebbtide_agent import procs
procs.KILL_AFTER_SECONDS = 1.0
procs.stop_on(signal.SIGTERM, signal.SIGHUP)
procs.run(("sh", "-c", "trap '' TERM; echo $$ >" + sys.argv[2] + "; while :; do sleep 0.1; done"))
"""

# The machine is so busy that the program runs long before whoever has started it.
WHILE_STARTING = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from ebbtide_agent import procs
procs.stop_on(signal.SIGTERM, signal.SIGHUP)
at_once = procs.start
def in_a_while(*words):
    child = at_once(*words)
    time.sleep(1)
    return child
procs.start = in_a_while
procs.run(("sh", "-c", "echo $$ >" + sys.argv[2] + "; kill -TERM $PPID; exec sleep 600"))
"""

TOLD_TWICE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from ebbtide_agent import procs
procs.stop_on(signal.SIGTERM, signal.SIGHUP)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except SystemExit:
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(7)
"""


def test_a_program_ends_also_when_whoever_watched_it_has_gone() -> None:
    seen = []

    def watch(chunk: bytes) -> None:
        seen.append(chunk)
        raise BrokenPipeError

    ended = procs.run(LOUD, listener=watch, timeout=PATIENCE_SECONDS)

    assert (ended.exit_code, ended.err, len(seen)) == (0, b"done\n", 1)


def test_a_daemon_that_holds_the_output_open_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procs, "LINGER_SECONDS", 0.1)

    ended = procs.run(("sh", "-c", "sleep 600 & echo $!"))

    daemon = int(ended.out)
    try:
        assert ended.exit_code == 0
        assert Path(f"/proc/{daemon}").exists()
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_program_that_not_even_the_kernel_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer keeps whoever asks it from dying."""
    child = procs.start(("sleep", "600"))

    def wait(timeout: "float | None" = None) -> int:
        assert timeout is not None, "nobody would be waited for so long"
        raise subprocess.TimeoutExpired("sleep", timeout)

    with monkeypatch.context() as stuck:
        stuck.setattr(child, "wait", wait)
        procs.end_group(child)

    assert child.wait(PATIENCE_SECONDS) == -signal.SIGTERM


def test_a_program_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procs, "LOOK_EVERY_SECONDS", 0.05)

    ended = procs.run(("sleep", "600"), still_seconds=0.5)

    assert (ended.exit_code, ended.timed_out) == (procs.TIMED_OUT, True)


def test_one_that_stands_still_and_not_even_the_kernel_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procs, "LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(procs, "KILL_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(procs, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(procs, "_signal_group", lambda *_: None)

    ended = procs.run(("sh", "-c", "echo $$; exec sleep 20"), still_seconds=0.5)

    assert ended.timed_out
    os.kill(int(ended.out), signal.SIGKILL)


@pytest.mark.parametrize(
    ("goes_on", "next_to_nothing"),
    [("for n in $(seq 40); do echo $n; sleep 0.1; done", 10.0),
     ("for n in $(seq 60); do echo $n >&2; sleep 0.1; done", 10.0),
     ("for n in $(seq 35); do sleep 0.1; (while :; do :; done) & sleep 0.02; kill $!; done", 0.0)],
    ids=["says something", "complains", "works"],
)  # fmt: skip
def test_a_program_that_goes_on_is_not(monkeypatch: pytest.MonkeyPatch, goes_on: str, next_to_nothing: float) -> None:
    monkeypatch.setattr(procs, "LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(stillness, "NEXT_TO_NOTHING_SECONDS", next_to_nothing)

    assert procs.run(("sh", "-c", goes_on), still_seconds=3).exit_code == 0


def test_a_second_signal_does_not_disturb_who_is_ending_what_the_first_one_told_it_to() -> None:
    ended = subprocess.run([sys.executable, "-c", TOLD_TWICE, str(Path(procs.__file__).parents[1])], check=False)

    assert ended.returncode == 7


def test_being_told_twice_to_stop_leaves_nothing_running(tmp_path: Path) -> None:
    agent = Path(procs.__file__).parents[1]
    noted = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-c", STUBBORN, str(agent), str(noted)])
    _wait_until(lambda: noted.exists() and noted.read_text().strip() != "")

    for _ in range(4):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

    assert process.wait(PATIENCE_SECONDS) == 143
    _wait_until(lambda: not Path("/proc", noted.read_text().strip()).exists())


def test_being_told_to_stop_while_a_program_starts_leaves_nothing_running(tmp_path: Path) -> None:
    agent, noted = Path(procs.__file__).parents[1], tmp_path / "pid"

    process = subprocess.Popen([sys.executable, "-c", WHILE_STARTING, str(agent), str(noted)])

    assert process.wait(PATIENCE_SECONDS) == 143
    _wait_until(lambda: not Path("/proc", noted.read_text().strip()).exists())


def _wait_until(happens: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not happens():
        assert time.monotonic() < limit
        time.sleep(0.05)
