"""What restore points hold of what is looked for: their manifests, each read once, with little of it in memory."""

import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from chalicelib.errors import PermanentError
from chalicelib.wire import ReportedManifest
from ebbtide_agent.entry import Entry
from ebbtide_agent.manifest_file import find_in_manifest
from ebbtide_console.past.pattern import Below, Pattern
from ebbtide_console.past.points import Point, find_reported
from ebbtide_console.past.versions import Stretch, Version, newest_first, versions
from ebbtide_console.session import Account

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Searched:
    """The versions, newest first; and which restore points could not be searched, and why."""

    versions: tuple[Version, ...]
    faults: tuple[str, ...]


def search(points: list[Point], pattern: Pattern, account: Account, tell: Tell) -> Searched:
    """All that these points hold, in the order that `find_points` gives. `tell` gets a line before each is read."""
    faults: list[str] = []
    found = [
        version
        for _, of_host in groupby(points, key=attrgetter("host_id"))
        for version in versions(_stretches(list(of_host), pattern, account, tell, faults))
    ]
    return Searched(tuple(newest_first(found)), tuple(faults))


def _stretches(
    points: list[Point], pattern: Pattern, account: Account, tell: Tell, faults: list[str]
) -> Iterator[Stretch]:
    """Of one host, the oldest first. A point whose manifest is missing or damaged is left out."""
    known = [(point, manifest) for point in points if (manifest := _find(point, account, faults))]
    for _, group in groupby(known, key=lambda each: each[1].content or each[1].sha256):
        same = list(group)
        entries = _read_any(same, pattern, account, tell, faults)
        if entries is not None:
            yield Stretch(same[0][0], same[-1][0], entries)


def _read_any(
    same: list[tuple[Point, ReportedManifest]], pattern: Pattern, account: Account, tell: Tell, faults: list[str]
) -> tuple[Entry, ...] | None:
    """What is wanted of manifests with one content: the first that can be read speaks for all of them."""
    unread = []
    for point, manifest in same:
        tell(f"{point.host}: {point.run}")
        try:
            return read_entries(point, manifest, pattern, account)
        except PermanentError as fault:
            unread.append(f"{point.host} in {point.run}: {fault}")
    faults += unread
    return None


def _find(point: Point, account: Account, faults: list[str]) -> ReportedManifest | None:
    try:
        manifest = find_reported(point, account).manifest
    except PermanentError as fault:
        faults.append(f"{point.host} in {point.run}: {fault}")
        return None
    if manifest is None:
        faults.append(f"{point.host} in {point.run}: its report tells of no manifest")
    return manifest


def read_entries(
    point: Point, manifest: ReportedManifest, wanted: Pattern | Below, account: Account
) -> tuple[Entry, ...]:
    """What is wanted of a manifest, in the order of the paths.

    Raises PermanentError when it is not the one that the report tells of, or cannot be read.
    """
    with tempfile.TemporaryFile() as file:
        try:
            account.archive.copy_to(file, manifest.key)
        except KeyError:
            raise PermanentError(f"{manifest.key} is not in the archive") from None
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest.sha256:
            raise PermanentError(f"{manifest.key} is not what its report tells of: its digest is another")
        file.seek(0)
        try:
            header, entries = find_in_manifest(file, wanted.part, wanted.matches)
            found = tuple(entries)
        except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as fault:
            raise PermanentError(f"{manifest.key} cannot be read: {fault}") from fault
    if header.host != point.host_id:
        raise PermanentError(f"{manifest.key} is of host {header.host}")
    return found
