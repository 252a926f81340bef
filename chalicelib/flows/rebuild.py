"""Make the catalogue again from what outlives it: the archive, and the tags of the snapshots.

Nothing is decided here. What was open stays open, and the next tick goes on with it as if nothing had happened.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.model import ExpectedHost, Recovery, RecoveryId, RestorePoint, Run, RunId, Snapshot
from chalicelib.core.recovery import PROVEN
from chalicelib.errors import PermanentError
from chalicelib.flows.policies import find_versions
from chalicelib.flows.receive_report import receive_reports
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
    """What the table still has stays as it is; what it has lost comes back."""
    faults: list[str] = []
    policy = _rebuild_policy(world)
    runs = _read_each(wire.RUNS, wire.run_of_key, _read_run, world, faults)
    results = sum(_rebuild_run(run, world, faults) for run in runs)
    points = _rebuild_points(runs, world, faults)
    recoveries = _read_each(wire.RECOVERIES, wire.recovery_of_key, _read_recovery, world, faults)
    for recovery in recoveries:
        _rebuild_recovery(recovery, world, faults)
    return Rebuilt(policy, len(runs), results, points, len(recoveries), tuple(faults))


def _read_each(
    prefix: str,
    id_of: Callable[[str], _Id],
    read: Callable[[_Id, World], _Whole | None],
    world: World,
    faults: list[str],
) -> list[_Whole]:
    """Everything below the prefix, in the order of the ids. What is damaged costs itself, not the rebuild."""
    keys = world.archive.list(prefix)
    ids = {found for key in keys if (found := _tried(key, partial(id_of, key), faults)) is not None}
    wholes = (_tried(str(each), partial(read, each, world), faults) for each in sorted(ids))
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
    archived = find_versions(world)
    if current is not None or not archived:
        return current
    world.catalog.set_policy_version(archived[-1], expected=None)
    return world.catalog.policy_version()


# -- runs and results -------------------------------------------------------------------------------------------------


def _read_run(run_id: RunId, world: World) -> Run | None:
    """As it was briefed and closed; without a brief nothing was launched, and only the closing remembers it."""
    keys = world.archive.list(wire.run_prefix(run_id))
    brief, closed = _find_brief(keys, world), _find(wire.closed_key(run_id), world)
    if brief is None:
        return _closed_unbriefed(wire.parse_closed(closed)) if closed else None
    run = replace(wire.parse_receiver_brief(brief), machine_attempt=_last_attempt(keys))
    return _as_closed(run, wire.parse_closed(closed)) if closed else run


def _find_brief(keys: Iterable[str], world: World) -> bytes | None:
    """Any of them: they differ in the volume only."""
    return next((world.archive.get(key) for key in keys if key.endswith("/brief.json")), None)


def _last_attempt(keys: Sequence[str]) -> int:
    return max(wire.notice_attempts(keys, "ready") | wire.notice_attempts(keys, "released"), default=1)


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


# -- restore points ---------------------------------------------------------------------------------------------------


def _rebuild_points(runs: Iterable[Run], world: World, faults: list[str]) -> int:
    """From the tags alone; the archive only adds which snapshot a run adopted, and the manifests."""
    adopted = {run.id: run.snapshot_id for run in runs if run.snapshot_id is not None}
    snapshots = world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP})
    for run_id, points in _points_of_each_run(snapshots, adopted, faults).items():
        manifests = {result.id: result.manifest for result in world.catalog.find_results(run_id)}
        for point in points:
            world.catalog.record_point(replace(point, manifest=manifests.get(point.host_id)))
    return len(world.catalog.find_points())


def _points_of_each_run(
    snapshots: Iterable[Snapshot], adopted: Mapping[RunId, str], faults: list[str]
) -> dict[RunId, tuple[RestorePoint, ...]]:
    """Those in the snapshot its run adopted, else in the oldest completed one, which is the one it will adopt."""
    chosen: dict[RunId, tuple[RestorePoint, ...]] = {}
    for snapshot in sorted(snapshots, key=lambda snapshot: (snapshot.started, snapshot.id)):
        points = _tried(f"snapshot {snapshot.id}", partial(points_in, snapshot), faults)
        if points and adopted.get(points[0].run, snapshot.id) == snapshot.id:
            chosen.setdefault(points[0].run, points)
    return chosen


# -- recoveries -------------------------------------------------------------------------------------------------------


def _read_recovery(recovery_id: RecoveryId, world: World) -> Recovery | None:
    """As it was briefed and closed; None when it never came to a brief."""
    brief = _find(wire.recovery_brief_key(recovery_id), world)
    closing = _find(wire.recovery_closed_key(recovery_id), world)
    if brief is None:
        return None
    recovery = wire.parse_recovery_brief(brief)
    if closing is None:
        return recovery
    closed = wire.parse_closed_recovery(closing)
    return replace(
        recovery,
        state=closed.state,
        verdict=closed.verdict,
        findings=closed.findings,
        machine_id=closed.machine_id,
        closed=closed.closed,
    )


def _rebuild_recovery(recovery: Recovery, world: World, faults: list[str]) -> None:
    world.catalog.open_recovery(recovery)
    body = _find(wire.recovery_report_key(recovery.id), world) if recovery.verdict == PROVEN else None
    report = _tried(str(recovery.id), partial(wire.parse_recovery_report, body), faults) if body else None
    if report is not None:
        world.catalog.mark_proven(replace(recovery.point, proven=report.finished))


def _find(key: str, world: World) -> bytes | None:
    try:
        return world.archive.get(key)
    except KeyError:
        return None
