"""The agent as hosts have it: the commands of a host. Their one file holds this, what it imports, and no more."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ebbtide_agent import program, surroundings


def main(arguments: Sequence[str] | None = None) -> int:
    if arguments is None:
        surroundings.make_good()
    words = sys.argv[1:] if arguments is None else arguments
    return program.main(commands_for(words), words)


def commands_for(words: Sequence[str]) -> tuple[program.Command, ...]:
    """All of them to choose from, or what is started by itself, for every night and for every word of a peer's guest:
    what that does not need is not even imported.
    """
    first = words[0] if words else ""
    if first == "run":
        from ebbtide_agent.commands import run

        return (run,)
    if first == "peer":
        from ebbtide_agent.commands import peer

        return (peer,)
    return all_commands()


def all_commands() -> tuple[program.Command, ...]:
    from ebbtide_agent.commands import check, explain, install, peer, restore, run, status, uninstall
    from ebbtide_agent.commands import list as list_points

    return (install, check, run, status, explain, list_points, restore, uninstall, peer)
