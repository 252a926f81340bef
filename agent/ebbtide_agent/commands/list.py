"""`ebbtide-agent list`: which restore points this host can get files from now."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from ebbtide_agent import moments
from ebbtide_agent.commands.here import Commands, Here, add_command, add_places, add_source, paths_of
from ebbtide_agent.host.back import way_back
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.restorable import AtHand, Restorable

DESCRIPTION = """\
Say which restore points this host can get files from now, the newest last:

  $ ebbtide-agent list
  2026-11-22T02-12-30Z  2026-11-22 02:12 UTC  53637 entries
  2026-11-23T02-12-41Z  2026-11-23 02:12 UTC  53640 entries

Of a directory such as /backup these are its snapshots; of a machine reached by ssh, or a volume of this host's own, the
one tree that is there. A receiver keeps the past where no host's key reaches it: the operator opens a restore point for
a while (ebbtide open), and --from names the address of that machine. The exit code is 1 if there is nothing to choose.
"""
NOTHING = 1


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "list", list_points, "say which restore points files can be got from", DESCRIPTION)
    add_places(parser)
    add_source(parser)
    parser.add_argument("--json", action="store_true", help="as one object")


def list_points(options: argparse.Namespace, here: Here) -> int:
    paths = paths_of(options)
    at_hand = way_back(load(paths), paths, World.around(here.clock), options.source).at_hand()
    print(json.dumps(_as_object(at_hand), indent=2) if options.json else "\n".join(_as_lines(at_hand)))
    return 0 if at_hand.points else NOTHING


def _as_lines(at_hand: AtHand) -> Iterator[str]:
    width = max((len(point.name) for point in at_hand.points), default=0)
    for point in at_hand.points:
        at = f"{point.at:%Y-%m-%d %H:%M} UTC" if point.at else ""
        entries = f"{point.entries} entries" if point.entries else ""
        whole = "" if point.is_whole else f"NOT WHOLE: {point.doubt}"
        yield "  ".join(filter(None, (f"{point.name:<{width}}", at, entries, whole))).rstrip()
    if at_hand.until:
        yield f"until {moments.write(at_hand.until)}"
    yield from at_hand.notes


def _as_object(at_hand: AtHand) -> dict[str, object]:
    until = at_hand.until and moments.write(at_hand.until)
    return {"points": [_point(point) for point in at_hand.points], "until": until, "notes": at_hand.notes}


def _point(point: Restorable) -> dict[str, object]:
    at = point.at and moments.write(point.at)
    return {"name": point.name, "at": at, "run": point.run, "entries": point.entries, "whole": point.is_whole}
