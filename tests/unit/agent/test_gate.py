"""The grammar of every gate, to the letter; and whom a night's turns away before it has done anything."""

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import BinaryIO

import pytest

import ebbtide_agent
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import cgroups, confine
from ebbtide_agent.receiver import gate as gates
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.gate import Gate, introduced
from ebbtide_agent.receiver.lease import MOST_SESSIONS, Session, find_session, seated
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.places import make_room
from ebbtide_agent.receiver.status import Status, write_status
from ebbtide_agent.receiver.verbs import Asked, parse_command
from ebbtide_agent.report import parse_hello

BRIEF = parse_brief((Path(__file__).parents[2] / "contract/wire/brief-receiver.json").read_bytes())


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("hello", Asked("hello")),
        ("report", Asked("report")),
        ("list", Asked("list")),
        ("rsync --server --daemon .", Asked("rsync")),
        ("rsync --machine=3f2a91c07d52e1aa --server --daemon .", Asked("rsync", "3f2a91c07d52e1aa")),
    ],
)
def test_four_commands_are_understood_and_a_push_may_say_from_which_machine_it_comes(
    command: str, asked: Asked
) -> None:
    assert parse_command(command) == asked


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "",
        "sh",
        "HELLO",
        " hello",
        "hello\n",
        "report x",
        "rsync --server --daemon --config=/x .",
        "rsync --server --daemon . .",
        "rsync  --server --daemon .",
        "/usr/bin/rsync --server --daemon .",
        "rsync --server --sender -logDtpre.iLsfxCIvu . /",
        "rsync --machine= --server --daemon .",
        "rsync --machine=3F2A91C07D52E1AA --server --daemon .",
        "rsync --machine=3f2a91c07d52e1aa3 --server --daemon .",
        "rsync --machine=3f2a91c07d52e1aa --machine=3f2a91c07d52e1aa --server --daemon .",
        "hello --machine=3f2a91c07d52e1aa",
    ],
)
def test_everything_else_is_refused(asked: "str | None") -> None:
    with pytest.raises(Refused, match="this key may say hello, list and report, and push or fetch with rsync"):
        parse_command(asked)


@pytest.mark.parametrize(
    ("is_releasing", "error"), [(True, TransientError), (False, PermanentError)], ids=["let go of", "never there"]
)
@pytest.mark.parametrize("verb", ["hello", "list", "rsync", "report"])
def test_without_its_volume_it_takes_nothing_and_says_whether_another_night_may(
    tmp_path: Path, verb: str, is_releasing: bool, error: type[AgentError]
) -> None:
    paths = MachinePaths(tmp_path)
    paths.run.mkdir(parents=True)
    if is_releasing:
        paths.closing.touch()

    with pytest.raises(error, match="volume"):
        a_gate(paths).answer(Asked(verb), io.BytesIO(), io.BytesIO())


def a_gate(paths: MachinePaths) -> Gate:
    """Of us0, an hour before the deadline."""
    ledger = Ledger(paths, BRIEF, Cloud("no-bucket", "no-region"))
    return Gate(paths, BRIEF, BRIEF.hosts[0], ledger, lambda: datetime(2026, 11, 23, 5, tzinfo=UTC))


@pytest.fixture
def ready(tmp_path: Path) -> MachinePaths:
    """A receiver with its volume."""
    paths = MachinePaths(tmp_path)
    make_room(paths)
    paths.volume.mkdir(parents=True)
    paths.volume_owner.touch()
    return paths


