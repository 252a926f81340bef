"""At a vault whose deployment says so: have EBS lock copies, and say of what it did not lock why."""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.core.locking import plan_locks
from chalicelib.core.model import Snapshot
from chalicelib.errors import EbbtideError
from chalicelib.ports import World


@dataclass(frozen=True)
class Locked:
    """The copies that were locked just now, and why others, or all that should have been, were not."""

    copies: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def lock_copies(copies: Iterable[Snapshot], world: World) -> Locked:
    """Those that are due. What is refused is due again the next time, and holds up nothing else."""
    if not (world.settings.is_vault and world.settings.lock_days):
        return Locked()
    try:
        due = plan_locks(copies, world.volumes.find_locks())
    except EbbtideError as fault:
        return Locked(failed=(str(fault),))
    refused = {copy_id: why for copy_id in due if (why := _why_not_locked(copy_id, world))}
    return Locked(tuple(copy_id for copy_id in due if copy_id not in refused), tuple(refused.values()))


def _why_not_locked(copy_id: str, world: World) -> str:
    """Nothing once it is locked."""
    try:
        world.volumes.lock(copy_id, world.settings.lock_days)
    except EbbtideError as fault:
        return str(fault)
    return ""
