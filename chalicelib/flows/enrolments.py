"""Since when a host has been in the policy: the archive remembers it, once, so that silence from the start is told."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from chalicelib import wire
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.errors import PermanentError
from chalicelib.ports import World


def enrol(policy: Policy, world: World, now: datetime) -> None:
    """Every host of the policy that never was in one before."""
    enrolled = set(world.archive.list(wire.ENROLLED))
    for host in policy.hosts.values():
        if wire.enrolled_key(host.id) not in enrolled:
            world.archive.put_once(wire.enrolled_key(host.id), wire.enrolled_record(host.id, now))


def find_enrolments(hosts: Iterable[HostPolicy], with_points: AbstractSet[str], world: World) -> Mapping[str, datetime]:
    """When each host without a point was enrolled, by its id; not of one whose policy is older than this record."""
    enrolled = {host.id: _find(host.id, world) for host in hosts if host.id not in with_points}
    return {host_id: at for host_id, at in enrolled.items() if at is not None}


def _find(host_id: str, world: World) -> datetime | None:
    """None, too, for one that cannot be read: a vault's is the other account's word, and keeps nobody from telling."""
    try:
        return wire.parse_enrolled(world.archive.get(wire.enrolled_key(host_id)))
    except (KeyError, PermanentError):
        return None
