"""What every command is made of: its words, and what is done with them."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, Protocol

Environment = Mapping[str, str]
Commands = argparse._SubParsersAction


class Command(Protocol):
    """A module of `cli/`."""

    def add_to(self, commands: "Commands[argparse.ArgumentParser]", /) -> None: ...


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    """A command's parser, to be given its own words. The description is printed as it is written."""
    return commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Let it end with one JSON object."""
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object when it ends, and everything else to standard error",
    )


@contextmanager
def told_beside(is_json: bool) -> Iterator[None]:
    """What is printed meanwhile goes to standard error, where standard output is for one JSON object."""
    with redirect_stdout(sys.stderr if is_json else sys.stdout):
        yield


def print_json(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer, indent=2))
