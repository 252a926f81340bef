"""The snapshots that hold this stack's restore points: its own backups, or at a standby the copies of another's."""

from chalicelib.core import tags
from chalicelib.core.backups import is_damaged
from chalicelib.core.copying import as_taken
from chalicelib.core.model import RestorePoint, Snapshot
from chalicelib.core.policy import Policy
from chalicelib.core.retention import Rules
from chalicelib.flows.wanted_copies import rules_of_copies
from chalicelib.ports import World


def find_stock(world: World) -> list[Snapshot]:
    """All of them, from all pages, each at the time its data was taken."""
    if not world.settings.is_standby:
        return world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP})
    return [as_taken(copy) for copy in world.volumes.find_snapshots({tags.ROLE: tags.Role.COPY})]


def find_snapshot(snapshot_id: str, world: World) -> Snapshot | None:
    """None when somebody has deleted it, or EC2 does not show it yet."""
    try:
        return world.volumes.get_snapshot(snapshot_id)
    except KeyError:
        return None


def is_sound(point: RestorePoint, world: World) -> bool:
    """Whether its snapshot is there, and not known to be damaged."""
    snapshot = find_snapshot(point.snapshot_id, world)
    return snapshot is not None and not is_damaged(snapshot)


def point_before(point: RestorePoint, world: World) -> RestorePoint | None:
    """The newest sound one of the same host that is older."""
    older = [each for each in world.catalog.find_points(point.host_id) if each.at < point.at]
    newest_first = sorted(older, key=lambda each: each.at, reverse=True)
    return next((each for each in newest_first if is_sound(each, world)), None)


def rules_of(host_id: str, policy: Policy | None, world: World) -> Rules:
    """What a host keeps here. Without a policy, and for a host that is no longer in it, nothing expires."""
    own = policy.rules_of(host_id) if policy else Rules()
    if not world.settings.is_standby:
        return own
    is_known = policy is not None and host_id in {host.id for host in policy.hosts.values()}
    return rules_of_copies(policy, world) if policy and is_known else Rules()
