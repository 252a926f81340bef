"""The agent as a program: a command line parsed, its environment and the clock read, every error one clear line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Protocol

from ebbtide_agent import VERSION
from ebbtide_agent.commands.here import EXIT_CODES, Commands, Here
from ebbtide_agent.errors import AgentError


class Command(Protocol):
    """A module of `commands/`."""

    def add(self, commands: Commands[argparse.ArgumentParser], /) -> None: ...


def main(commands: Sequence[Command], arguments: Sequence[str] | None = None) -> int:
    """Parse, hand over, and turn every error of ours into one clear line and an exit code."""
    options = parser(commands).parse_args(arguments)
    try:
        return int(options.act(options, Here(os.environ, _now)))
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"ebbtide: {line}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"ebbtide: {error}", file=sys.stderr)
        return AgentError.exit_code
    except KeyboardInterrupt:
        print("ebbtide: interrupted", file=sys.stderr)
        return 130


def parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="ebbtide-agent",
        description="Ebbtide's agent. Every command has a --help of its own.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ebbtide-agent {VERSION}")
    places = top.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        command.add(places)
    return top


def _now() -> datetime:
    return datetime.now(timezone.utc)
