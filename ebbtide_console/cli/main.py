"""The operator's command line: `ebbtide …`. Whatever changes anything invokes a function of the control plane."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from chalicelib.errors import EbbtideError
from ebbtide_console.cli import sandbox
from ebbtide_console.cli.command import Command

EXIT_CODES = """\
exit codes:
  0    done, and everything is as it should be
  1    it could not be done, and the last line says why; or what came of it is not as it should be
  2    the command line was not understood
  3    find: nothing matches, and nothing is said
  130  interrupted; what was completed stays, and the next call goes on from there
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, hand over, and turn every error of ours into one clear line and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words).parse_args(words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a night is watched while it happens, also through a pipe
    try:
        return int(options.act(options, os.environ))
    except EbbtideError as error:
        for line in str(error).splitlines():
            print(f"ebbtide: {line}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who reads it has had enough, as `head` has
        return 1
    except OSError as error:
        print(f"ebbtide: {error}", file=sys.stderr)
        return 1


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line, as far as these words ask for it."""
    top = argparse.ArgumentParser(
        prog="ebbtide",
        description="Whole Linux servers into EBS snapshots, every backup proved by restoring it.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in _commands(words):
        command.add_to(commands)
    return top


def _commands(words: Sequence[str]) -> Sequence[Command]:
    """A sandbox starts itself anew in its enclosure: what it does not need, AWS's clients above all, is not loaded."""
    if list(words[:1]) == ["sandbox"]:
        return (sandbox,)
    from ebbtide_console.cli import (
        card,
        drilling,
        drills,
        find,
        get,
        keep,
        openings,
        operate,
        restoring,
        retention,
    )

    return operate, find, card, openings, restoring, drilling, drills, get, keep, retention, sandbox
