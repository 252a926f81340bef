"""What machines that live for one run or one recovery are told by their user data, and a receiver by its sshd."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.commands.here import Commands, Here, add_command
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.instance import Instance, parse_instance
from ebbtide_agent.paths import MachinePaths

# What the receiver's gate inherits from its machine's boot: how to reach AWS, and where everything is.
_INHERITED_PREFIXES = ("AWS_", "EBBTIDE_")
_INHERITED = ("HOME", "PATH", "PYTHONPATH", "TMPDIR")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    receiver = add_command(commands, "receiver", receive, "be tonight's receiver (started by a machine's user data)")
    receiver.add_argument("what", choices=["boot"])
    gate = add_command(
        commands, "gate", answer, "answer a host (started by sshd as the forced command of the host's key)"
    )
    gate.add_argument("host", metavar="HOSTID", help="the four characters of the host whose key this is")
    recovery = add_command(
        commands, "recovery", recover, "restore, compare, boot and ask (started by a machine's user data)"
    )
    recovery.add_argument("what", choices=["boot"])


def receive(_: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.receiver import boot
    from ebbtide_agent.receiver.sshd import Door

    paths = _machine(here)
    instance = _instance(paths)
    inherited = {name: value for name, value in here.environment.items() if _is_inherited(name)}
    port = int(here.environment.get("EBBTIDE_SSH_PORT", "22"))
    is_ours = paths.root == Path("/")
    gate = (sys.executable, *_this_program(), "gate")
    door = Door(port, gate, inherited, as_root=os.geteuid() == 0, strict=is_ours, may_unlock=is_ours)
    return boot.boot(boot.Receiver(instance, paths, _cloud(instance), here.clock, door))


def answer(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.receiver import gate

    paths = _machine(here)
    procs.stop_on(*gate.ENDING)
    verb = gate.parse_command(here.environment.get("SSH_ORIGINAL_COMMAND"))
    at_the_door = gate.arrive(paths, _cloud(_instance(paths)), options.host, here.clock)
    return at_the_door.answer(verb, sys.stdin.buffer, sys.stdout.buffer)


def recover(_: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.restore import session

    paths = _machine(here)
    instance = _instance(paths)
    session.run(instance, paths, _cloud(instance), here.clock)
    return 0


def _machine(here: Here) -> MachinePaths:
    return MachinePaths(Path(here.environment.get("EBBTIDE_ROOT") or "/"))


def _instance(paths: MachinePaths) -> Instance:
    try:
        return parse_instance(paths.instance.read_bytes())
    except FileNotFoundError:
        raise PermanentError(f"{paths.instance} does not exist: this machine is nobody's") from None


def _cloud(instance: Instance) -> Cloud:
    return Cloud(instance.bucket, instance.region)


def _this_program() -> tuple[str, ...]:
    """What Python has to be given to be this program again: the one file, or the package where that was not built."""
    program = Path(sys.argv[0]).resolve()
    return (str(program.parent if program.name == "__main__.py" else program),)


def _is_inherited(name: str) -> bool:
    return name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
