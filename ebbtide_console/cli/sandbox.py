"""`ebbtide sandbox …`: the real thing, smaller, on this machine.

What serves AWS's wire protocol takes a second to load: only what serves it does.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from chalicelib.errors import ConfigError, Refused
from ebbtide_console import procs
from ebbtide_console.cli.command import Commands, Environment
from ebbtide_console.sandbox import at_hand, background, enclosure, namespaces, probe, setup, table
from ebbtide_console.sandbox.claim import is_claimed
from ebbtide_console.sandbox.environment import forget_the_operators_aws
from ebbtide_console.sandbox.geography import FIRST, SECOND

STATE = Path(__file__).resolve().parents[2] / ".ebbtide"
WIDTH = 1000  # a host is one line, to grep and to cut, however long its words are; a terminal wraps by itself
KINDS = ("full", "degraded")
Act = Callable[[argparse.Namespace, Environment], int]


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `sandbox` with its own commands."""
    top = commands.add_parser("sandbox", help="nights on this machine: AWS on localhost, with real parts")
    top.add_argument("--state", type=_absolute, default=STATE, help="where everything is kept (default: .ebbtide)")
    verbs = top.add_subparsers(metavar="COMMAND", required=True)

    whole = verbs.add_parser("night", help="run one whole night, drill included, and print a table")
    whole.add_argument("--tree", type=_absolute, help="back up this directory instead of a Debian server")
    whole.add_argument("--port", type=_port, default=0, help="port of AWS's wire protocol (default: a free one)")
    whole.add_argument(
        "--second-region", action="store_true", help="then put the first region out, and drill from the second's copies"
    )
    whole.set_defaults(act=_enclosed(_night))

    up = verbs.add_parser("up", help="start the sandbox in the background; print what the AWS CLI needs to use it")
    _add_serving(up)
    up.set_defaults(act=_up)

    serve = verbs.add_parser("serve", help="the same in the foreground, until interrupted")
    _add_serving(serve)
    serve.set_defaults(act=_enclosed(_serve))

    shell = verbs.add_parser("shell", help="a shell where `ebbtide` and `aws` mean the sandbox that is up")
    shell.add_argument("--on", metavar="HOST", help="as on this host of the nights: with its own `ebbtide-agent`")
    shell.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this there instead of a shell")
    shell.set_defaults(act=_shell)

    verbs.add_parser("down", help="stop the sandbox that `up` started").set_defaults(act=_down)
    verbs.add_parser("clean", help="remove every trace of the nights: volumes, snapshots, trees").set_defaults(
        act=_enclosed(_clean)
    )
    verbs.add_parser("setup", help="install the programs a night needs, or say which are missing").set_defaults(
        act=lambda *_: setup.install_missing(print)
    )


def _add_serving(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--port", type=_port, default=0, help="port of AWS's wire protocol (default: a free one)")
    verb.add_argument(
        "--second-region", dest="region", action="store_const", const=SECOND, default=FIRST,
        help=f"only {SECOND}, with the copies of earlier nights; {FIRST} is out and answers nothing",
    )  # fmt: skip


def _absolute(text: str) -> Path:
    """Hosts and machines have working directories of their own."""
    return Path(text).absolute()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: expected 0 to 65535")
    return int(text)


def _enclosed(act: Act) -> Act:
    """The command in an enclosure where this machine allows one: what ends it takes every mount and process along."""

    def enter(options: argparse.Namespace, environment: Environment) -> int:
        if not enclosure.enclosed() and probe.probe().full:
            again = [sys.executable, "-m", "ebbtide_console", *sys.argv[1:]]
            os.execvp("unshare", enclosure.enter_argv(again))
        forget_the_operators_aws()
        return act(options, environment)

    return enter


def _night(options: argparse.Namespace, _: Environment) -> int:
    from ebbtide_console.sandbox import night

    console = Console(highlight=False, soft_wrap=True, width=WIDTH)
    outcome = night.night(_state(options), options.tree, options.port, options.second_region, _teller(console))
    table.show(outcome.rows, console)
    return 0 if outcome.good else 1


def _teller(console: Console) -> Callable[[str], None]:
    began = time.monotonic()
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            console.print(f"{time.monotonic() - began:7.1f}  {line}", markup=False)

    return tell


def _serve(options: argparse.Namespace, _: Environment) -> int:
    from ebbtide_console.sandbox.cloud import outliving, running

    place = _state(options)
    with ExitStack() as running_now:
        if options.region == SECOND:
            sandbox = running_now.enter_context(outliving(place, options.port, print))
        else:
            sandbox = running_now.enter_context(running(place, options.port, print)).sandbox
        access = background.Access(sandbox.endpoint, sandbox.substrate.machine_endpoint, options.region)
        background.serve(place, access, sandbox.substrate.network)
    return 0


def _up(options: argparse.Namespace, _: Environment) -> int:
    access = background.up(options.state, _state(options), options.port, options.region)
    endpoint, *others = (f"{name}={value}" for name, value in access.variables().items())
    print(f"export {endpoint}\nexport {' '.join(others)}")
    return 0


def _shell(options: argparse.Namespace, environment: Environment) -> int:
    """In this command's place: what is said to it is not said to us, and its exit code is its own."""
    place = _state(options)
    access = background.find(place)
    words = options.command or [environment.get("SHELL", "/bin/sh")]
    variables = at_hand.variables(access, place, options.on, environment)
    background.enter(place)
    os.execvpe(words[0], words, variables)


def _down(options: argparse.Namespace, _: Environment) -> int:
    background.down(_state(options))
    print("the sandbox is down; its volumes, snapshots and archive are kept")
    return 0


def _clean(options: argparse.Namespace, _: Environment) -> int:
    """Only what is ours: a directory named by mistake keeps everything else that is in it."""
    if any(is_claimed(options.state / kind) for kind in KINDS):
        raise Refused("a sandbox is running: let its night end, or stop it with `ebbtide sandbox down`")
    ours = [options.state / name for name in (*KINDS, "trees-for-tests") if (options.state / name).exists()]
    if enclosure.enclosed() and ours:
        namespaces.clear(options.state / "full")
    for place in ours:
        procs.remove_tree(place)
    if options.state.is_dir() and not any(options.state.iterdir()):
        options.state.rmdir()
    print(f"removed {', '.join(map(str, ours))}" if ours else f"nothing of ours is in {options.state}")
    return 0


def _state(options: argparse.Namespace) -> Path:
    """Image files and directories cannot read each other's volumes, so each kind of sandbox has its own place."""
    full = enclosure.enclosed() or probe.probe().full
    place = Path(options.state) / KINDS[0 if full else 1]
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            (f"{place} cannot be made: {error.strerror}; another user's night may own it: name one with --state",)
        ) from error
    return place
