"""`ebbtide sandbox up`, `down` and `clean`: one sandbox a place, found again, stopped, and never from under another."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from enclosed import wait_until

from ebbtide_console.sandbox.claim import Claim
from tests.local.test_whole_nights import ENVIRONMENT, ROOT


class Operator:
    """Someone at the command line, with a place of their own."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def asks(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(self.state), *words]
        return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "state")
    yield operator
    operator.asks("down")


def processes_on(state: Path) -> list[str]:
    listed = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(state) in line]


def test_up_again_is_the_same_sandbox_and_down_stops_it(operator: Operator) -> None:
    first, second = operator.asks("up"), operator.asks("up")
    elsewhere, cleaned = operator.asks("up", "--port", "1"), operator.asks("clean")

    stopped = operator.asks("down")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert re.match(r"export AWS_ENDPOINT_URL=http://127\.0\.0\.1:\d+\n", first.stdout)
    assert second.stdout == first.stdout
    assert "a sandbox is up on http://127.0.0.1:" in elsewhere.stderr
    assert (cleaned.returncode, "a sandbox is running" in cleaned.stderr) == (1, True)
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not processes_on(operator.state), "the end of every process")


def test_without_a_sandbox_there_is_nothing_to_stop_and_a_stale_note_of_one_harms_nobody(operator: Operator) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    for kind in ("full", "degraded"):
        (operator.state / kind).mkdir(parents=True)
        (operator.state / kind / "pid").write_text(str(bystander.pid))
    try:
        stopped, cleaned = operator.asks("down"), operator.asks("clean")

        assert (stopped.returncode, "no sandbox is up" in stopped.stderr) == (1, True)
        assert cleaned.returncode == 0, cleaned.stderr
        assert not operator.state.exists()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_place_where_a_night_runs_is_neither_taken_nor_cleaned(operator: Operator) -> None:
    claims = []
    for kind in ("full", "degraded"):
        (operator.state / kind).mkdir(parents=True)
        claims.append(Claim(operator.state / kind))
        claims[-1].take()
    try:
        started, cleaned = operator.asks("up"), operator.asks("clean")
    finally:
        for claim in claims:
            claim.let_go()

    assert (started.returncode, "a night is running" in started.stderr) == (1, True)
    assert (cleaned.returncode, "a sandbox is running" in cleaned.stderr) == (1, True)
