"""Hold a snapshot, so that it stays whatever the rules say, or release it: shown first, then done."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.backups import is_damaged, is_ours
from chalicelib.core.holds import Hold, Target, find_hold, hold_faults, hold_tags, release_tags
from chalicelib.core.model import Snapshot
from chalicelib.core.recovery import choose_point
from chalicelib.errors import ConfigError, Refused
from chalicelib.flows.policies import find_policy
from chalicelib.flows.stock import find_snapshot
from chalicelib.ports import World


@dataclass(frozen=True)
class Held:
    """The snapshot, and the hold on it before and after; the same twice when nothing changes."""

    snapshot: Snapshot
    before: Hold | None
    after: Hold | None


def hold(target: Target, why: str, by: str, world: World, now: datetime, dry_run: bool = False) -> Held:
    """Held for the same reason by the same person already, it stays so. Raises Refused, and ConfigError."""
    faults = hold_faults(why, by)
    if faults:
        raise ConfigError(faults)
    snapshot = _get_backup(target, world)
    before, wanted = find_hold(snapshot.tags), hold_tags(why, by, now)
    if before is not None and (before.why, before.by) != (why, by):
        raise Refused(f"snapshot {snapshot.id} is {before}: release it first, if that is over")
    if before is not None:
        return Held(snapshot, before, before)
    if not dry_run:
        world.volumes.tag(snapshot.id, wanted)
    return Held(snapshot, None, find_hold(wanted))


def release(target: Target, world: World, dry_run: bool = False) -> Held:
    """What nobody holds is released already. Raises Refused when there is no such snapshot."""
    snapshot = _get_backup(target, world)
    before = find_hold(snapshot.tags)
    if before is not None and not dry_run:
        world.volumes.tag(snapshot.id, release_tags())
    return Held(snapshot, before, None)


def _get_backup(target: Target, world: World) -> Snapshot:
    snapshot_id = target.snapshot_id or _snapshot_of_point(str(target.host), target.at, world)
    try:
        snapshot = world.volumes.get_snapshot(snapshot_id)
    except KeyError:
        raise Refused(
            f"there is no snapshot {snapshot_id} in this account and region: `ebbtide prune --dry-run` lists ours"
        ) from None
    if not is_ours(snapshot):
        raise Refused(f"snapshot {snapshot.id} is not tagged as a backup of ours: retention never touches it")
    return snapshot


def _snapshot_of_point(host: str, at: datetime | None, world: World) -> str:
    """What is damaged is held by its own id only: whoever holds a host's point wants one to restore from."""
    policy = find_policy(world)
    known = policy.hosts.get(host) if policy else None
    points = world.catalog.find_points(known.id if known else host)
    while (point := choose_point(points, at)) is not None:
        snapshot = find_snapshot(point.snapshot_id, world)
        if snapshot is None or not is_damaged(snapshot):
            return point.snapshot_id
        points.remove(point)
    if not points:
        raise Refused(f"host {host} has no restore point: give a known name or id, or `rebuild` a lost catalogue")
    raise Refused(f"host {host} has no restore point that old: its first is of {points[0].at.isoformat()}")
