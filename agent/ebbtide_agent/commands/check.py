"""`ebbtide-agent check`: everything that will fail tonight, found now."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ebbtide_agent.commands.here import Commands, Here, add_command, add_places, paths_of
from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host.checks.everything import check as find_all
from ebbtide_agent.host.checks.finding import FAULT, Finding

DESCRIPTION = """\
Look by day for all that would make tonight fail, and say of each what to do. Changes nothing, and says hello to nobody:

  $ ebbtide-agent check
  ok       configuration: us0 is backed up to receiver://backup.example.org
  fault    KEY /etc/ebbtide/key is open to others (0644); chmod 600 /etc/ebbtide/key
  ...

It looks at the configuration, the machine, what starts the agent, rsync and ssh, the scripts, the places that are to be
backed up, what should be mounted, room for the index and for dumps, the key, the pinned host key and, if somebody
answers, theirs, the disks, the last report and the clock. A receiver that does not answer by day is in order. The exit
code is 78 if there is a fault.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "check", check, "find now what will fail tonight", DESCRIPTION)
    add_places(parser)
    parser.add_argument("--json", action="store_true", help="the findings as a list of objects")


def check(options: argparse.Namespace, here: Here) -> int:
    findings = list(find_all(paths_of(options), here.clock(), Path("/")))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(_as_line, findings)))
    return ConfigError.exit_code if any(finding.level == FAULT for finding in findings) else 0


def _as_line(finding: Finding) -> str:
    return f"{finding.level:<8} {finding.what}" + (f"; {finding.to_do}" if finding.to_do else "")
