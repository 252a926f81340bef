"""Comparing beside a server that stands: the same verdict as here, the last to be served, and never a silent end."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent import manifest
from ebbtide_agent.entry import Header
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.restore import comparing
from ebbtide_agent.restore.comparing import Task
from ebbtide_agent.restore.session import at_last

PATIENCE_SECONDS = 60


def a_task(place: Path) -> Task:
    """A tree that is as its manifest says."""
    tree = place / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    manifest.write(tree, "real", None, place / "expected", Header("us0a", "main/2026-11-22/1", "real"))
    return Task(
        str(tree), "us0a", "main/2026-11-22/1", "real", False, str(place / "expected"), str(place / "found.jsonl.gz")
    )


def compared_beside(task: Task) -> comparing.Comparison:
    return comparing.outcome(comparing.begin(task), task)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_beside_a_server_the_comparison_finds_what_it_finds_here(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    identical = compared_beside(task)
    (Path(task.tree) / "file").write_text("another")

    here, beside = comparing.compared(task), compared_beside(task)

    assert (identical.identical, identical.entries) == (True, 2)
    assert beside == here
    assert beside.different == 1
    assert beside.findings[-1].startswith("file: content: expected sha256 ")
    assert compared_beside(replace(task, expected=None)) == comparing.NOTHING_COMPARED


def test_it_is_the_last_to_get_a_core_or_to_be_read_for_and_one_that_is_ended_says_so(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    os.mkfifo(tmp_path / "never")
    child = comparing.begin(replace(task, expected=str(tmp_path / "never")))

    until(lambda: os.getpriority(os.PRIO_PROCESS, child.pid) == 19 and reads_when_idle(child.pid))
    child.kill()

    with pytest.raises(PermanentError, match="the comparison ended with exit code 137"):
        comparing.outcome(child, task)


def reads_when_idle(pid: int) -> bool:
    return subprocess.run(["ionice", "-p", str(pid)], capture_output=True, check=True).stdout.strip() == b"idle"


def test_one_that_fails_says_what_it_said_last(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    Path(task.expected or "").write_bytes(b"no manifest")

    with pytest.raises(PermanentError, match=r"ended with exit code 1: .*BadGzipFile"):
        compared_beside(task)


def test_what_cannot_be_told_is_told_later_and_given_up_in_the_end() -> None:
    tries = []

    def told_the_third_time() -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise PermanentError("no way to the archive")

    at_last(told_the_third_time, pauses=(0, 0, 0))
    third, tries = len(tries), []
    at_last(told_the_third_time, pauses=(0,))

    assert (third, len(tries)) == (3, 2)
