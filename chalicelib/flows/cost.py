"""What a month costs, from what is there and what the last nights did. Looks only."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib.core import tags
from chalicelib.core.bill import Budget, Cost, budgets
from chalicelib.core.copying import as_taken
from chalicelib.core.cost import Holding, Night, estimate, sent_by
from chalicelib.core.drill_cost import Drills, drills_of
from chalicelib.core.model import Run, Snapshot
from chalicelib.core.policy import DrillPolicy, Policy
from chalicelib.errors import Refused
from chalicelib.flows.policies import find_policy
from chalicelib.flows.stock import find_stock
from chalicelib.flows.wanted_copies import find_other_region
from chalicelib.ports import World

# The latest runs, by which the next ones are judged.
MOST_NIGHTS = 14


def estimate_cost(policy: Policy, world: World, now: datetime) -> Cost:
    """Of this region's receivers, snapshots and drills, and of what is sent to and kept in the region of the copies.

    At a standby it is what its copies cost, which the first region's estimate counts as well.
    """
    there = find_other_region(policy, world)
    copied = world.copies.find(there, {tags.ROLE: tags.Role.COPY}) if there else []
    snapshots, copies = _by_receiver(find_stock(world)), _by_receiver(as_taken(copy) for copy in copied)
    receivers = {} if world.settings.is_standby else policy.receivers
    drills = _drills(policy, world, now)
    holdings = []
    for name in sorted({*receivers, *snapshots, *copies, *drills}):
        kept, over_there = snapshots.get(name, []), copies.get(name, [])
        holdings.append(
            Holding(
                name=name,
                largest_snapshot_gib=max((each.size_gib for each in (*kept, *over_there)), default=0),
                policy=receivers.get(name),
                nights=_nights(name, world),
                volumes_gib=_volumes(name, tags.Role.DATA, world),
                aside_gib=_volumes(name, tags.Role.ASIDE, world),
                snapshots=tuple(each.started for each in kept),
                copies=tuple(each.started for each in over_there),
                is_copied=there is not None and name in receivers,
                drills=drills.get(name, Drills()),
            )
        )
    return estimate(holdings)


def cost_of_a_month(world: World, now: datetime) -> tuple[Budget, Budget]:
    """The estimate under the policy in force beside its budgets, of the whole and of drills. Raises Refused without a
    policy."""
    policy = find_policy(world)
    if policy is None:
        raise Refused("no policy is in force: apply one, so that there is something that costs")
    return budgets(estimate_cost(policy, world, now), policy)


def _by_receiver(snapshots: Iterable[Snapshot]) -> Mapping[str, list[Snapshot]]:
    found: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        found[snapshot.tags.get(tags.RECEIVER, "?")].append(snapshot)
    return found


def _nights(receiver: str, world: World) -> tuple[Night, ...]:
    """The closed runs; how long a machine stood it does not say, only that it was no longer than its run was open."""
    runs = [run for run in world.catalog.find_runs(receiver, limit=MOST_NIGHTS) if run.state.is_final]
    return tuple(_night(run, world) for run in runs)


def _night(run: Run, world: World) -> Night:
    began, ended = run.machine_launched or run.opened, run.closed or run.deadline
    sent = sent_by(world.catalog.find_results(run.id), run)
    return Night(max(ended - began, timedelta(0)) / timedelta(hours=1), sent, run.disk)


def _drills(policy: Policy, world: World, now: datetime) -> Mapping[str, Drills]:
    """A standby drills by hand alone, whatever the policy wants."""
    wanted = replace(policy, drill=DrillPolicy()) if world.settings.is_standby else policy
    return drills_of(world.catalog.find_recoveries(), wanted, now)


def _volumes(receiver: str, role: tags.Role, world: World) -> tuple[int, ...]:
    found = world.volumes.find_volumes({tags.ROLE: role, tags.RECEIVER: receiver})
    return tuple(volume.size_gib for volume in found)
