"""The commands that act on a control plane, wherever it runs: each invokes one function and prints its answer."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chalicelib.errors import ConfigError
from ebbtide_console import session
from ebbtide_console.cli import cost_table
from ebbtide_console.cli.command import Commands, Environment, print_json


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `apply`, `run`, `preflight`, `cost` and `rebuild`."""
    apply = commands.add_parser("apply", help="validate a policy, show what changes, archive it and make it current")
    apply.add_argument("policy", type=Path, help="the policy file, TOML; docs/configuration.md lists every key")
    apply.set_defaults(act=_apply)

    run = commands.add_parser("run", help="open a run now, outside the window (the next attempt of today)")
    run.add_argument("receiver", help="the receiver's name in the policy, for instance main")
    run.set_defaults(act=lambda options, _: _show(session.invoke("run_now", _payload(receiver=options.receiver))))

    preflight = commands.add_parser("preflight", help="look whether the next night has what it needs; changes nothing")
    preflight.set_defaults(act=_preflight)

    cost = commands.add_parser("cost", help="about what a month costs, by its parts, and how that came about")
    cost.set_defaults(act=lambda *_: cost_table.show(session.invoke("cost", _payload())))

    rebuild = commands.add_parser("rebuild", help="rebuild the catalogue from snapshot tags and the archive")
    rebuild.set_defaults(act=lambda *_: _show(session.invoke("rebuild", _payload())))


def _payload(**values: Any) -> dict[str, Any]:
    return {"schema": 1, **values}


def _apply(options: argparse.Namespace, _: Environment) -> int:
    try:
        text = options.policy.read_text()
    except OSError as error:
        raise ConfigError((f"policy {options.policy} cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise ConfigError((f"policy {options.policy} is not UTF-8: {error.reason} at byte {error.start}",)) from error
    answer = session.invoke("apply_policy", _payload(text=text, expected=None))
    if answer.get("faults"):
        raise ConfigError(tuple(answer["faults"]))
    return _show(answer)


def _preflight(_: argparse.Namespace, __: Environment) -> int:
    """Exit code 1 when anything stands in the way of the next night."""
    found = session.invoke("preflight", _payload())["found"]
    for each in found:
        lines = (*each["details"], f"since: {each['since']}", f"what to do: {each['to_do']}")
        print(f"{each['kind']}: {each['what']}", *(f"  {line}" for line in lines), sep="\n")
    print(f"{len(found)} to look at" if found else "the next night has what it needs")
    return 1 if found else 0


def _show(answer: Mapping[str, Any]) -> int:
    print_json(answer)
    return 0
