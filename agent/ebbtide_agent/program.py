"""The agent as a program: a command line parsed, its environment and the clock read, every error one clear line."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Protocol, TextIO

from ebbtide_agent import VERSION
from ebbtide_agent.commands.exits import EXIT_CODES
from ebbtide_agent.commands.here import OWN_PLACES, Commands, Here
from ebbtide_agent.errors import AgentError

DESCRIPTION = """\
Ebbtide's agent: it backs this host up every night, and gets files back.

First `install`, then `check`; from then on each night comes by itself. `status` says how the last one went, `restore`
brings files back. Every command has a --help of its own.
"""


# As a shell tells the signal that ends other programs then, SIGPIPE.
_NOBODY_READS = 141


class Command(Protocol):
    """A module of `commands/`."""

    def add(self, commands: Commands[argparse.ArgumentParser], /) -> None: ...


def main(commands: Sequence[Command], arguments: Sequence[str] | None = None) -> int:
    """Parse, hand over, and turn every error of ours into one clear line and an exit code."""
    top = parser(commands)
    options = top.parse_args(arguments)
    if options.act is None:
        top.print_help(sys.stderr)
        return 2
    try:
        code = int(options.act(options, Here(os.environ, _now)))
        print(end="", flush=True)
        return code
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"ebbtide: {line}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads(sys.stdout):
            # What is left to be written is not: Python would try it once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _NOBODY_READS
        print(f"ebbtide: {_told(error)}", file=sys.stderr)
        return AgentError.exit_code
    except KeyboardInterrupt:
        print("ebbtide: interrupted", file=sys.stderr)
        return 130


def parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="ebbtide-agent",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=_with_room,
    )
    top.set_defaults(act=None)
    top.add_argument("--version", action="version", version=f"ebbtide-agent {VERSION}")
    places = top.add_subparsers(metavar="COMMAND")
    for command in commands:
        command.add(places)
    return top


def _with_room(prog: str) -> argparse.HelpFormatter:
    """argparse measures the names of commands as if they were not indented, and breaks the line after the longest."""
    formatter = argparse.RawDescriptionHelpFormatter(prog)
    formatter._action_max_length = 14
    return formatter


def _nobody_reads(stream: TextIO) -> bool:
    """Whether it is a pipe whose other end was closed, by `head` for instance."""
    looking = select.poll()
    looking.register(stream, 0)
    return any(seen & select.POLLERR for _, seen in looking.poll(0))


def _told(error: OSError) -> str:
    what = error.strerror or str(error)
    told = f"{os.fsdecode(error.filename)}: {what}" if error.filename else what
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return f"{told}; that takes root, or places of your own: {OWN_PLACES}"
    return told


def _now() -> datetime:
    return datetime.now(timezone.utc)
