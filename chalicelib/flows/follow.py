"""At a standby: make what the other region's nights leave here one's own, namely its policy and its copies.

Copies come by EC2, the archive by replication, and neither waits for the other: a copy becomes restore points when the
reports of its hosts are here too, or without them when they are long overdue.
"""

from collections.abc import Container, Iterable
from datetime import datetime, timedelta

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import RestorePoint, RunId, Snapshot
from chalicelib.core.proofs import proofs_of, with_its_proof
from chalicelib.core.ticks import is_the_hours_first
from chalicelib.errors import PermanentError
from chalicelib.flows.damage import find_unheeded
from chalicelib.flows.points import points_of_each_run, record_points
from chalicelib.flows.policies import find_versions
from chalicelib.flows.rebuild import read_run
from chalicelib.flows.receive_report import receive_reports
from chalicelib.flows.stock import find_stock
from chalicelib.ports import World

# S3 replicates most objects within seconds and nearly all within minutes; a night later none is still to come.
REPLICA_SETTLES = timedelta(days=1)


def follow(world: World, now: datetime) -> tuple[RunId, ...]:
    """The runs whose copies have become restore points just now; what the copies' rules then let go of is pruned.

    So is what was found damaged in the other region, by the same door, within the hour: no point of it is adopted
    meanwhile, and a tag that is refused is tried again no more often.
    """
    _follow_policy(world)
    stock = find_stock(world)
    unheeded = {copy.id for copy in find_unheeded(stock, world)}
    known = {(point.host_id, point.snapshot_id) for point in world.catalog.find_points()}
    taken_up = {snapshot_id for _, snapshot_id in known}
    adopted = []
    for run_id, points in points_of_each_run(_staying(stock, unheeded), taken_up, faults=[]).items():
        is_new = any((point.host_id, point.snapshot_id) not in known for point in points)
        if is_new and _adopt(run_id, points, world, now):
            adopted.append(run_id)
    if adopted or (unheeded and is_the_hours_first(now)):
        world.lambdas.invoke_later("prune", wire.prune_payload())
    return tuple(adopted)


def _staying(stock: Iterable[Snapshot], unheeded: Container[str]) -> list[Snapshot]:
    """Without those that pruning has marked, or is about to tag as damaged: it may be forgetting their points and
    deleting them at this moment."""
    return [copy for copy in stock if not copy.tags.get(tags.MARKED) and copy.id not in unheeded]


def _follow_policy(world: World) -> None:
    """The newest version that has arrived."""
    arrived, current = find_versions(world.archive), world.catalog.policy_version()
    if arrived and arrived[-1] != current:
        world.catalog.set_policy_version(arrived[-1], current)


def _adopt(run_id: RunId, points: tuple[RestorePoint, ...], world: World, now: datetime) -> bool:
    reported = _reported(run_id, world)
    is_whole = all(point.host_id in reported for point in points)
    if not is_whole and now < points[0].at + REPLICA_SETTLES:
        return False
    proofs = proofs_of(world.catalog.find_recoveries())
    record_points(run_id, (with_its_proof(point, proofs) for point in points), world)
    return True


def _reported(run_id: RunId, world: World) -> set[str]:
    """The ids of the hosts whose reports have arrived, recorded together with their run; none while that is open.

    Nothing here closes a run, and an open one would keep the later ones of its receiver out of the catalogue. What
    cannot be read, or does not fit into it, costs its own run, and no other one.
    """
    try:
        run = read_run(run_id, world)
        if run is None:
            return set()
        results = receive_reports(run, world).results
        if not run.state.is_final:
            return set()
        world.catalog.open_run(run)
    except PermanentError:
        return set()
    return {result.id for result in results}
