"""The agent as machines fetch it: the commands of a host, what machines are started with, and their gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ebbtide_agent import program
from ebbtide_agent.commands import gate


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    return program.main(_commands(words), words)


def _commands(words: Sequence[str]) -> tuple[program.Command, ...]:
    """A gate is started for every word of every host: what it does not need is not even imported."""
    first = words[0] if words else ""
    if first == gate.NAME:
        return (gate,)
    from ebbtide_agent.commands import machine

    if first in machine.NAMES:
        return (machine,)
    from ebbtide_agent import host_main

    return (*host_main.commands_for(words), machine, gate)


if __name__ == "__main__":
    sys.exit(main())
