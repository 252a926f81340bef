"""The agent's command line, and the one place where it reads its environment and the clock."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from ebbtide_agent import VERSION, procs
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import AgentError, PermanentError
from ebbtide_agent.instance import Instance, parse_instance
from ebbtide_agent.paths import HostPaths, MachinePaths

EXIT_CODES = """\
exit codes:
  0    complete (files that vanished while they were read are warnings, and in the report)
  1    failed: nothing was pushed, or nobody is there to take it; the reason is on the last line
  2    the command line was not understood
  3    partial: some of it is there, and tonight is no restore point; the report names what is missing
  75   the receiver could not be reached in time; the next night tries again
  77   refused: another backup is under way, or the receiver said no
  78   the configuration has faults; all of them are listed
  129  its terminal or connection went away
  143  told to stop
"""

RUN = """\
Back this host up, once: run /etc/backupscripts in order, say hello to the receiver, push with rsync, report.
Meant for cron, with the receiver's window in mind:

  10 2 * * *  root  ebbtide-agent run --progress none

It reads four files, and never executes what is in the first three:

  /etc/backup_config     HOST=us0  TARGET=receiver://backup.example.org  KEEP=7  (one KEY=value a line)
                         and if need be USER, KEY, KNOWN_HOSTS, ROOT, RSYNC, BANDWIDTH, ONE_FILE_SYSTEM,
                         WHOLE_SYSTEM (no: leave nothing out by itself, not even /proc), SCRIPT_MINUTES, WAIT_MINUTES
  /etc/backup_include    what is backed up, one place such as /etc or /srv/*/data a line; without any, everything
  /etc/backup_exclude    rsync patterns, one a line, that do not travel
  /etc/backupscripts/    executables [0-9][0-9]*, run first; one that fails ends the night before the push

What changed since the last complete push is found by an index below --state; without it, and once a week, rsync
compares everything. To have that done tonight, delete /var/lib/ebbtide/index.
"""

# What the receiver's gate inherits from its machine's boot: how to reach AWS, and where everything is.
_INHERITED_PREFIXES = ("AWS_", "EBBTIDE_")
_INHERITED = ("HOME", "PATH", "PYTHONPATH", "TMPDIR")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, hand over, and turn every error of ours into one clear line and an exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.act(options))
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"ebbtide: {line}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"ebbtide: {error}", file=sys.stderr)
        return AgentError.exit_code
    except KeyboardInterrupt:
        print("ebbtide: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="ebbtide-agent",
        description="Ebbtide's agent: what runs on a machine that is backed up, receives, or is restored.",
        epilog=EXIT_CODES,
        formatter_class=plain,
    )
    top.add_argument("--version", action="version", version=f"ebbtide-agent {VERSION}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands, plain)
    receiver = commands.add_parser("receiver", help="be tonight's receiver (started by a machine's user data)")
    receiver.add_argument("what", choices=["boot"])
    receiver.set_defaults(act=_receive)
    gate = commands.add_parser("gate", help="answer a host (started by sshd as the forced command of the host's key)")
    gate.add_argument("host", metavar="HOSTID", help="the four characters of the host whose key this is")
    gate.set_defaults(act=_answer)
    restore = commands.add_parser("restore", help="restore, compare, boot and ask (started by a machine's user data)")
    restore.add_argument("what", choices=["boot"])
    restore.set_defaults(act=_restore)
    return top


def _add_run(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], plain: type[argparse.HelpFormatter]
) -> None:
    run = commands.add_parser(
        "run", help="back this host up, once", description=RUN, epilog=EXIT_CODES, formatter_class=plain
    )
    run.add_argument("--etc", type=Path, default=HostPaths.etc, help="where the four files are (default: /etc)")
    run.add_argument(
        "--state", type=Path, default=HostPaths.state, help="what the agent keeps (default: /var/lib/ebbtide)"
    )
    run.add_argument(
        "--progress",
        choices=["auto", "lines", "none"],
        default="auto",
        help="auto: a bar on a terminal, lines elsewhere; none: say nothing but faults (default: auto)",
    )
    run.set_defaults(act=_run)


def _run(options: argparse.Namespace) -> int:
    from ebbtide_agent.host import link, night, progress
    from ebbtide_agent.report import COMPLETE, PARTIAL, WITH_WARNINGS

    def say(line: str) -> None:
        if options.progress != "none":
            print(f"ebbtide: {line}", flush=True)

    def show_on(screen: TextIO) -> night.Show:
        if options.progress == "none":
            return progress.nothing
        return progress.as_bar(screen) if options.progress == "auto" and screen.isatty() else progress.as_lines(screen)

    procs.stop_on(signal.SIGTERM, signal.SIGHUP)
    paths = HostPaths(options.etc, options.state)
    report = night.run(night.Night(paths, link.World(_now, say=say), os.environ, show_on(sys.stdout)))
    say(f"{report.status}: {report.files} files, {report.bytes_sent} bytes sent, run {report.run}")
    for problem in report.problems:
        print(f"ebbtide: {problem}", file=sys.stderr)
    return {COMPLETE: 0, WITH_WARNINGS: 0, PARTIAL: 3}.get(report.status, 1)


def _receive(_: argparse.Namespace) -> int:
    from ebbtide_agent.receiver import boot
    from ebbtide_agent.receiver.sshd import Door

    paths = _machine()
    instance = _instance(paths)
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    port = int(os.environ.get("EBBTIDE_SSH_PORT", "22"))
    door = Door(port, (sys.executable, *_this_program(), "gate"), inherited, os.geteuid() == 0)
    return boot.boot(boot.Receiver(instance, paths, _cloud(instance), _now, door))


def _answer(options: argparse.Namespace) -> int:
    from ebbtide_agent.receiver import gate

    paths = _machine()
    procs.stop_on(*gate.ENDING)
    verb = gate.parse_command(os.environ.get("SSH_ORIGINAL_COMMAND"))
    at_the_door = gate.arrive(paths, _cloud(_instance(paths)), options.host, _now)
    return at_the_door.answer(verb, sys.stdin.buffer, sys.stdout.buffer)


def _restore(_: argparse.Namespace) -> int:
    from ebbtide_agent.restore import session

    paths = _machine()
    instance = _instance(paths)
    session.run(instance, paths, _cloud(instance), _now)
    return 0


def _machine() -> MachinePaths:
    return MachinePaths(Path(os.environ.get("EBBTIDE_ROOT") or "/"))


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


def _now() -> datetime:
    return datetime.now(timezone.utc)


if __name__ == "__main__":
    sys.exit(main())
