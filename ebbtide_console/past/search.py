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
    for _, same in groupby(known, key=lambda each: each[1].content or each[1].sha256):
        points_of, manifests = zip(*same, strict=True)
        tell(f"{points_of[0].host}: {points_of[0].run}")
        try:
            entries = read_entries(points_of[0], manifests[0], pattern, account)
        except PermanentError as fault:
            faults.append(f"{points_of[0].host} in {points_of[0].run}: {fault}")
        else:
            yield Stretch(points_of[0], points_of[-1], entries)


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
