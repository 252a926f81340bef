"""Since when a host has been in the policy: the archive remembers it, once, so that silence from the start is told."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from chalicelib import wire
from chalicelib.core.policy import HostPolicy, Policy
from chalicelib.ports import World


def enrol(policy: Policy, world: World, now: datetime) -> None:
    """Every host of the policy that never was in one before."""
    enrolled = set(world.archive.list(wire.ENROLLED))
    for host in policy.hosts.values():
        if wire.enrolled_key(host.id) not in enrolled:
            world.archive.put_once(wire.enrolled_key(host.id), wire.enrolled_record(host.id, now))


def find_enrolments(hosts: Iterable[HostPolicy], with_points: AbstractSet[str], world: World) -> Mapping[str, datetime]:
    """When each host without a point was enrolled, by its id; not of one whose policy is older than this record."""
    return {
        host.id: wire.parse_enrolled(body)
        for host in hosts
        if host.id not in with_points and (body := _find(wire.enrolled_key(host.id), world)) is not None
    }


def _find(key: str, world: World) -> bytes | None:
    try:
        return world.archive.get(key)
    except KeyError:
        return None
