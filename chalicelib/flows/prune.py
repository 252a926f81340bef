"""Let old snapshots go: plan over all of ours, mark tonight, delete what an earlier night has marked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Pruning, RestorePoint, RunId, Snapshot
from chalicelib.core.policy import Policy
from chalicelib.core.proofs import doubts_of, proofs_of
from chalicelib.core.protections import protections, with_shared
from chalicelib.core.pruning import PrunePlan, Stock, may_still_go, plan_prune, still_told
from chalicelib.flows.copy import find_uncopied
from chalicelib.flows.damage import heed_damage, tell_of_damage
from chalicelib.flows.forget import forgotten_under
from chalicelib.flows.leases import Leased, leased
from chalicelib.flows.offer import find_unpulled
from chalicelib.flows.points import record_points
from chalicelib.flows.policies import find_policy
from chalicelib.flows.stock import find_snapshot, find_stock, rules_of
from chalicelib.ports import World

NO_POLICY = "no policy is in force: apply one, so that it is known what to keep"
LEASE = "prune"


def prune(
    world: World, now: datetime, dry_run: bool = False, allow: int | None = None, holder: str | None = None
) -> PrunePlan:
    """The plan exactly as it was applied, or as it would be. A refused one marks and deletes nothing.

    `allow` is how many deletions an operator has confirmed; `holder` is the invocation's id, whose retry goes on where
    it was killed. Raises UnderWayError while another prune is under way.
    """
    if dry_run:
        return _plan(world, now, allow)
    with leased(LEASE, holder, world, now) as lease:
        if world.settings.is_standby:
            heed_damage(world)
        planned = _plan(world, now, allow)
        if _record(planned.unrecorded, world):
            planned = _plan(world, now, allow)
        _forget_damaged(planned.damaged, world)
        if not world.settings.is_standby:
            tell_of_damage((verdict.snapshot for verdict in planned.verdicts), world)
        pruned = _apply(_without_those_that_wait(planned), world, lease)
        gone = _find_gone(pruned.missing, world)
        world.catalog.record_pruning(_recorded(pruned, gone, world, now))
        for snapshot_id, host_ids in gone.items():
            world.catalog.forget_points(snapshot_id, host_ids)
    world.lambdas.invoke_later("tell_operators", wire.telling_payload())
    return pruned


def _plan(world: World, now: datetime, allow: int | None) -> PrunePlan:
    """Who may use a snapshot is a call for each, so that is asked only of those that would be marked or deleted.

    That the deployment's vault may use one does not keep it, also when the policy no longer has one: whether it still
    has to be pulled was asked before.
    """
    policy = find_policy(world)
    stock = _take_stock(policy, world)
    planned = _plan_under(policy, stock, world, now, allow)
    shared = world.volumes.find_shared((*planned.mark, *planned.delete), but=world.settings.vault_account)
    if not shared:
        return planned
    return _plan_under(policy, replace(stock, protected=with_shared(stock.protected, shared)), world, now, allow)


def _plan_under(policy: Policy | None, stock: Stock, world: World, now: datetime, allow: int | None) -> PrunePlan:
    planned = plan_prune(stock, partial(rules_of, policy=policy, world=world), now, allow)
    return planned if policy else replace(planned, refused=NO_POLICY, mark=(), delete=())


def _take_stock(policy: Policy | None, world: World) -> Stock:
    """All of it or none: a listing that breaks off raises, and then nothing is planned."""
    snapshots, recoveries = find_stock(world), world.catalog.find_recoveries()
    return Stock(
        snapshots=tuple(snapshots),
        points=tuple(world.catalog.find_points()),
        proofs=proofs_of(recoveries),
        doubted=doubts_of(recoveries),
        protected=protections(
            locks=world.volumes.find_locks(),
            images=world.volumes.find_images(),
            recoveries=recoveries,
            uncopied=find_uncopied(snapshots, policy, world),
            unpulled=find_unpulled(snapshots, policy, world),
        ),
        forgotten=forgotten_under(policy, world),
    )


def _apply(plan: PrunePlan, world: World, lease: Leased) -> PrunePlan:
    """The plan as it was applied: without the snapshots that somebody has held since they were listed."""
    for snapshot_id in plan.unmark:
        world.volumes.tag(snapshot_id, {tags.MARKED: ""})
    for snapshot_id in plan.mark:
        world.volumes.tag(snapshot_id, {tags.MARKED: plan.tonight.isoformat()})
    listed = {verdict.snapshot.id: verdict.snapshot for verdict in plan.verdicts}
    deleted = tuple(each for each in plan.delete if _delete(listed[each], plan, world, lease))
    return replace(plan, delete=deleted)


def _record(points: Iterable[RestorePoint], world: World) -> bool:
    """Those of a snapshot that completed after its run had given it up, if there are any.

    The run of the others is still at it, or is not known here yet; a standby waits for their reports, too.
    """
    if world.settings.is_standby:
        return False
    by_run = groupby(sorted(points, key=attrgetter("run")), key=attrgetter("run"))
    late = [(run_id, tuple(of_run)) for run_id, of_run in by_run if _is_over(run_id, world)]
    for run_id, of_run in late:
        record_points(run_id, of_run, world)
    return bool(late)


def _forget_damaged(points: Iterable[RestorePoint], world: World) -> None:
    """What alarms, drills and restores go by then is what can be restored. The tags keep saying what there was."""
    for point in points:
        world.catalog.forget_points(point.snapshot_id, [point.host_id])


def _without_those_that_wait(plan: PrunePlan) -> PrunePlan:
    """Deleting nothing of a host for the sake of a point that the catalogue does not have yet."""
    waiting = {point.host_id for point in plan.unrecorded}
    due = frozenset(plan.delete)
    going = (verdict.snapshot for verdict in plan.verdicts if verdict.snapshot.id in due)
    return replace(plan, delete=tuple(each.id for each in going if waiting.isdisjoint(tags.unpack(each.tags))))


def _is_over(run_id: RunId, world: World) -> bool:
    try:
        return world.catalog.get_run(run_id).state.is_final
    except KeyError:
        return False


def _delete(listed: Snapshot, plan: PrunePlan, world: World, lease: Leased) -> bool:
    """Whether it is gone; looked at once more, because this cannot be undone."""
    lease.confirm()
    snapshot = find_snapshot(listed.id, world)
    if snapshot is not None and not may_still_go(snapshot, plan):
        return False
    # First the points: the catalogue never names a snapshot that is gone. All that there can be are in its tags.
    world.catalog.forget_points(listed.id, tags.unpack((snapshot or listed).tags))
    if snapshot is not None:
        world.volumes.delete_snapshot(listed.id)
    return True


def _find_gone(missing: Iterable[RestorePoint], world: World) -> dict[str, list[str]]:
    """The snapshots that somebody else has deleted, each looked at by itself, with the ids of the hosts in it."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for point in missing:
        hosts[point.snapshot_id].append(point.host_id)
    return {each: host_ids for each, host_ids in hosts.items() if find_snapshot(each, world) is None}


def _recorded(pruned: PrunePlan, gone: Mapping[str, Iterable[str]], world: World, now: datetime) -> Pruning:
    """Written before the points are forgotten: who dies in between finds the same again."""
    named = tuple(f"snapshot {each} with points of {', '.join(host_ids)}" for each, host_ids in gone.items())
    told, missed = still_told(world.catalog.find_pruning(), named, now)
    return Pruning(now, pruned.refused, told, missed)
