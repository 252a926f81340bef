"""The restore points of a stack, by what outlives its table: the tags of snapshots, and reports in the archive."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.backups import points_in, without_extras
from chalicelib.core.copying import as_taken
from chalicelib.core.model import RestorePoint, RunId
from chalicelib.core.policy_file import ids_named_in
from chalicelib.errors import PermanentError
from chalicelib.flows.policies import find_versions, policy_key
from ebbtide_console.session import Account


@dataclass(frozen=True)
class Point:
    """A restore point of a host. `host` is its name in the newest policy, its id when it is in none."""

    host: str
    host_id: str
    at: datetime
    run: RunId
    snapshot_id: str


def find_points(account: Account) -> tuple[list[Point], tuple[str, ...]]:
    """All of them, by host and the oldest first; and what is wrong with snapshots that could not be understood.

    In the region of a standby these are copies, each at the time its data was taken.
    """
    found: list[RestorePoint] = []
    faults = []
    for role in (tags.Role.BACKUP, tags.Role.COPY):
        for snapshot in account.volumes.find_snapshots({tags.ROLE: role}):
            try:
                found += points_in(as_taken(snapshot))
            except PermanentError as fault:
                faults.append(f"snapshot {snapshot.id}: {fault}")
    names = _names(account)
    points = [
        Point(names.get(each.host_id, each.host_id), each.host_id, each.at, each.run, each.snapshot_id)
        for each in without_extras(found)
    ]
    return sorted(points, key=lambda point: (point.host, point.host_id, point.at)), tuple(faults)


def of_host(points: list[Point], host: str) -> list[Point]:
    """Those of one host, by its name or id. Raises PermanentError when there are none."""
    chosen = [point for point in points if host in (point.host, point.host_id)]
    if not chosen:
        known = ", ".join(dict.fromkeys(point.host for point in points)) or "no host"
        raise PermanentError(f"there is no restore point of {host}; there are some of {known}")
    return chosen


def find_manifest(point: Point, account: Account) -> wire.ReportedManifest:
    """Where the manifest of a point lies. Raises PermanentError when the archive does not say."""
    key = wire.any_report_key(point.run, point.host_id)
    try:
        manifest = wire.parse_reported_manifest(point.run, point.host_id, account.archive.get(key))
    except KeyError:
        raise PermanentError(f"{key} is not in the archive") from None
    if manifest is None:
        raise PermanentError(f"{key} tells of no manifest")
    return manifest


def _names(account: Account) -> dict[str, str]:
    """What the newest policy calls each id."""
    versions = find_versions(account.archive)
    text = account.archive.get(policy_key(versions[-1])).decode(errors="replace") if versions else ""
    return {host_id: name for name, host_id in ids_named_in(text).items()}
