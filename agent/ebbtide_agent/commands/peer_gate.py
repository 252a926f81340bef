"""What a peer's sshd starts for a guest's key, whatever was asked for."""

from __future__ import annotations

import argparse
import signal
import sys

from ebbtide_agent import procs
from ebbtide_agent.commands.here import Here, paths_of
from ebbtide_agent.peer.arrival import Arrival
from ebbtide_agent.peer.machine import peer_at
from ebbtide_agent.receiver import cgroups, gate, verbs


def answer(options: argparse.Namespace, here: Here) -> int:
    # The alarm ends who still pushes or reads when the time is up.
    procs.stop_on(*gate.ENDING, signal.SIGALRM)
    cgroups.enter(options.host)
    with verbs.refusing():
        asked = verbs.parse_command(here.environment.get("SSH_ORIGINAL_COMMAND"))
        guest = Arrival(peer_at(paths_of(options), here.clock), options.host)
        return guest.answer(asked, sys.stdin.buffer, sys.stdout.buffer)
