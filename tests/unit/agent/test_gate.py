"""The grammar of every gate, to the letter; and that a night's writes nowhere but on the receiver's volume."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError, PermanentError, Refused, TransientError
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.gate import Gate
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.verbs import Asked, parse_command

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
    ledger = Ledger(paths, BRIEF, Cloud("no-bucket", "no-region"))
    gate = Gate(paths, BRIEF, BRIEF.hosts[0], ledger, lambda: datetime(2026, 11, 23, 5, tzinfo=UTC))

    with pytest.raises(error, match="volume"):
        gate.answer(Asked(verb), io.BytesIO(), io.BytesIO())
