"""Remove what outlived its run or recovery: look at everything of ours, plan, and remove each thing by itself.

The preflight looks at the same once a day, for what is there in spite of that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.core import tags
from chalicelib.core.ids import parse_recovery, parse_run
from chalicelib.core.model import SCHEMA, Machine, Recovery, Run, Volume
from chalicelib.core.sweep import Removal, find_forgotten, find_overdue, owner_of, plan_sweep
from chalicelib.errors import PermanentError, TransientError
from chalicelib.ports import World

_OURS = {tags.SCHEMA: str(SCHEMA)}


@dataclass(frozen=True)
class Swept:
    """What was removed and why, and what could not be: the next sweep tries again."""

    removed: tuple[Removal, ...]
    faults: tuple[str, ...]


def sweep(world: World, now: datetime) -> Swept:
    machines, volumes, owners = _look(world)
    plan = plan_sweep(machines, volumes, owners, now)
    faults: list[str] = []
    removed = (
        *_remove_each(plan.machines, world.machines.terminate, faults),
        *_remove_each(plan.volumes, world.volumes.delete_volume, faults),
    )
    return Swept(removed, tuple(faults))


def find_left_standing(world: World, now: datetime) -> tuple[Removal, ...]:
    """What sweeps should have removed and have not, or leave because the catalogue has lost whose it is; and why."""
    seen = _look(world)
    return (*find_overdue(*seen, now), *find_forgotten(*seen, now))


def _look(world: World) -> tuple[list[Machine], list[Volume], dict[str, datetime | None]]:
    """The resources are looked at before their owners: whoever made one was recorded before it was there."""
    machines = world.machines.find(_OURS)
    volumes = world.volumes.find_volumes(_OURS)
    return machines, volumes, _owners([*(each.tags for each in machines), *(each.tags for each in volumes)], world)


def _owners(tagged: Iterable[Mapping[str, str]], world: World) -> dict[str, datetime | None]:
    """When each run and recovery that these tags name was closed; what the catalogue does not know is left out."""
    found: dict[str, datetime | None] = {}
    for each in tagged:
        owner = owner_of(each)
        if owner is not None and owner not in found:
            known = _find_owner(each, world)
            if known is not None:
                found[owner] = known.closed
    return found


def _find_owner(tagged: Mapping[str, str], world: World) -> Run | Recovery | None:
    try:
        if tagged.get(tags.RUN):
            return world.catalog.get_run(parse_run(tagged[tags.RUN]))
        return world.catalog.get_recovery(parse_recovery(tagged[tags.RECOVERY]))
    except (KeyError, PermanentError):
        return None


def _remove_each(removals: Iterable[Removal], remove: Callable[[str], None], faults: list[str]) -> list[Removal]:
    """What one of them is stuck on does not keep the others."""
    removed = []
    for removal in removals:
        try:
            remove(removal.id)
        except (TransientError, PermanentError) as fault:
            faults.append(str(fault))
        else:
            removed.append(removal)
    return removed
