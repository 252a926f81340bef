"""The agent as hosts have it: the commands of a host. Their one file holds this, what it imports, and no more."""

from __future__ import annotations

from collections.abc import Sequence

from ebbtide_agent import program
from ebbtide_agent.commands import check, explain, install, peer, restore, run, status, uninstall
from ebbtide_agent.commands import list as list_points

COMMANDS: tuple[program.Command, ...] = (
    install,
    check,
    run,
    status,
    explain,
    list_points,
    restore,
    uninstall,
    peer,
)


def main(arguments: Sequence[str] | None = None) -> int:
    return program.main(COMMANDS, arguments)
