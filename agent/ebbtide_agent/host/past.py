"""A tree as it was, looked at through rsync: what the entries on the way to a path are, and what is in a directory."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.host.link import World, keep_trying
from ebbtide_agent.host.named import unescaped
from ebbtide_agent.host.outcome import SOME_IS_MISSING, WORTH_ANOTHER_TRY, as_refused, why
from ebbtide_agent.host.push import SILENCE_SECONDS, Listener, Route
from ebbtide_agent.host.rsync import run_rsync
from ebbtide_agent.paths import NOWHERE
from ebbtide_agent.printable import printable
from ebbtide_agent.procs import Ended
from ebbtide_agent.walk import leading_to

DIRECTORY, SYMLINK = "d", "L"
# The whole tree, as rsync's lists have it.
WHOLE = b"."
_LISTED = ("--no-r", "--dirs", "--no-implied-dirs", "--from0", "--files-from=-")
# `%i` has eleven letters, the second of which is the kind.
_ITEM = re.compile(rb"(?P<code>[<>ch.*][fdLDS][^ ]{9}|\*deleting  ) (?P<name>.*)", re.DOTALL)
FORM = "--out-format=%i %n"
_SHOWN = 10


@dataclass(frozen=True)
class Source:
    """Where a tree is read, for how long that is tried, and with which rsync; `root` is what its host calls its top."""

    rsync: str
    route: Route
    until: datetime
    world: World
    root: Path = Path("/")

    def shown(self, path: bytes) -> str:
        """A path of the tree as it is asked for."""
        return printable(os.path.normpath(os.path.join(os.fsencode(self.root), path)))  # noqa: PTH118 - paths are bytes

    def run(self, words: Iterable[str], paths: Iterable[bytes], into: Path, listener: Listener | None = None) -> Ended:
        """Rsync of these paths; again while the connection is what fails. Raises TransientError when time is up."""

        def once(attempt: int) -> Ended:
            leading = (self.rsync, f"--timeout={SILENCE_SECONDS}", *words, "--from0", "--files-from=-")
            argv = (*leading, *self.route(attempt), f"{into}/")
            ended = as_refused(run_rsync(argv, _as_list(paths), listener=listener))
            if ended.exit_code in WORTH_ANOTHER_TRY:
                raise TransientError(f"rsync: {why(ended)}")
            return ended

        return keep_trying(once, self.until, self.world)


def _as_list(paths: Iterable[bytes]) -> bytes:
    """As rsync reads it with --from0: from the top of the tree, whatever a name begins with, and the top itself not."""
    return b"".join(b"/" + path + b"\0" for path in paths)


@dataclass(frozen=True)
class Item:
    """A line of rsync's `%i %n`: what it does, and to which path."""

    code: str
    path: bytes

    @property
    def kind(self) -> str:
        return self.code[1]


class Items:
    """Takes rsync's output as it comes, in any pieces, and passes each item on."""

    def __init__(self, rest: bytes = b"") -> None:
        self._rest = rest
        self.found: list[Item] = []

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for match in filter(None, map(_ITEM.fullmatch, lines)):
            self.take(Item(match["code"].decode(), unescaped(match["name"]).rstrip(b"/") or WHOLE))

    def take(self, item: Item) -> None:
        self.found.append(item)


def kinds_of(source: Source, paths: Iterable[bytes], alone: bool = False) -> Mapping[bytes, str]:
    """The kind of each of these paths that is there, and if not `alone` of what leads to it. Raises PermanentError."""
    wanted = {each for path in paths for each in (*(() if alone else leading_to(path)), path)}
    return {item.path: item.kind for item in _listed(source, sorted(wanted))}


def names_in(source: Source, directory: bytes) -> list[bytes]:
    """What a directory holds, by name."""
    inside = directory + b"/"
    found = (item.path for item in _listed(source, [inside]))
    below = (path for path in found if path not in (directory, WHOLE))
    return sorted(path[len(inside) :] if directory != WHOLE else path for path in below)


def check_there(source: Source, paths: Iterable[bytes], point: str) -> None:
    """Raises PermanentError for the first path that was not there, naming what was near it."""
    inside = [path for path in paths if path != WHOLE]
    kinds = kinds_of(source, inside)
    for path in inside:
        is_led_to = all(kinds.get(above) == DIRECTORY for above in leading_to(path))
        if path not in kinds or not is_led_to:
            raise PermanentError(_why_not(source, path, point))


def _why_not(source: Source, path: bytes, point: str) -> str:
    """Step by step from the top: rsync asked for all at once follows a link that leads out of the tree."""
    nearest = WHOLE
    for step in (*leading_to(path), path):
        kind = kinds_of(source, [step], alone=True).get(step)
        if kind is None:
            return _missing(source, path, nearest, point)
        if kind != DIRECTORY:
            if kind == SYMLINK:
                return f"{source.shown(step)} was a symbolic link at {point}: ask for what lies where it leads"
            return f"{source.shown(step)} was no directory at {point}, and had nothing below it: ask for it by itself"
        nearest = step
    return f"{source.shown(path)} cannot be read at {point}"


def _missing(source: Source, path: bytes, nearest: bytes, point: str) -> str:
    names = names_in(source, nearest)
    missing = path if nearest == WHOLE else path[len(nearest) + 1 :]
    near = _closest(missing.split(b"/")[0], names) or names
    there = ", ".join(printable(name) for name in near[:_SHOWN]) or "nothing"
    more = f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
    return f"{source.shown(path)} was not there at {point}; {source.shown(nearest)} held {there}{more}"


def _closest(name: bytes, names: Iterable[bytes]) -> list[bytes]:
    """Names that look like it: somebody mistyped."""
    texts = {each.decode("latin-1"): each for each in names}
    return [texts[each] for each in difflib.get_close_matches(name.decode("latin-1"), texts, n=5, cutoff=0.7)]


def _listed(source: Source, paths: Iterable[bytes]) -> list[Item]:
    items = Items()
    ended = source.run(("-n", "-lD", *_LISTED, "--8-bit-output", FORM), paths, NOWHERE, items.feed)
    if ended.exit_code not in (0, SOME_IS_MISSING):
        raise PermanentError(f"the tree cannot be looked at: {why(ended)}")
    return items.found
