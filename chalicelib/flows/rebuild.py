"""Make the catalogue again from what outlives it: the archive, and the tags of the snapshots.

Nothing is decided here. What was open stays open, and the next tick goes on with it as if nothing had happened.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.ids import parse_run
from chalicelib.core.model import Disk, ExpectedHost, Recovery, RecoveryId, Run, RunId, RunState, Snapshot
from chalicelib.core.night import MOST_ATTEMPTS
from chalicelib.core.proofs import Proofs, proofs_of, with_its_proof
from chalicelib.core.verdicts import PROVEN
from chalicelib.errors import PermanentError
from chalicelib.flows.archived_recoveries import read_recovery
from chalicelib.flows.briefed import find_briefed_run
from chalicelib.flows.objects import find_object
from chalicelib.flows.points import origin_of, points_of_each_run, record_points
from chalicelib.flows.policies import find_versions
from chalicelib.flows.receive_report import receive_reports
from chalicelib.flows.stock import find_stock
from chalicelib.flows.words import Words, find_briefed, hear, volumes_of
from chalicelib.ports import World

_Id = TypeVar("_Id", RunId, RecoveryId)
_Whole = TypeVar("_Whole", Run, Recovery)
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Rebuilt:
    """The policy now in force, how much there is of everything, and what could not be read."""

    policy: str | None
    runs: int
    results: int
    points: int
    recoveries: int
    faults: tuple[str, ...]


def rebuild(world: World) -> Rebuilt:
    """What the table still has stays as it is; what it has lost comes back.

    At a standby nothing closes a run: one that is open in the archive's replica is left to `follow`, which takes it up
    with its restore points when its closing has arrived, or without when that is long overdue. What the last preflight
    found is nowhere but in the table: another one is asked for, or operators would be told that it is silent.
    """
    faults: list[str] = []
    policy = _rebuild_policy(world)
    archived = _read_each(world.archive.list(wire.RUNS), wire.run_of_key, partial(read_run, world=world), faults)
    unfinished = {str(run.id) for run in archived if world.settings.is_standby and not run.state.is_final}
    runs = [run for run in archived if str(run.id) not in unfinished]
    results = sum(_rebuild_run(run, world, faults) for run in runs)
    stock = find_stock(world)
    finished = [snapshot for snapshot in stock if snapshot.tags.get(tags.RUN) not in unfinished]
    points = _rebuild_points(finished, runs, world, faults)
    lost = _rebuild_lost_runs(finished, runs, world)
    asked = wire.asked_among(world.archive.list(wire.RECOVERIES))
    as_archived = partial(read_recovery, archive=world.archive)
    recoveries = _own(_read_each(asked, wire.recovery_of_key, as_archived, faults), stock, world)
    proofs = proofs_of(recoveries)
    for recovery in recoveries:
        _rebuild_recovery(recovery, proofs, world, faults)
    world.lambdas.invoke_later("preflight", wire.preflight_payload())
    return Rebuilt(policy, len(runs) + lost, results, points, len(recoveries), tuple(faults))


def _read_each(
    keys: Iterable[str],
    id_of: Callable[[str], _Id],
    read: Callable[[_Id], _Whole | None],
    faults: list[str],
) -> list[_Whole]:
    """Whatever these are keys of, in the order of the ids. What is damaged costs itself, not the rebuild."""
    ids = {found for key in keys if (found := _tried(key, partial(id_of, key), faults)) is not None}
    wholes = (_tried(str(each), partial(read, each), faults) for each in sorted(ids))
    return [whole for whole in wholes if whole is not None]


def _tried(what: str, read: Callable[[], _Read], faults: list[str]) -> _Read | None:
    try:
        return read()
    except PermanentError as fault:
        faults.append(f"{what}: {fault}")
        return None


# -- policy -----------------------------------------------------------------------------------------------------------


def _rebuild_policy(world: World) -> str | None:
    """The highest version there is, unless the table knows which one is in force."""
    current = world.catalog.policy_version()
    archived = find_versions(world.archive)
    if current is not None or not archived:
        return current
    world.catalog.set_policy_version(archived[-1], expected=None)
    return world.catalog.policy_version()


# -- runs and results -------------------------------------------------------------------------------------------------


def read_run(run_id: RunId, world: World) -> Run | None:
    """As it was briefed and closed; without a brief nothing was launched, and only the closing remembers it."""
    briefed, closed = find_briefed_run(run_id, world.archive), find_object(wire.closed_key(run_id), world.archive)
    if briefed is None:
        return _closed_unbriefed(wire.parse_closed(closed)) if closed else None
    words = hear(briefed, range(1, MOST_ATTEMPTS + 1), world)
    run = replace(
        briefed,
        machine_attempt=max((1, *words.ready, *words.released, *words.damaged)),
        disk=_disk(words),
        aside=tuple(sorted(find_briefed(run_id, volumes_of(words.damaged), world))),
    )
    return _as_closed(run, wire.parse_closed(closed)) if closed else run


def _disk(words: Words) -> Disk | None:
    """What the last receiver that released has measured."""
    last = words.released[max(words.released)] if words.released else None
    return last.disk if last else None


def _as_closed(run: Run, closed: wire.Closed) -> Run:
    return replace(run, state=closed.state, closed=closed.closed, snapshot_id=closed.snapshot_id, why=closed.why)


def _closed_unbriefed(closed: wire.Closed) -> Run:
    """Nobody was told its policy, times and nonces, so nobody will ask: what counts is that its id is taken."""
    hosts = tuple(ExpectedHost(host.name, host.id, nonce="") for host in closed.hosts)
    run = Run(closed.run, policy_version="", opened=closed.closed, deadline=closed.closed, hosts=hosts)
    return _as_closed(run, closed)


def _rebuild_run(run: Run, world: World, faults: list[str]) -> int:
    """How many results it has."""
    world.catalog.open_run(run)
    received = receive_reports(run, world)
    faults += [f"{rejected.key}: {rejected.why}" for rejected in received.rejected]
    return len(received.results)


# -- what only the tags remember --------------------------------------------------------------------------------------


def _rebuild_points(stock: Iterable[Snapshot], runs: Iterable[Run], world: World, faults: list[str]) -> int:
    adopted = {run.snapshot_id for run in runs if run.snapshot_id is not None}
    for run_id, points in points_of_each_run(stock, adopted, faults).items():
        record_points(run_id, points, world)
    return len(world.catalog.find_points())


def _rebuild_lost_runs(stock: Iterable[Snapshot], runs: Iterable[Run], world: World) -> int:
    """How many runs the archive has lost: their ids stay taken, or a new one would adopt the old one's snapshot."""
    lost: dict[RunId, Run] = {}
    archived = {run.id for run in runs}
    for snapshot in sorted(stock, key=lambda snapshot: (snapshot.started, snapshot.id)):
        run = _find_run_of(snapshot)
        if run is not None and run.id not in archived:
            lost.setdefault(run.id, run)
    for run in lost.values():
        world.catalog.open_run(run)
    return len(lost)


