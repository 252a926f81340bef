"""What machines that live for one run or one recovery are told by their user data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ebbtide_agent.commands.here import Commands, Here, add_command
from ebbtide_agent.compiled import compiled
from ebbtide_agent.instance import PATIENCE_SECONDS, cloud_of, machine_at, read_instance
from ebbtide_agent.paths import MachinePaths

if TYPE_CHECKING:
    from ebbtide_agent.receiver.station import Station

NAMES = ("receiver", "recovery")
# What the receiver's gate inherits from its machine's boot: how to reach AWS, and where everything is.
_INHERITED_PREFIXES = ("AWS_", "EBBTIDE_")
_INHERITED = ("HOME", "PATH", "PYTHONPATH", "TMPDIR")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    receiver = add_command(commands, "receiver", receive, "be tonight's receiver (started by a machine's user data)")
    receiver.add_argument("what", choices=["boot"])
    recovery = add_command(
        commands,
        "recovery",
        recover,
        "restore, compare, boot and ask, or serve a host its own files (started by user data)",
    )
    recovery.add_argument("what", choices=["boot"])


def receive(_: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.receiver import boot

    return boot.boot(_station(machine_at(here.environment), here))


def recover(_: argparse.Namespace, here: Here) -> int:
    """A recovery's machine proves its restore point, and stays if its brief says so; or it is opened to its host."""
    from ebbtide_agent.receiver import opening
    from ebbtide_agent.restore import session
    from ebbtide_agent.restore.recovery import parse_brief

    paths = machine_at(here.environment)
    with session.powered_off(paths):
        instance = read_instance(paths)
        cloud = cloud_of(instance)
        body = cloud.get_brief(instance.brief, PATIENCE_SECONDS)
        if opening.is_asked_for(body):
            _open(body, paths, here)
            return 0
        brief = parse_brief(body, instance.attempt)
        session.say_that_it_has_begun(brief, cloud)
        task = session.stand if brief.stays else session.prove
        task(brief, paths, cloud, here.clock)
    return 0


def _open(body: bytes, paths: MachinePaths, here: Here) -> None:
    """Be opened; what kept the machine from that is in a report of its own."""
    from ebbtide_agent.receiver import opened
    from ebbtide_agent.restore import session
    from ebbtide_agent.restore.recovery import parse_brief

    machine = _station(paths, here)
    try:
        opened.serve(body, machine)
    except Exception as fault:  # noqa: BLE001 - the report is on everything that can go wrong
        session.report_unopened(parse_brief(body), paths, fault, machine.cloud, here.clock)


def _station(paths: MachinePaths, here: Here) -> Station:
    from ebbtide_agent.receiver import sshd
    from ebbtide_agent.receiver.sshd import Door
    from ebbtide_agent.receiver.station import Station

    instance = read_instance(paths)
    inherited = {name: value for name, value in here.environment.items() if _is_inherited(name)}
    port = int(here.environment.get("EBBTIDE_SSH_PORT", "22"))
    is_ours = paths.root == Path("/")
    gate = (sys.executable, str(compiled(_this_program(), paths.program)), "gate")
    door = Door(
        port, gate, inherited, as_root=os.geteuid() == 0, strict=is_ours, may_unlock=is_ours, knocking=sshd.CROWD
    )
    return Station(instance, paths, cloud_of(instance), here.clock, door)


def _this_program() -> Path:
    """What Python has to be given to be this program again: the one file, or the package where that was not built."""
    program = Path(sys.argv[0]).resolve()
    return program.parent if program.name == "__main__.py" else program


def _is_inherited(name: str) -> bool:
    return name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
