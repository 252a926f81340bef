"""What every command is given: the environment and the clock, read at the entry; and how its words are added."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

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

# What every command may end with.
EXITS = {
    0: "complete (files that vanished while they were read are warnings, and in the report); of `check` and `explain`: "
    "all is in order, all is backed up; of `restore`: all of it is back",
    1: "failed: nothing was pushed, or nobody is there to take it; the reason is on the last line; of `explain`: "
    "something is not backed up; of `list` and `restore`: there is no such restore point, or nothing came of it; of "
    "`peer status`: a person should look, each line says why",
    2: "the command line was not understood",
    3: "partial: some of it is there, and tonight is no restore point; the report names what is missing; of `restore`: "
    "some of it is back, what is missing was named",
    4: "suspect: a guard found the host's data gone or rewritten; the report says what, and what to do if it is meant",
    75: "the target could not be reached in time; the next night tries again",
    77: "refused: another backup is under way, the receiver said no, another target than it was, or this is a copy; of "
    "`restore` and `uninstall`: something would change, and nobody has agreed to it",
    78: "the configuration has faults, or `check` found some; all of them are listed",
    129: "its terminal or connection went away",
    130: "interrupted",
    143: "told to stop",
}


# For whoever is not root, and has it in places of their own.
OWN_PLACES = "--etc ~/.config/ebbtide --state ~/.local/state/ebbtide"


def _as_text(exits: Mapping[int, str]) -> str:
    wrapped = (
        textwrap.wrap(f"{number:<4} {meaning}", 112, subsequent_indent=" " * 5) for number, meaning in exits.items()
    )
    return "exit codes:\n" + "".join(f"  {line}\n" for lines in wrapped for line in lines)


EXIT_CODES = _as_text(EXITS)


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
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
