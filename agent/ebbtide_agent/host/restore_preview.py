"""What a restore would change of what is there: rsync is asked, and every path it names is looked at over here.

To rsync a directory in the place of a file is a new directory; to whoever has the file it is gone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.bring import IN_THE_WAY, WITH_ALL_BELOW, RestoreRequest
from ebbtide_agent.host.named import unescaped
from ebbtide_agent.host.outcome import SOME_IS_MISSING, VANISHED, why
from ebbtide_agent.host.past import FORM, Item, Items, Source

_DELETED = "*deleting"
_IN_THE_WAY = re.compile(rb"^%s[^:]+: (?P<path>.*)$" % IN_THE_WAY.encode(), re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """What would become of something that is there: "replace", "attributes" or "delete"."""

    what: str
    path: bytes


@dataclass(frozen=True)
class RestorePreview:
    """What a restore would do: change or delete what is there, and add so many entries.

    `in_the_way` are directories that would stay, because of what is in them, where something else was.
    """

    of_what_is_there: tuple[Change, ...]
    added: int
    in_the_way: tuple[bytes, ...] = ()


def preview_restore(source: Source, request: RestoreRequest) -> RestorePreview:
    """Ask rsync, and look at each path whether something is there. Raises PermanentError."""
    seen = _Seen(request)
    words = ("-n", *request.words, *WITH_ALL_BELOW, "--8-bit-output", FORM)
    ended = source.run(words, request.paths, request.into, seen.feed)
    if ended.exit_code not in (0, VANISHED, SOME_IS_MISSING):
        raise PermanentError(f"what would change cannot be told: {why(ended)}")
    in_the_way = (unescaped(match["path"]) for match in _IN_THE_WAY.finditer(ended.err))
    return RestorePreview(tuple(seen.changes), seen.added, tuple(in_the_way))


class _Seen(Items):
    """Counts what is new, and keeps what is not: a tree may have a million new entries."""

    def __init__(self, request: RestoreRequest) -> None:
        super().__init__()
        self._request = request
        self.changes: list[Change] = []
        self.added = 0

    def take(self, item: Item) -> None:
        if not os.path.lexists(self._request.place_of(item.path)):
            self.added += 1
        else:
            self.changes.append(Change(_what(item), item.path))


def _what(item: Item) -> str:
    if item.code.startswith(_DELETED):
        return "delete"
    return "attributes" if item.code.startswith(".") else "replace"
