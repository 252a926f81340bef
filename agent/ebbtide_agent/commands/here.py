"""What every command is given: the environment and the clock, read at the entry; and how its words are added."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ebbtide_agent.commands import exits
from ebbtide_agent.host.address import Address, parse_address
from ebbtide_agent.moments import Clock
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import COMPLETE, PARTIAL, SUSPECT, WITH_WARNINGS

Commands = argparse._SubParsersAction


@dataclass(frozen=True)
class Here:
    """Where a command runs."""

    environment: Mapping[str, str]
    clock: Clock


# What a command does with its options; its exit code.
Act = Callable[[argparse.Namespace, Here], int]

# For whoever is not root, and has it in places of their own.
OWN_PLACES = "--etc ~/.config/ebbtide --state ~/.local/state/ebbtide"


def exit_code_of(status: str) -> int:
    """The exit code of a night that was reported."""
    return {COMPLETE: 0, WITH_WARNINGS: 0, PARTIAL: 3, SUSPECT: 4}.get(status, 1)


def add_command(
    commands: Commands[argparse.ArgumentParser], name: str, act: Act, summary: str, description: str | None = None
) -> argparse.ArgumentParser:
    """A command's parser, to be given its own words. `description` is printed as it is written."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description or summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = exits.of_command(parser.prog.partition(" ")[2])
    parser.set_defaults(act=act)
    return parser


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where a host's files are; `paths_of` reads them back."""
    parser.add_argument("--etc", type=place, default=HostPaths.etc, help="where the four files are (default: /etc)")
    parser.add_argument(
        "--state", type=place, default=HostPaths.state, help="what the agent keeps (default: /var/lib/ebbtide)"
    )


def place(text: str) -> Path:
    """A directory as it was typed, wherever one is when it is used."""
    if re.search(r'[%$"\\\x00-\x1f]', text):
        raise argparse.ArgumentTypeError(f'{text!r} has a %, $, \\ or " in it, which mean something to ssh and to cron')
    return Path(text).absolute()


def add_json(parser: argparse.ArgumentParser) -> None:
    """For a command that changes something: what it told on the way goes on being told to people."""
    parser.add_argument(
        "--json", action="store_true", help="what was done, or would be, as one object on standard output"
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Where a machine is that was opened."""
    parser.add_argument(
        "--from",
        dest="source",
        metavar="ADDRESS",
        type=_address,
        help="the address of a machine that the operator has opened for this host (ebbtide open)",
    )


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def paths_of(options: argparse.Namespace) -> HostPaths:
    return HostPaths(options.etc, options.state)
