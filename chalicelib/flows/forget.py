"""Forget a host that left the policy: from then on its restore points keep no snapshot. Recorded for ever."""

from dataclasses import dataclass
from datetime import datetime

from chalicelib import wire
from chalicelib.core.model import RestorePoint
from chalicelib.core.policy import Policy
from chalicelib.core.policy_file import ids_named_in
from chalicelib.errors import Refused
from chalicelib.flows.policies import find_policy, find_versions, policy_key
from chalicelib.ports import World


@dataclass(frozen=True)
class Forgotten:
    """The host by its permanent id, the points that no longer keep a snapshot, and whether that was so before."""

    host_id: str
    points: tuple[RestorePoint, ...]
    already: bool


def forget_host(name: str, by: str, world: World, now: datetime, dry_run: bool = False) -> Forgotten:
    """By the host's last name in a policy, or by its id.

    Raises Refused for one that is in force or unknown, and at a standby.
    """
    if world.settings.is_standby:
        raise Refused("this stack is a standby and follows another: forget the host where its backups are made")
    host_id = _find_id(name, world)
    policy = find_policy(world)
    if policy is None or host_id in {host.id for host in policy.hosts.values()}:
        raise Refused(f"host {name} is in the policy in force: apply one without it first")
    points = tuple(world.catalog.find_points(host_id))
    already = host_id in find_forgotten(world)
    if not points and not already:
        raise Refused(f"host {name} has no restore point: give a known name or id, or `rebuild` a lost catalogue")
    if not dry_run:
        world.archive.put_once(wire.forgotten_key(host_id), wire.forgotten_record(host_id, by, now))
    return Forgotten(host_id, points, already)


def find_forgotten(world: World) -> frozenset[str]:
    """The ids of the hosts that were ever forgotten."""
    return frozenset(wire.host_of_forgotten_key(key) for key in world.archive.list(wire.FORGOTTEN))


def forgotten_under(policy: Policy | None, world: World) -> frozenset[str]:
    """The ids of the hosts whose points keep nothing. One that is in the policy again is remembered.

    At a vault there are none: that a host was forgotten is the other account's word, and it would cost all its copies.
    """
    if world.settings.is_vault:
        return frozenset()
    present = {host.id for host in policy.hosts.values()} if policy else set()
    return find_forgotten(world) - present


def _find_id(name: str, world: World) -> str:
    """What the newest policy with a host of that name calls it; a name that none has is taken for an id."""
    for version in reversed(find_versions(world.archive)):
        named = ids_named_in(world.archive.get(policy_key(version)).decode(errors="replace"))
        if name in named:
            return named[name]
    return name
