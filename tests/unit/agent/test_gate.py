"""The grammar of every gate, to the letter."""

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.receiver.verbs import parse_command


@pytest.mark.parametrize(
    ("asked", "verb"),
    [("hello", "hello"), ("report", "report"), ("list", "list"), ("rsync --server --daemon .", "rsync")],
)
def test_four_commands_are_understood(asked: str, verb: str) -> None:
    assert parse_command(asked) == verb


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
    ],
)
def test_everything_else_is_refused(asked: "str | None") -> None:
    with pytest.raises(Refused, match="this key may say hello, list and report, and push or fetch with rsync"):
        parse_command(asked)
