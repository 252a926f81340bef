"""`ebbtide-agent uninstall`: what install made goes again, shown first."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from ebbtide_agent import steps
from ebbtide_agent.commands.here import Commands, Here, add_command, add_json, add_places, paths_of
from ebbtide_agent.commands.install import check_may_change, site_of, tell
from ebbtide_agent.errors import Refused
from ebbtide_agent.host import removal
from ebbtide_agent.host.lock import locked

DESCRIPTION = """\
Take the schedule off this host, and what the agent kept in /var/lib/ebbtide. With --purge also what install wrote:
/etc/backup_config, the key, and the receiver's pinned host key.

Without --yes it shows what it would remove, and what stays. It never touches a backup, /etc/backup_include,
/etc/backup_exclude or /etc/backupscripts, and it leaves the program itself where it is. The host's restore points stay
as well, and so does its place in the policy, until somebody takes it out there.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "uninstall", uninstall, "take schedule and state off this host", DESCRIPTION)
    parser.add_argument("--purge", action="store_true", help="remove configuration and key, too")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--yes", action="store_true", help="do it")
    choice.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    add_json(parser)
    add_places(parser)


def uninstall(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "uninstall")
    planned = tuple(removal.removal(site_of(paths), options.purge))
    stays = tuple(removal.staying(site_of(paths), options.purge)) if planned else ()
    if not planned:
        tell("nothing is installed here")
    elif options.yes:
        with locked(paths.lock):
            # Once more, because now there is a lock.
            planned = tuple(removal.removal(site_of(paths), options.purge))
            steps.walk(planned, tell, dry_run=False)
    else:
        steps.walk(planned, tell, dry_run=True)
    for each in stays:
        tell(f"{'stays' if options.yes else 'would stay'}: {each}")
    if options.json:
        print(json.dumps(_as_object(planned, stays, done=options.yes), indent=2))
    if planned and not (options.yes or options.dry_run):
        raise Refused("nothing was removed: say --yes to have it done")
    return 0


def _as_object(planned: Sequence[steps.Step], stays: Sequence[str], done: bool) -> dict[str, object]:
    return {"done": done, "steps": [*map(str, planned)], "stays": stays}
