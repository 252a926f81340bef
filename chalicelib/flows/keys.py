"""Which KMS keys our volumes, snapshots and copies are encrypted with, and what will be."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chalicelib.core import tags
from chalicelib.core.model import Snapshot
from chalicelib.core.policy import Policy
from chalicelib.flows.stock import find_stock
from chalicelib.flows.wanted_copies import find_other_region
from chalicelib.ports import World

# Calls what is given after its name, and gives None for what cannot be looked at.
Tried = Callable[..., Any]
KeysInUse = Mapping[tuple[str, str], tuple[str, ...]]


def find_keys_in_use(policy: Policy, world: World, tried: Tried) -> KeysInUse:
    """Every key by region and id, and what it encrypts. Old restore points count: without their key they are lost."""
    here = world.settings.region
    held: dict[tuple[str, str], list[str]] = defaultdict(list)
    for volume in tried("volumes", world.volumes.find_volumes, {tags.ROLE: tags.Role.DATA}) or ():
        held[here, volume.key or ""].append(f"volume {volume.id}")
    regions = {here: tried("snapshots", find_stock, world)}
    there = find_other_region(policy, world)
    if there is not None:
        regions[there] = tried("copies", world.copies.find, there, {tags.ROLE: tags.Role.COPY})
    for region, snapshots in regions.items():
        for key, count in _counted(snapshots or ()).items():
            held[region, key].append(f"{count} snapshots")
        default = tried(f"the default key in {region}", world.account.default_key, region)
        held[region, default or ""].append("what is made there from now on")
    return {place: tuple(holds) for place, holds in held.items() if place[1]}


def _counted(snapshots: Iterable[Snapshot]) -> Mapping[str, int]:
    return Counter(snapshot.key or "" for snapshot in snapshots)
