"""The page about hosts has the exit codes that there are."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebbtide_agent import errors
from ebbtide_agent.commands.exits import EXIT_CODES, EXITS, MEANINGS
from ebbtide_agent.commands.here import exit_code_of
from ebbtide_agent.errors import AgentError
from ebbtide_agent.report import STATUSES
from tools.exit_reference import DOCUMENT, updated
from tools.manual import command_line, commands_of


def test_the_table_is_what_help_says_now() -> None:
    document = DOCUMENT.read_text()

    assert document == updated(document), "run `python -m tools.exit_reference`"


def test_what_writes_it_needs_no_path_to_be_told() -> None:
    root = Path(__file__).parents[2]

    words = [sys.executable, "-c", "import tools.exit_reference, tools.build_deb"]
    subprocess.run(words, cwd=root, env={"PATH": os.environ["PATH"]}, check=True)


def test_help_names_each_code_once() -> None:
    assert [line.split()[0] for line in EXIT_CODES.splitlines()[1:] if line[2:3].isdigit()] == [
        str(code) for code in EXITS
    ]


@pytest.mark.parametrize("kind", [each for _, each in inspect.getmembers(errors, inspect.isclass)])
def test_every_error_ends_with_a_code_of_the_table(kind: type[AgentError]) -> None:
    assert kind.exit_code in EXITS


@pytest.mark.parametrize("status", STATUSES)
def test_so_does_every_night(status: str) -> None:
    assert exit_code_of(status) in EXITS


@pytest.mark.parametrize("command", commands_of(command_line()))
def test_a_commands_help_has_the_codes_of_that_command_and_of_no_other(command: str) -> None:
    help_text = " ".join((commands_of(command_line())[command].epilog or "").split())

    said = {meaning.text: meaning.of for meaning in MEANINGS if meaning.text in help_text}
    assert all(of in ((), ("any other command",)) or command in of for of in said.values())
    assert all(meaning.text in said for meaning in MEANINGS if command in meaning.of or not meaning.of)
    assert all(f" {code} " in help_text for code in (0, 1, 2, 78, 130))


def test_every_meaning_is_of_commands_that_there_are() -> None:
    named = {command for meaning in MEANINGS for command in meaning.of}

    assert named - {"any other command"} <= set(commands_of(command_line()))
