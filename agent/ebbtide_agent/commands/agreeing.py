"""Showing what a restore would change of what is there, and asking whether that is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ebbtide_agent.errors import Refused
from ebbtide_agent.host.bring import TO_MAKE_WAY
from ebbtide_agent.host.restore_preview import Change, RestorePreview
from ebbtide_agent.printable import printable

SHOWN_CHANGES = 20


@dataclass(frozen=True)
class Terminal:
    """Who is told, and whether they can answer."""

    say: Callable[[str], None]
    can_answer: bool


def show(preview: RestorePreview, into: Path, terminal: Terminal) -> None:
    for line in as_lines(preview, into):
        terminal.say(line)


def ask(preview: RestorePreview, terminal: Terminal) -> None:
    """Raises Refused unless it is agreed that what is there changes."""
    if not preview.of_what_is_there:
        return
    if not terminal.can_answer:
        raise Refused("something that is there would change, and nobody can be asked: say --yes, or choose --into DIR")
    print("ebbtide: change them? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was changed")


def as_objects(preview: RestorePreview, into: Path) -> list[dict[str, str]]:
    """All of what is there that would change, or did, and what would be in the way."""
    told = (*preview.of_what_is_there, *(Change("in the way", path) for path in preview.in_the_way))
    base = str(into).rstrip("/")
    return [{"what": change.what, "path": f"{base}/{os.fsdecode(change.path)}"} for change in told]


def as_lines(preview: RestorePreview, into: Path) -> Iterator[str]:
    there = preview.of_what_is_there
    if there:
        yield f"of what is there, {len(there)} would change:"
    base = str(into).rstrip("/")
    yield from (f"  {change.what:<10} {base}/{printable(change.path)}" for change in there[:SHOWN_CHANGES])
    if len(there) > SHOWN_CHANGES:
        yield f"  and {len(there) - SHOWN_CHANGES} more"
    yield from (f"  in the way {base}/{printable(path)}" for path in preview.in_the_way[:SHOWN_CHANGES])
    if preview.in_the_way:
        yield f"{len(preview.in_the_way)} would not come back, for what is in the way: {TO_MAKE_WAY}"
    yield f"{preview.added} would be added; all else stays as it is"
