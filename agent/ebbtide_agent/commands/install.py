"""`ebbtide-agent install`: a key, a configuration, a schedule, and the lines for the policy."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path

from ebbtide_agent import keys, steps
from ebbtide_agent.commands.here import OWN_PLACES, Commands, Here, add_command, add_json, add_places, paths_of
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host import enrolment, identity, installation, schedule
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.installation import InstallRequest
from ebbtide_agent.host.target import Receiver, Remote, Volume
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.site import Site

DESCRIPTION = """\
Make this host ready for its nights, and print what the operator adds to the policy:

  ebbtide-agent install --target receiver://backup.example.org --host-key "ssh-ed25519 AAAA…"

  /etc/ebbtide/key           an ssh key without a passphrase, if there is none
  /etc/ebbtide/known_hosts   the receiver's host key under the receiver's name, as given with --host-key
  /etc/backup_config         the three parameters, if it is not there; one that is there stays as it is
  the schedule               a systemd timer, or /etc/cron.d/ebbtide-agent where systemd is not in charge: a minute of
                             the host's own in the first half of --window
  /var/lib/ebbtide           what the agent keeps, and which machine this is

Every step is told before it is taken (with --dry-run: instead). A second time there is nothing to do, and the lines for
the policy are printed again. They go to standard output, all else to standard error.

Without root, give places of your own (--etc ~/.config/ebbtide --state ~/.local/state/ebbtide), and put the line that is
printed into your crontab.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "install", install, "make key, configuration and schedule", DESCRIPTION)
    parser.add_argument("--host", metavar="NAME", help="the host's name in the policy (default: this machine's name)")
    parser.add_argument("--target", metavar="TARGET", help="where the backup goes, as TARGET in /etc/backup_config")
    parser.add_argument("--keep", metavar="N", help="how many local snapshots to keep (default: 7)")
    parser.add_argument(
        "--host-key",
        metavar="KEY",
        type=public_key,
        action="append",
        default=[],
        help="the receiver's public host key, to be pinned; may be given again",
    )
    parser.add_argument(
        "--window",
        metavar="HH:MM-HH:MM",
        type=_window,
        help=f"when the receiver stands, by this host's clock (default: {schedule.DEFAULT_WINDOW})",
    )
    changes = parser.add_mutually_exclusive_group()
    changes.add_argument(
        "--rotate-key", action="store_true", help="make the next key; both are offered until the receiver takes it"
    )
    changes.add_argument(
        "--new-identity", action="store_true", help="this is a copy of another host: be a host of its own, --host NAME"
    )
    changes.add_argument(
        "--same-host", action="store_true", help="this host has moved to another machine, and the other one is gone"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    add_json(parser)
    add_places(parser)


def install(options: argparse.Namespace, _: Here) -> int:
    paths = paths_of(options)
    check_may_change(paths, "install")
    request = InstallRequest(
        host=options.host,
        target=options.target,
        keep=options.keep,
        host_keys=tuple(options.host_key),
        window=options.window,
        rotate_key=options.rotate_key,
        new_identity=options.new_identity,
        same_host=options.same_host,
    )
    site = site_of(paths)
    plan = installation.plan(request, site)
    steps.walk(plan.steps, tell, options.dry_run)
    if not plan.steps:
        tell("all is as it should be")
    for note in plan.notes:
        tell(note)
    tell(f"what is still missing: {shlex.join(('ebbtide-agent', 'check', *site.places))}")
    lines = _lines_for_the_far_side(plan.config, paths)
    if options.json:
        print(json.dumps(_as_object(plan, lines, done=not options.dry_run), indent=2))
    else:
        print(lines, end="")
    return 0


def _as_object(plan: installation.Plan, lines: str, done: bool) -> dict[str, object]:
    return {"done": done, "steps": [*map(str, plan.steps)], "notes": plan.notes, "lines": lines}


def check_may_change(paths: HostPaths, command: str) -> None:
    """Raises PermanentError for whoever may not write to the system's places."""
    if _are_the_systems(paths) and os.geteuid() != 0:
        raise PermanentError(
            f"{command} changes {paths.etc} and {paths.state}, which takes root; as yourself, give it places of your"
            f" own: {OWN_PLACES}"
        )


def site_of(paths: HostPaths) -> Site:
    name = platform.node().partition(".")[0].lower()
    has_systemd = Path("/run/systemd/system").is_dir()
    return Site(paths, Path(sys.argv[0]).resolve(), name, _are_the_systems(paths), has_systemd)


def _are_the_systems(paths: HostPaths) -> bool:
    return paths.etc == HostPaths.etc


def tell(line: str) -> None:
    print(f"ebbtide: {line}", file=sys.stderr)


def _lines_for_the_far_side(config: Config, paths: HostPaths) -> str:
    """What has to be written there; nothing for a directory, or while there is no key."""
    to = config.target
    if isinstance(to, Volume):
        return enrolment.volume_lines(config.host, to.host_id, identity.find_instance(paths))
    public = [keys.public(key) for key in (config.key, keys.next_of(config.key)) if key.exists()]
    if public and isinstance(to, Receiver):
        return enrolment.policy_lines(config.host, to.name, public)
    if public and isinstance(to, Remote):
        return enrolment.authorized_keys_lines(config.host, f"{to.user}@{to.name}", public)
    return ""


def public_key(text: str) -> str:
    try:
        return keys.checked_public(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _window(text: str) -> str:
    try:
        schedule.parse_window(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {error}") from None
    return text
