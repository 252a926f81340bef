"""The restore points of a stack, by what outlives its table: the tags of snapshots, and reports in the archive."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.backups import is_damaged, points_in, without_extras
from chalicelib.core.copying import as_taken
from chalicelib.core.model import RestorePoint, RunId, Snapshot, TreeKind
from chalicelib.core.policy_file import ids_named_in
from chalicelib.errors import EbbtideError, PermanentError
from chalicelib.flows.briefed import get_reported_tree
from chalicelib.flows.policies import find_versions, policy_key
from ebbtide_console.session import Account


@dataclass(frozen=True)
class Point:
    """A restore point of a host. `host` is its name in the newest policy, its id when it is in none."""

    host: str
    host_id: str
    at: datetime
    run: RunId
    tree: TreeKind
    snapshot: Snapshot


def find_points(account: Account) -> tuple[list[Point], tuple[str, ...]]:
    """All of them, by host and the oldest first; and what is wrong with snapshots: not understood, or damaged.

    Where the archive cannot be read that is a fault as well, and the hosts go by their ids.

    In the region of a standby these are copies, each at the time its data was taken.
    """
    found: list[RestorePoint] = []
    faults = []
    roles = (tags.Role.BACKUP, tags.Role.COPY)
    snapshots = [each for role in roles for each in account.volumes.find_snapshots({tags.ROLE: role})]
    for snapshot in snapshots:
        if is_damaged(snapshot):
            faults.append(
                f"snapshot {snapshot.id} of {snapshot.started:%Y-%m-%d} was found damaged: nothing in it counts"
            )
        try:
            found += points_in(as_taken(snapshot))
        except PermanentError as fault:
            faults.append(f"snapshot {snapshot.id}: {fault}")
    names, of_id = _names(account, faults), {snapshot.id: snapshot for snapshot in snapshots}
    points = [
        Point(names.get(it.host_id, it.host_id), it.host_id, it.at, it.run, it.tree, of_id[it.snapshot_id])
        for it in without_extras(found)
    ]
    return sorted(points, key=lambda point: (point.host, point.host_id, point.at)), tuple(faults)


def of_host(points: list[Point], host: str) -> list[Point]:
    """Those of one host, by its name or id, of some. Raises PermanentError when there are none of it."""
    chosen = [point for point in points if host in (point.host, point.host_id)]
    if not chosen:
        known = ", ".join(dict.fromkeys(point.host for point in points))
        raise PermanentError(f"there is no restore point of {host}; there are some of {known}")
    return chosen


def find_reported(point: Point, account: Account) -> wire.ReportedTree:
    """What the report of a point says of its tree. Raises PermanentError when it is not in the archive."""
    try:
        return get_reported_tree(point.run, point.host_id, account.archive)
    except KeyError as missing:
        raise PermanentError(f"{missing.args[0]} is not in the archive") from None


def newest_policy(account: Account) -> str:
    """The text of the newest policy that was archived; empty before the first."""
    versions = find_versions(account.archive)
    return account.archive.get(policy_key(versions[-1])).decode(errors="replace") if versions else ""


def _names(account: Account, faults: list[str]) -> dict[str, str]:
    """What the newest policy calls each id."""
    try:
        text = newest_policy(account)
    except EbbtideError as fault:
        faults.append(f"the newest policy in {account.bucket}: {fault}")
        return {}
    return {host_id: name for name, host_id in ids_named_in(text).items()}
