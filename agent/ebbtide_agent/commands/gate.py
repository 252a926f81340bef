"""What sshd starts for a host's key, whatever was asked for: the gate of the machine that this is."""

from __future__ import annotations

import argparse
import sys

from ebbtide_agent import procs
from ebbtide_agent.commands.here import Commands, Here, add_command
from ebbtide_agent.instance import RECOVERY, cloud_of, machine_at, read_instance

NAME = "gate"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    gate = add_command(
        commands, NAME, answer, "answer a host (started by sshd as the forced command of the host's key)"
    )
    gate.add_argument("host", metavar="HOSTID", help="the four characters of the host whose key this is")


def answer(options: argparse.Namespace, here: Here) -> int:
    from ebbtide_agent.receiver import cgroups, gate, verbs

    paths = machine_at(here.environment)
    procs.stop_on(*gate.ENDING)
    cgroups.enter(options.host)
    with verbs.refusing():
        asked = verbs.parse_command(here.environment.get("SSH_ORIGINAL_COMMAND"))
        instance = read_instance(paths)
        if instance.role == RECOVERY:
            from ebbtide_agent.receiver import opened_gate

            opened = opened_gate.arrive(paths, options.host, here.clock)
            return opened.answer(asked.verb, sys.stdin.buffer, sys.stdout.buffer)
        at_the_door = gate.arrive(paths, cloud_of(instance), options.host, here.clock)
        return at_the_door.answer(asked, sys.stdin.buffer, sys.stdout.buffer)
