"""The versions of files through the restore points of one host. Values in, values out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ebbtide_agent.entry import Entry
from ebbtide_console.past.points import Point


@dataclass(frozen=True)
class Version:
    """An entry as the restore points from `first` to `last` hold it.

    `gone` is the first one after them that holds nothing of that path; None when it has another version, or is the
    newest.
    """

    entry: Entry
    first: Point
    last: Point
    gone: Point | None = None


@dataclass(frozen=True)
class Stretch:
    """Restore points one after the other between which nothing changed, and what they all hold of what is wanted."""

    first: Point
    last: Point
    entries: tuple[Entry, ...]


def versions(stretches: Iterable[Stretch]) -> Iterator[Version]:
    """Every version of every path, given the stretches from the oldest to the newest."""
    standing: dict[bytes, Version] = {}
    for stretch in stretches:
        now: dict[bytes, Version] = {}
        for entry in stretch.entries:
            before = standing.pop(entry.path, None)
            if before is not None and _is_same(before.entry, entry):
                now[entry.path] = replace(before, last=stretch.last)
                continue
            if before is not None:
                yield before
            now[entry.path] = Version(entry, stretch.first, stretch.last)
        yield from (replace(left, gone=stretch.first) for left in standing.values())
        standing = now
    yield from standing.values()


def newest_first(found: Iterable[Version]) -> list[Version]:
    """By the last point that holds each, the newest first; of several, first what changed last."""
    by_path = sorted(found, key=lambda version: (version.entry.path, version.first.host))
    return sorted(by_path, key=lambda version: (version.last.at, version.first.at), reverse=True)


def _is_same(before: Entry, after: Entry) -> bool:
    """Whether both would be restored alike. Where the store keeps it, and under which other names, is no change."""
    return replace(before, store=None, group=None) == replace(after, store=None, group=None)
