"""Let old snapshots go: plan over all of ours, mark tonight, delete what an earlier night has marked."""

from dataclasses import replace
from datetime import datetime
from functools import partial

from chalicelib.core import tags
from chalicelib.core.pruning import PrunePlan, plan_prune
from chalicelib.flows.copy import find_uncopied
from chalicelib.flows.policies import find_policy
from chalicelib.flows.stock import find_stock, rules_of
from chalicelib.ports import World

NO_POLICY = "no policy is in force: apply one, so that it is known what to keep"


def prune(world: World, now: datetime, dry_run: bool = False) -> PrunePlan:
    """The plan exactly as it was applied, or as it would be. A refused one marks and deletes nothing."""
    policy = find_policy(world)
    snapshots = find_stock(world)
    planned = plan_prune(
        snapshots=snapshots,
        rules_of=partial(rules_of, policy=policy, world=world),
        now=now,
        adopted={point.snapshot_id for point in world.catalog.find_points()},
        uncopied=find_uncopied(snapshots, policy, world),
    )
    plan = _spare_what_is_in_use(planned if policy else _refuse(planned), world)
    if not dry_run:
        _apply(plan, world)
    return plan


def _refuse(plan: PrunePlan) -> PrunePlan:
    return replace(plan, refused=NO_POLICY, mark=(), delete=())


def _spare_what_is_in_use(plan: PrunePlan, world: World) -> PrunePlan:
    in_use = {each.point.snapshot_id for each in world.catalog.find_recoveries() if not each.state.is_final}
    return replace(plan, delete=tuple(snapshot_id for snapshot_id in plan.delete if snapshot_id not in in_use))


def _apply(plan: PrunePlan, world: World) -> None:
    for snapshot_id in plan.unmark:
        world.volumes.tag(snapshot_id, {tags.MARKED: ""})
    for snapshot_id in plan.mark:
        world.volumes.tag(snapshot_id, {tags.MARKED: plan.tonight.isoformat()})
    for snapshot_id in plan.delete:
        # First the points: the catalogue never names a snapshot that is gone.
        world.catalog.forget_points(snapshot_id)
        world.volumes.delete_snapshot(snapshot_id)
