"""`ebbtide-agent run --dry-run`: what would be pushed and deleted now, shown and not done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

from ebbtide_agent.commands.here import Here, exit_code_of
from ebbtide_agent.host.asked_for import missing_places
from ebbtide_agent.host.config import load
from ebbtide_agent.host.push_preview import PushPreview, preview_push
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.printable import printable, size
from ebbtide_agent.report import COMPLETE, FAILED, SUSPECT

# Of each list so many paths are shown; --json has all of them.
SHOWN_PATHS = 20
_BY_RSYNC = "everything is compared"


def show(paths: HostPaths, here: Here, as_json: bool) -> int:
    """The exit code says whether tonight's push would begin at all."""
    config = load(paths)
    missing = tuple(missing_places(config, paths))
    if missing:
        print(json.dumps({"problems": missing}, indent=2) if as_json else "\n".join(missing))
        return exit_code_of(FAILED)
    found = preview_push(config, paths, here.clock())
    print(json.dumps(as_object(found), indent=2) if as_json else "\n".join(as_lines(found)))
    return exit_code_of(SUSPECT if _suspect(found) else COMPLETE)


def as_lines(found: PushPreview) -> Iterator[str]:
    yield "dry run: nothing is sent, nothing is changed, no script is run"
    yield from (f"suspect: {line}" for line in _suspect(found))
    yield f"the tree: {found.whole.entries} entries, {found.whole.files} of them files, {size(found.whole.bytes_total)}"
    if found.push is not None and found.delete is not None:
        yield f"to push: {len(found.push)} entries, at most {size(found.push_bytes)}"
        yield from _first(found.push)
        yield f"to delete over there: {len(found.delete)}, with all that is in them"
        yield from _first(found.delete)
    if found.course.in_full:
        how = "everything is compared, contents too if the target has a tree" if found.course.in_content else _BY_RSYNC
        yield f"{how}: {found.course.why}"
    if found.push is not None:
        yield "the index is what this is taken from; if it is not of the tree over there, everything is compared"


def _suspect(found: PushPreview) -> tuple[str, ...]:
    return (*found.lost, *((found.rewritten,) if found.rewritten else ()))


def _first(paths: Sequence[bytes]) -> Iterator[str]:
    yield from (f"  {printable(path)}" for path in paths[:SHOWN_PATHS])
    if len(paths) > SHOWN_PATHS:
        yield f"  and {len(paths) - SHOWN_PATHS} more"


def as_object(found: PushPreview) -> dict[str, object]:
    """Paths within the tree; what is no UTF-8 in them as lone surrogates, which Python's os.fsencode turns back."""
    return {
        "problems": _suspect(found),
        "in_full": found.course.in_full,
        "in_content": found.course.in_content,
        "why": found.course.why,
        "entries": found.whole.entries,
        "files": found.whole.files,
        "bytes_total": found.whole.bytes_total,
        "push": _as_texts(found.push),
        "push_bytes": found.push_bytes,
        "delete": _as_texts(found.delete),
    }


def _as_texts(paths: Sequence[bytes] | None) -> list[str] | None:
    return None if paths is None else [os.fsdecode(path) for path in paths]
