"""Which machine was heard as a host in a run, kept beyond the host's reach: in the same run no other one is.

A copy has the host's key. It would push into the gaps between what the original pushes, and the original's report would
say of the mixture that it is complete.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ebbtide_agent import moments
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.files import locked, write_whole
from ebbtide_agent.paths import GatePaths
from ebbtide_agent.receiver.brief import BriefedHost, Run
from ebbtide_agent.shapes import decode, encode, field, moment


@dataclass(frozen=True)
class Heard:
    """The first machine that said in a run which one it is, and when."""

    run: str
    machine: str
    since: datetime


def hear(paths: GatePaths, host: BriefedHost, run: Run, machine: str, now: datetime) -> None:
    """Let one machine of a host in. Raises Refused when another one was heard in this run before.

    An agent that does not say where it is counts as long as none has said so in this run.
    """
    path = paths.heard(host.id)
    # Of two that say hello at once one is the first.
    with locked(paths.host(host.id)):
        first = find_heard(path)
        if first is None or first.run != run.run:
            if machine:
                _keep(path, Heard(run.run, machine, now))
        elif first.machine != machine:
            raise Refused(_another(first, machine, host, run))


def find_heard(path: Path) -> Heard | None:
    """What was kept last. What cannot be read any more must not keep a host from its nights."""
    try:
        what, values = str(path), decode(str(path), path.read_bytes())
        run, machine = (field(what, values, name, str) for name in ("run", "machine"))
        return Heard(run, machine, moment(what, values, "since"))
    except (FileNotFoundError, PermanentError):
        return None


def _keep(path: Path, heard: Heard) -> None:
    # A volume that takes not even this takes no push: the night may go on, to say so in its report.
    with contextlib.suppress(OSError):
        write_whole(path, encode({**vars(heard), "since": moments.write(heard.since)}))


def _another(first: Heard, machine: str, host: BriefedHost, run: Run) -> str:
    here = (
        f"this is {machine}"
        if machine
        else "this one does not say which it is, as an older agent or one without root would not"
    )
    since = moments.write(first.since)
    return (
        f"{host.id} is machine {first.machine} in {run.run}, since {since}, and {here}; if it is a copy of"
        f" {host.name}, enrol it as a host of its own: ebbtide-agent install --new-identity --host NAME; if {host.name}"
        " has moved to it, and the other machine is gone: ebbtide-agent install --same-host, and the next run takes it"
    )
