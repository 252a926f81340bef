"""What is at hand in a shell of the sandbox: its own AWS and nobody else's, our programs, and on a host its agent."""

import sys
from collections.abc import Mapping
from pathlib import Path

from chalicelib.errors import ConfigError
from ebbtide_console.sandbox.background import Access
from ebbtide_console.sandbox.machine import REPOSITORY

AGENT = "ebbtide-agent.pyz"
_AGENT_OF_A_HOST = """\
#!/bin/sh
exec '{python}' '{agent}' "$@" --etc '{home}/etc' --state '{home}/var'
"""


def variables(access: Access, place: Path, host: str | None, outside: Mapping[str, str]) -> dict[str, str]:
    """The environment of a shell that is in the sandbox's network. Raises ConfigError for a host that had no night.

    The operator's own credentials stay outside.
    """
    kept = {name: value for name, value in outside.items() if not name.startswith("AWS_")}
    programs = [REPOSITORY, Path(sys.executable).parent, outside.get("PATH", "/usr/bin:/bin")]
    if host is not None:
        programs.insert(0, _programs_of(host, place))
    return {**kept, **access.variables(is_within=True), "PATH": ":".join(map(str, programs))}


def _programs_of(host: str, place: Path) -> Path:
    """A directory with an `ebbtide-agent` that finds the host's own files where the sandbox keeps them."""
    home = place / "hosts" / host
    if not (home / "etc/backup_config").exists():
        had = sorted(path.parents[1].name for path in place.glob("hosts/*/etc/backup_config"))
        raise ConfigError((f"host {host} has had no night here; {', '.join(had) or 'no host'} had one",))
    programs = home / "bin"
    programs.mkdir(exist_ok=True)
    agent = programs / "ebbtide-agent"
    agent.write_text(_AGENT_OF_A_HOST.format(python=sys.executable, agent=place / AGENT, home=home))
    agent.chmod(0o755)
    return programs