def _find_run_of(snapshot: Snapshot) -> Run | None:
    """The run a snapshot was taken of, closed; its hosts go by their ids, for names, times and nonces are lost."""
    try:
        run_id, hosts = parse_run(snapshot.tags.get(tags.RUN, "")), tags.unpack(snapshot.tags)
    except PermanentError:
        return None
    return Run(
        id=run_id,
        policy_version="",
        opened=snapshot.started,
        deadline=snapshot.started,
        hosts=tuple(ExpectedHost(host_id, host_id, nonce="") for host_id in hosts),
        state=RunState.DONE if hosts and snapshot.state == "completed" else RunState.FAILED,
        snapshot_id=origin_of(snapshot),
        closed=snapshot.started,
        why=f"known only from the tags of snapshot {snapshot.id}",
    )


# -- recoveries -------------------------------------------------------------------------------------------------------


def _own(recoveries: list[Recovery], stock: Iterable[Snapshot], world: World) -> list[Recovery]:
    """At a standby, those that were made from its copies: the archive's replica tells of the other region's as well."""
    if not world.settings.is_standby:
        return recoveries
    copies = {copy.id for copy in stock}
    return [recovery for recovery in recoveries if recovery.point.snapshot_id in copies]


def _rebuild_recovery(recovery: Recovery, proofs: Proofs, world: World, faults: list[str]) -> None:
    world.catalog.open_recovery(recovery)
    key = wire.recovery_report_key(recovery)
    is_proof = recovery.verdict == PROVEN and with_its_proof(recovery.point, proofs).proven is not None
    body = find_object(key, world.archive) if is_proof else None
    report = _tried(str(recovery.id), partial(wire.parse_recovery_report, body), faults) if body else None
    if report is not None:
        world.catalog.mark_proven(replace(recovery.point, proven=report.finished))
