"""The agent as machines fetch it: the commands of a host, and what machines are started with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ebbtide_agent import host_main, program
from ebbtide_agent.commands import machine


def main(arguments: Sequence[str] | None = None) -> int:
    return program.main((*host_main.COMMANDS, machine), arguments)


if __name__ == "__main__":
    sys.exit(main())
