"""`ebbtide sandbox up`, `down` and `clean`: one sandbox a place, found again, stopped, and never from under another."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from enclosed import wait_until

from ebbtide_console.cli.sandbox import KINDS
from ebbtide_console.sandbox.claim import claimed
from tests.local.test_whole_nights import ENVIRONMENT, ROOT

# Its own API at its own address, and no region or credentials of whoever looks.
WHAT_IS_WITHIN_REACH = """
import os, shutil, socket, urllib.parse
api = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
socket.create_connection((api.hostname, api.port)).close()
names = [os.environ[name] for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE") if name in os.environ]
print(names, shutil.which("ebbtide"))
"""


class Operator:
    """Someone at the command line, with a place of their own."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def asks(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(self.state), *words]
        theirs = {**ENVIRONMENT, "AWS_PROFILE": "somebody", "AWS_DEFAULT_REGION": "us-east-1"}
        return subprocess.run(command, cwd=ROOT, env=theirs, capture_output=True, text=True, timeout=120)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "state")
    yield operator
    operator.asks("down")


def processes_on(state: Path) -> list[str]:
    listed = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(state) in line]


def loaded_for(*words: str) -> set[str]:
    look = "import sys, ebbtide_console.cli.main as it; it.parser(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", look, *words]
    ran = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    return set(ran.stdout.split())


def test_a_command_loads_what_serves_aws_only_if_it_serves_it_and_a_sandbox_not_even_aws_clients_at_first() -> None:
    """Every `ebbtide …` would wait for it, and it takes longer than all the rest."""
    for_every_command, for_the_sandbox = loaded_for(), loaded_for("sandbox")

    assert {"ebbtide_console.cli.find", "ebbtide_console.cli.sandbox"} <= for_every_command
    assert not {"moto", "samtranslator"} & for_every_command
    assert "ebbtide_console.cli.sandbox" in for_the_sandbox
    assert not {"boto3", "botocore", "ebbtide_console.cli.find"} & for_the_sandbox


def test_up_again_is_the_same_sandbox_and_down_stops_it(operator: Operator) -> None:
    first, second = operator.asks("up"), operator.asks("up")
    elsewhere, cleaned = operator.asks("up", "--port", "1"), operator.asks("clean")
    in_the_other = operator.asks("up", "--second-region")
    within = operator.asks("shell", sys.executable, "-c", WHAT_IS_WITHIN_REACH)

    stopped = operator.asks("down")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert re.match(r"export AWS_ENDPOINT_URL=http://127\.0\.0\.1:\d+\n", first.stdout)
    assert second.stdout == first.stdout
    assert "a sandbox is up on http://127.0.0.1:" in elsewhere.stderr
    assert "a sandbox is up on http://127.0.0.1:" in in_the_other.stderr
    assert within.stdout == f"['eu-west-1'] {ROOT / 'ebbtide'}\n", within.stderr
    assert (cleaned.returncode, "a sandbox is running" in cleaned.stderr) == (1, True)
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not processes_on(operator.state), "the end of every process")


def test_without_a_sandbox_there_is_nothing_to_stop_whatever_an_earlier_one_left(operator: Operator) -> None:
    for kind in KINDS:
        (operator.state / kind).mkdir(parents=True)
        (operator.state / kind / "endpoint").write_text("http://127.0.0.1:1")

    stopped = operator.asks("down")

    assert (stopped.returncode, "no sandbox is up" in stopped.stderr) == (1, True)


def test_a_place_where_a_night_runs_is_neither_taken_nor_cleaned(operator: Operator, tmp_path: Path) -> None:
    machines = [operator.state / kind / "machines/i-0a" for kind in KINDS]
    with ExitStack() as running:
        for kind, machine in zip(KINDS, machines, strict=True):
            running.enter_context(claimed(operator.state / kind))
            machine.mkdir(parents=True)

        started, stopped, cleaned = operator.asks("up"), operator.asks("down"), operator.asks("clean")
        second = operator.asks("night", "--tree", str(tmp_path))

    refused = (started.stderr, stopped.stderr, cleaned.stderr, second.stderr)
    expected = ("a night is running", "a night is running", "a sandbox is running", "another sandbox is running")
    assert [word in said for word, said in zip(expected, refused, strict=True)] == [True] * 4, refused
    assert all(machine.is_dir() for machine in machines)


def test_cleaning_a_place_leaves_what_is_not_ours(operator: Operator) -> None:
    (operator.state / "full/trees").mkdir(parents=True)
    (operator.state / "my thesis").write_text("the only copy")

    cleaned, again = operator.asks("clean"), operator.asks("clean")

    assert cleaned.stdout == f"removed {operator.state}/full\n", cleaned.stderr
    assert again.stdout == f"nothing of ours is in {operator.state}\n"
    assert (operator.state / "my thesis").read_text() == "the only copy"


def test_a_port_that_is_none_is_said_before_anything_starts(operator: Operator) -> None:
    started = operator.asks("up", "--port", "99999")

    assert (started.returncode, "is no port" in started.stderr) == (2, True)
    assert not operator.state.exists()
