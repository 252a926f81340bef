"""Copy completed snapshots to the region that the policy names: look at both, plan, ask for each once.

CopySnapshot has no client token: the intent is written first, then it looks for a copy over there, then it asks once.
What came of that the next look will find.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.core import tags
from chalicelib.core.copy_watch import seen, unseen
from chalicelib.core.copying import Ask, CopyFailure, CopyPlan, copy_tags, plan_copies, uncopied
from chalicelib.core.model import Copying, CopyIntent, Snapshot
from chalicelib.core.policy import CopyPolicy, Policy
from chalicelib.errors import EbbtideError, PermanentError, TransientError
from chalicelib.flows.forget import forgotten_under
from chalicelib.flows.policies import find_policy
from chalicelib.ports import World


@dataclass(frozen=True)
class Copied:
    """The snapshots a copy was asked of, what waits and why, and which copies have failed so far."""

    asked: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: tuple[CopyFailure, ...] = ()


def copy_snapshots(world: World, now: datetime) -> Copied:
    """Nothing to do where none are wanted. Raises TransientError when AWS should be asked again later.

    Each look is remembered, also one that failed: what is told of copies follows from that.
    """
    policy = find_policy(world)
    wanted = copies_wanted(policy, world)
    if wanted is None:
        return Copied()
    intents = world.catalog.find_copy_intents()
    before = _last_look(wanted.region, world)
    try:
        plan = _plan(intents, wanted, forgotten_under(policy, world), world, now)
    except EbbtideError as fault:
        world.catalog.save_copying(unseen(wanted.region, str(fault), before, now))
        raise
    for intent in plan.served:
        world.catalog.forget_copy_intent(intent)
    asked = [each.source.id for each in plan.ask if _ask(each, wanted.region, intents, world, now)]
    world.catalog.save_copying(seen(wanted.region, plan.wanted, plan.failed, before, now))
    return Copied(tuple(asked), plan.waiting, plan.failed)


def copies_wanted(policy: Policy | None, world: World) -> CopyPolicy | None:
    """What the policy says of copies; None when it says nothing, and at a standby, which holds them."""
    return policy.copy if policy and not world.settings.is_standby else None


def copy_places(policy: Policy, world: World) -> tuple[str, ...]:
    """Where copies are wanted that this region has to see to."""
    wanted = copies_wanted(policy, world)
    return (wanted.region,) if wanted else ()


def find_uncopied(snapshots: Iterable[Snapshot], policy: Policy | None, world: World) -> frozenset[str]:
    """The ids of those that are still to be copied, and so must stay until they are."""
    wanted = copies_wanted(policy, world)
    if wanted is None:
        return frozenset()
    copies, forgotten = _find_copies(wanted.region, world), forgotten_under(policy, world)
    return frozenset(each.id for each in uncopied(snapshots, copies, wanted.retention, forgotten))


def _plan(
    intents: Sequence[CopyIntent], wanted: CopyPolicy, forgotten: AbstractSet[str], world: World, now: datetime
) -> CopyPlan:
    """Of intents for another region than the policy's now nothing is expected: they have served."""
    plan = plan_copies(
        sources=world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP}),
        copies=_find_copies(wanted.region, world),
        intents=[intent for intent in intents if intent.region == wanted.region],
        rules=wanted.retention,
        now=now,
        forgotten=forgotten,
    )
    elsewhere = tuple(intent for intent in intents if intent.region != wanted.region)
    return replace(plan, served=plan.served + elsewhere)


def _last_look(place: str, world: World) -> Copying | None:
    return next((each for each in world.catalog.find_copying() if each.place == place), None)


def _find_copies(region: str, world: World) -> list[Snapshot]:
    return world.copies.find(region, {tags.ROLE: tags.Role.COPY, tags.SOURCE_REGION: world.settings.region})


def _ask(ask: Ask, region: str, intents: Iterable[CopyIntent], world: World, now: datetime) -> bool:
    """Whether it was asked for. Not by whoever lost the write, nor where a copy shows by now."""
    intent = world.catalog.save_copy_intent(
        CopyIntent(ask.source.id, region, ask.attempt, now, version=_version(ask.source, region, intents))
    )
    if intent is None or _shows(ask.source, region, world):
        return False
    try:
        wanted = copy_tags(ask.source, world.settings.region)
        world.copies.copy(region, ask.source.id, f"ebbtide {ask.source.tags[tags.RUN]}", wanted)
    except TransientError:
        # It may have happened all the same, or there was no room: the next look tells.
        return True
    except PermanentError as fault:
        world.catalog.save_copy_intent(replace(intent, why=str(fault)))
    return True


def _version(source: Snapshot, region: str, intents: Iterable[CopyIntent]) -> int:
    """The version this intent must still have for our write to win; 0 when there was none."""
    mine = (each for each in intents if (each.region, each.snapshot_id) == (region, source.id))
    return next((intent.version for intent in mine), 0)


def _shows(source: Snapshot, region: str, world: World) -> bool:
    made = world.copies.find(region, {tags.ROLE: tags.Role.COPY, tags.SOURCE: source.id})
    return any(copy.state != "error" for copy in made)