def test_a_push_knows_how_many_had_been_ended_for_want_of_memory_before_it(
    ready: MachinePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.tree("us0a").mkdir(parents=True)
    ready.confinement.write_text(confine.OWN)
    counts, during = iter([2, 5]), []
    monkeypatch.setattr(cgroups, "kills", lambda host_id: next(counts))
    monkeypatch.setattr(confine, "serve", lambda *_: during.append(find_session(ready, "us0a")) or 12)

    a_gate(ready).answer(Asked("rsync"), io.BytesIO(), io.BytesIO())

    after = find_session(ready, "us0a")
    assert during == [Session(None, 0.0, 2)]
    assert after and (after.exit_code, after.kills) == (12, 2)


@pytest.mark.parametrize("pushed_by", ["", "a machine that was lost"])
def test_on_a_volume_without_an_inode_a_push_goes_on_unless_what_is_to_be_compared_cannot_be_noted(
    ready: MachinePaths, monkeypatch: pytest.MonkeyPatch, pushed_by: str
) -> None:
    """It finds a tree of which nothing is known, and one file in it."""
    ready.tree("us0a").mkdir(parents=True)
    (ready.tree("us0a") / "file").touch()
    ready.confinement.write_text(confine.OWN)
    write_status(ready.status("us0a"), Status(boot=pushed_by, since="2000-01-01T00:00:00Z"))
    monkeypatch.setattr(confine, "serve", lambda *_: 0)
    monkeypatch.setattr(gates, "write_status", no_inode_is_left)

    with pytest.raises(OSError, match="No space left") if pushed_by else nullcontext():
        assert a_gate(ready).answer(Asked("rsync"), io.BytesIO(), io.BytesIO()) == 0


def no_inode_is_left(path: Path, _: Status) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.fault("X4")
@pytest.mark.parametrize("verb", ["hello", "list", "rsync", "report"])
def test_who_has_as_many_sessions_as_it_may_is_to_come_again_whatever_it_wants(ready: MachinePaths, verb: str) -> None:
    with ExitStack() as sessions:
        for _ in range(MOST_SESSIONS):
            sessions.enter_context(seated(ready, "us0a"))

        with pytest.raises(TransientError, match="has 4 sessions already"):
            a_gate(ready).answer(Asked(verb), io.BytesIO(), io.BytesIO())


@pytest.mark.fault("R7")
@pytest.mark.parametrize("verb", ["hello", "rsync"])
def test_while_the_volume_is_let_go_of_nobody_begins_and_before_the_deadline_may_come_again(
    ready: MachinePaths, verb: str
) -> None:
    ready.tree("us0a").mkdir(parents=True)
    ready.closing.touch()

    with pytest.raises(TransientError, match=f"the receiver of run {BRIEF.run} lets go of its volume"):
        a_gate(ready).answer(Asked(verb), io.BytesIO(), io.BytesIO())


@pytest.mark.parametrize("verb", ["hello", "rsync"])
def test_from_the_deadline_on_nobody_begins(ready: MachinePaths, verb: str) -> None:
    ready.tree("us0a").mkdir(parents=True)
    ready.closing.touch()
    gate = replace(a_gate(ready), clock=lambda: BRIEF.deadline)

    with pytest.raises(Refused, match=f"run {BRIEF.run} is over"):
        gate.answer(Asked(verb), io.BytesIO(), io.BytesIO())


@pytest.mark.parametrize("verb", ["hello", "rsync"])
def test_who_has_reported_is_told_so_also_while_the_volume_is_let_go_of(ready: MachinePaths, verb: str) -> None:
    ready.reported("us0a").touch()
    ready.closing.touch()

    with pytest.raises(Refused, match="us0a has reported in"):
        a_gate(ready).answer(Asked(verb), io.BytesIO(), io.BytesIO())


@pytest.mark.parametrize("verb", ["hello", "rsync"])
def test_who_has_no_place_tonight_is_told_why(ready: MachinePaths, verb: str) -> None:
    ready.without_place("us0a").write_text("[Errno 28] No space left on device: 'us0a'")
    ready.reported("us0a").touch()

    with pytest.raises(Refused, match=r"us0a has no place on the receiver's volume tonight: .* No space left"):
        a_gate(ready).answer(Asked(verb), io.BytesIO(), io.BytesIO())


def test_a_hello_says_whether_the_tree_is_empty(ready: MachinePaths) -> None:
    tree = ready.tree("us0a")
    tree.mkdir(parents=True)

    def is_empty() -> bool:
        said = io.BytesIO()
        a_gate(ready).answer(Asked("hello"), io.BytesIO(), said)
        return parse_hello(said.getvalue()).empty

    before = is_empty()
    (tree / ".ebbtide-partial").mkdir()

    assert (before, is_empty()) == (True, False)


@pytest.fixture
def silent() -> Iterator[BinaryIO]:
    """A host that says nothing, and is gone in the end."""
    ours, theirs = os.pipe()
    gone = Timer(5, os.close, (theirs,))
    gone.start()
    with os.fdopen(ours, "rb") as inward:
        yield inward
    if gone.is_alive():
        gone.cancel()
        os.close(theirs)


@pytest.mark.fault("X4")
def test_a_hello_that_says_nothing_is_not_waited_for(silent: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "GREETING_SECONDS", 0.01)

    with pytest.raises(TransientError, match="a hello that has not come to its end"):
        introduced(Asked("hello"), silent)


# A report that is on record, and an answer larger than what waits in a pipe for who does not read.
UNTAKEN = """
import io, signal, sys
from pathlib import Path
from ebbtide_agent import procs
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import gate
from ebbtide_agent.receiver.status import Status, write_status
from ebbtide_agent.receiver.verbs import Asked
from tests.unit.agent.test_gate import a_gate

procs.stop_on(*gate.ENDING, signal.SIGALRM)  # as a peer's does
gate.ANSWER_SECONDS = 0.1
gate.Gate._record = lambda *_: b"x" * (1 << 22)
a_gate(MachinePaths(Path(sys.argv[1]))).answer(Asked("report"), io.BytesIO(), sys.stdout.buffer)
"""


@pytest.mark.fault("X4")
@pytest.mark.attack("take no answer to its report, for the receiver to wait", row="X4", outcome="ended after a minute")
def test_an_answer_that_nobody_takes_is_not_waited_for(ready: MachinePaths) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}
    words = [sys.executable, "-c", UNTAKEN, ready.root]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as gate:
        try:
            assert gate.wait(30) == -signal.SIGALRM
        finally:
            gate.kill()
