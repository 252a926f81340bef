"""The night's own judge: what was restored against the source itself, whatever manifest and drill say."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from chalicelib.ports import Archive
from ebbtide_agent.entry import Entry, real_entry, with_hash
from ebbtide_agent.manifest_file import read_manifest, sha256_of
from ebbtide_agent.restore.compare import Comparison, compare
from ebbtide_agent.walk import ROOT, Found
from ebbtide_console.sandbox.trees import Source

# Directories whose contents a running system makes for itself: of a whole system the agent backs them up empty.
LEFT_EMPTY = {b"dev", b"proc", b"run", b"sys", b"tmp", b"lost+found"}


def judge(source: Source, found: str, archive: Archive) -> Comparison:
    """Compare the source as it is now with what a recovery had in its hands, of which `found` is the archive's key."""
    with TemporaryFile() as file:
        archive.copy_to(file, found)
        file.seek(0)
        _, restored = read_manifest(file)
        return compare(_wanted(source), restored)


def _wanted(source: Source) -> Iterator[Entry]:
    """What the host was asked to back up, in the order of path bytes."""
    base = os.fsencode(source.root)
    paths = sorted({path for place in source.include for path in _below(source, place)})
    stats = {path: os.lstat(_where(base, path)) for path in paths}
    groups: dict[tuple[int, int], list[bytes]] = {}
    for path, found in stats.items():
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            groups.setdefault((found.st_dev, found.st_ino), []).append(path)
    for path, found in stats.items():
        names = groups.get((found.st_dev, found.st_ino), [])
        first = names[0] if len(names) > 1 else None
        where = _where(base, path)
        yield with_hash(real_entry(Found(path, where, found, first)), where, _content)


def _below(source: Source, place: str) -> Iterator[bytes]:
    """A place, the directories that lead to it, and everything in it that was not left out."""
    excluded = {os.fsencode(path.strip("/")) for path in source.exclude}
    yield ROOT
    for parent in Path(place.strip("/")).parents:
        yield os.fsencode(parent)
    pending = [os.fsencode(place.strip("/")) or ROOT]
    while pending:
        path = pending.pop()
        yield path
        where = _where(os.fsencode(source.root), path)
        if (source.whole_system and path in LEFT_EMPTY) or not stat.S_ISDIR(os.lstat(where).st_mode):
            continue
        names = (name if path == ROOT else path + b"/" + name for name in os.listdir(where))  # noqa: PTH208
        pending += [name for name in names if name not in excluded]


def _where(base: bytes, path: bytes) -> bytes:
    return base if path == ROOT else base.rstrip(b"/") + b"/" + path


def _content(where: bytes, _: Entry) -> str:
    return sha256_of(where)
