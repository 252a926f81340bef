"""Where the agent is installed, and whether that is safe for what root will start from there."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.paths import HostPaths


@dataclass(frozen=True)
class Site:
    """The files' places, the program that is running, the machine's own name.

    `is_the_systems`: the system itself starts it, and not a user who has it in places of his own.
    """

    paths: HostPaths
    program: Path
    name: str
    is_the_systems: bool
    has_systemd: bool

    @property
    def places(self) -> tuple[str, ...]:
        """What every command has to be told of them."""
        return () if self.is_the_systems else ("--etc", str(self.paths.etc), "--state", str(self.paths.state))


def check_program(program: Path) -> None:
    """Root will start it unattended, so nobody else may be able to change it. Raises PermanentError."""
    if not program.is_file() or program.suffix == ".py":
        raise PermanentError(f"{program} is not the agent's one file, and only that can be started unattended")
    for path in (program, *program.parents):
        found = path.stat()
        if found.st_uid != 0 or found.st_mode & stat.S_IWOTH:
            raise PermanentError(
                f"root will start {program} unattended, and others may change {path}: put the file into"
                " /usr/local/bin and start it from there"
            )
