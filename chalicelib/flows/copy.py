"""Copy completed snapshots to where the policy wants them: look at both sides, plan, ask for each once.

CopySnapshot has no client token: the intent is written first, then it looks for a copy over there, then it asks once.
What came of that the next look will find. From the region of the backups it copies to another region; at a vault, from
another account into its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from chalicelib.core import tags
from chalicelib.core.copy_watch import seen, unseen
from chalicelib.core.copying import Ask, CopyFailure, copy_tags, plan_copies, settled, uncopied
from chalicelib.core.model import CopyIntent, Snapshot
from chalicelib.core.policy import Policy
from chalicelib.errors import EbbtideError, PermanentError, TransientError
from chalicelib.flows.forget import forgotten_under
from chalicelib.flows.lock import Locked, lock_copies
from chalicelib.flows.policies import find_policy
from chalicelib.flows.pull import find_offers, send_receipts
from chalicelib.flows.wanted_copies import Destination, find_destination, find_last_look
from chalicelib.ports import World


@dataclass(frozen=True)
class Copied:
    """The snapshots a copy was asked of, what waits and why, which copies have failed so far, and what was locked."""

    asked: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: tuple[CopyFailure, ...] = ()
    locked: Locked = field(default_factory=Locked)


@dataclass(frozen=True)
class _Look:
    """What may be copied, what there is of it, and why some of what is offered to a vault cannot be copied yet."""

    sources: tuple[Snapshot, ...]
    copies: tuple[Snapshot, ...]
    waiting: tuple[str, ...] = ()


def copy_snapshots(world: World, now: datetime) -> Copied:
    """Nothing to do where none are wanted. Raises TransientError when AWS should be asked again later.

    Each look is remembered, also one that failed: what is told of copies follows from that.
    """
    policy = find_policy(world)
    destination = find_destination(policy, world)
    if policy is None or destination is None:
        return Copied()
    before = find_last_look(destination.place, world)
    try:
        look = _look(destination, policy, world)
    except EbbtideError as fault:
        world.catalog.save_copying(unseen(destination.place, str(fault), before, now))
        raise
    intents = world.catalog.find_copy_intents()
    mine = [intent for intent in intents if intent.region == destination.region]
    plan = plan_copies(look.sources, look.copies, mine, destination.rules, now, forgotten_under(policy, world))
    for intent in (*plan.served, *_elsewhere(intents, destination)):
        world.catalog.forget_copy_intent(intent)
    asked = [each.source.id for each in plan.ask if _ask(each, destination.region, mine, world, now)]
    locked = lock_copies(look.copies, world)
    world.catalog.save_copying(seen(destination.place, plan.wanted, plan.failed, before, now, locked.failed))
    if policy.vault and world.settings.is_vault:
        send_receipts(settled(look.sources, look.copies, plan.wanted), policy.vault.account, world, now)
    return Copied(tuple(asked), (*plan.waiting, *look.waiting), plan.failed, locked)


def find_uncopied(snapshots: Iterable[Snapshot], policy: Policy | None, world: World) -> frozenset[str]:
    """The ids of those that are still to be copied to another region, and so must stay until they are."""
    destination = find_destination(policy, world)
    if policy is None or destination is None or world.settings.is_standby:
        return frozenset()
    copies, forgotten = _find_copies(destination, world), forgotten_under(policy, world)
    return frozenset(each.id for each in uncopied(snapshots, copies, destination.rules, forgotten))


def _look(destination: Destination, policy: Policy, world: World) -> _Look:
    copies = tuple(_find_copies(destination, world))
    if policy.vault and world.settings.is_vault:
        offers = find_offers(policy.vault.account, policy.version, world)
        return _Look(offers.snapshots, copies, offers.waiting)
    return _Look(tuple(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP})), copies)


def _find_copies(destination: Destination, world: World) -> list[Snapshot]:
    """A region may hold copies of several regions' backups; a vault's are all its own."""
    of_ours = {} if world.settings.is_vault else {tags.SOURCE_REGION: world.settings.region}
    return world.copies.find(destination.region, {tags.ROLE: tags.Role.COPY, **of_ours})


def _elsewhere(intents: Iterable[CopyIntent], destination: Destination) -> list[CopyIntent]:
    """Of intents for another region than the policy's now nothing is expected: they have served."""
    return [intent for intent in intents if intent.region != destination.region]


def _ask(ask: Ask, region: str, intents: Iterable[CopyIntent], world: World, now: datetime) -> bool:
    """Whether it was asked for. Not by whoever lost the write, nor where a copy shows by now."""
    source = ask.source
    intent = world.catalog.save_copy_intent(
        CopyIntent(source.id, region, ask.attempt, now, version=_version(source, intents))
    )
    if intent is None or _shows(source, region, world):
        return False
    source_region = source.tags.get(tags.SOURCE_REGION, world.settings.region)
    wanted, description = copy_tags(source, source_region), f"ebbtide {source.tags[tags.RUN]}"
    try:
        world.copies.copy(region, source.id, description, wanted, source_region)
    except TransientError:
        # It may have happened all the same, or there was no room: the next look tells.
        return True
    except PermanentError as fault:
        world.catalog.save_copy_intent(replace(intent, why=str(fault)))
    return True


def _version(source: Snapshot, intents: Iterable[CopyIntent]) -> int:
    """The version this intent must still have for our write to win; 0 when there was none."""
    return next((intent.version for intent in intents if intent.snapshot_id == source.id), 0)


def _shows(source: Snapshot, region: str, world: World) -> bool:
    made = world.copies.find(region, {tags.ROLE: tags.Role.COPY, tags.SOURCE: source.id})
    return any(copy.state != "error" for copy in made)
