"""One whole night in the sandbox, told line by line: from the policy to the drill's verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chalicelib.core.ids import parse_run
from chalicelib.core.model import HostResult, RestorePoint, Run, RunId
from chalicelib.errors import ConfigError
from chalicelib.flows.words import hear
from chalicelib.ports import World
from ebbtide_console.sandbox import enrol, trees
from ebbtide_console.sandbox.cloud import Cloud, Tell, running
from ebbtide_console.sandbox.drill import Drilled, drill
from ebbtide_console.sandbox.enrol import RECEIVER, Host
from ebbtide_console.sandbox.outage import outlive
from ebbtide_console.sandbox.pushes import push_all
from ebbtide_console.sandbox.stack import Stack
from ebbtide_console.sandbox.table import HostNight
from ebbtide_console.sandbox.waiting import wait_for

VOLUME_GIB = 8


@dataclass(frozen=True)
class Outcome:
    """How the night went: a row for each host, and whether every one was found identical to its source."""

    rows: tuple[HostNight, ...]
    good: bool


def night(state: Path, tree: Path | None, port: int, second_region: bool, tell: Tell) -> Outcome:
    """Run a night on `state`, for `tree` or for real Debian servers; the second region then outlives the first one.

    Raises EbbtideError with one clear line.
    """
    if tree is not None and not tree.is_dir():
        raise ConfigError((f"tree {tree} is not a directory; name one that exists: make night TREE=/some/path",))
    with running(state, port, tell, second_region) as cloud:
        sources = trees.prepare(state / "trees", tree, cloud.is_full, tell)
        hosts = [Host(state / "hosts" / source.host, source) for source in sources]
        closed = back_up(cloud, hosts, tell)
        _tell_retention(cloud, tell)
        outcome = _prove(cloud, cloud.stack, hosts, closed, tell)
        if cloud.standby and any(row.restore_point for row in outcome.rows):
            there = _prove_there(cloud, cloud.standby, hosts, closed, tell)
            outcome = Outcome(outcome.rows + there.rows, outcome.good and there.good)
        return outcome


def back_up(cloud: Cloud, hosts: Sequence[Host], tell: Tell) -> Run:
    """The policy applied, a run opened, every host's agent started; the run as it closed."""
    world = cloud.stack.world
    _apply_policy(cloud, hosts, tell)
    run = _open_run(cloud, world, tell)
    push_all(cloud, world, hosts, run.id, tell)
    return _await_close(world, run.id, tell)


def _prove(cloud: Cloud, stack: Stack, hosts: Sequence[Host], run: Run, tell: Tell) -> Outcome:
    """A drill of every host's point of this run, by one stack and with what that has."""
    catalog = stack.world.catalog
    results = {result.id: result for result in catalog.find_results(run.id)}
    points = {point.host_id: point for point in catalog.find_points() if point.run == run.id}
    rows, good = [], True
    for host in hosts:
        drilled = drill(cloud, stack, host, tell) if host.id in points else None
        good = good and drilled is not None and drilled.good
        rows.append(_row(host, results.get(host.id), run, points.get(host.id), drilled))
    return Outcome(tuple(rows), good)


def _prove_there(cloud: Cloud, standby: Stack, hosts: Sequence[Host], run: Run, tell: Tell) -> Outcome:
    """The same once the first region is out, by the one that stands by for it."""
    region = standby.region.name

    def tell_there(line: str) -> None:
        tell(f"{region}: {line}")

    outlive(cloud, standby, run, tell)
    outcome = _prove(cloud, standby, hosts, run, tell_there)
    return replace(outcome, rows=tuple(replace(row, host=f"{row.host} in {region}") for row in outcome.rows))


def _apply_policy(cloud: Cloud, hosts: Sequence[Host], tell: Tell) -> None:
    reader = enrol.public_half(cloud.operators_key)
    text = enrol.policy(hosts, cloud.receiver_name, cloud.allowed, VOLUME_GIB, reader, cloud.sandbox.clock.now())
    if cloud.standby:
        text += enrol.COPY.format(region=cloud.standby.region.name)
    current = cloud.stack.world.catalog.policy_version()
    answer = cloud.stack.invoke("apply_policy", text=text, expected=current)
    if answer.get("faults"):
        raise ConfigError(tuple(answer["faults"]))
    tell(f"policy {answer['version']} applied: {', '.join(host.name for host in hosts)} on receiver {RECEIVER}")


def _open_run(cloud: Cloud, world: World, tell: Tell) -> Run:
    """The run that an interrupted night left open, or the one the tick opens, or today's next attempt."""
    today = cloud.sandbox.clock.now().date()
    left_open = _find_open_run(world)
    if left_open is not None:
        tell(f"run {left_open.id} was left open: going on with it")
        cloud.stack.region.schedule.fire("tick")
        return left_open
    if any(run.id.day == today for run in world.catalog.find_runs(RECEIVER)):
        answer = cloud.stack.invoke("run_now", receiver=RECEIVER)
        run = world.catalog.get_run(parse_run(answer["run"]))
        tell(f"run {run.id} opened by hand: today's window had its run already")
        return run
    cloud.stack.region.schedule.fire("tick")
    run = wait_for("the tick to open a run", lambda: _find_open_run(world))
    tell(f"run {run.id} opened by the tick, until {run.deadline:%H:%M} UTC")
    return run


def _find_open_run(world: World) -> Run | None:
    return next((run for run in world.catalog.find_runs(RECEIVER) if not run.state.is_final), None)


def _await_close(world: World, run_id: RunId, tell: Tell) -> Run:
    told: set[str] = set()

    def tell_once(line: str) -> None:
        if line not in told:
            told.add(line)
            tell(line)

    def closed() -> Run | None:
        run = world.catalog.get_run(run_id)
        for result in world.catalog.find_results(run_id):
            tell_once(f"{result.name}: reported {result.status}, {result.files:,} files")
        if hear(run, (run.machine_attempt,), world).released:
            tell_once("receiver released its volume and powered itself off")
        if run.snapshot_id:
            tell_once(f"snapshot {run.snapshot_id} taken of the quiet volume")
        return run if run.state.is_final else None

    run = wait_for(f"run {run_id} to close", closed)
    tell(f"run {run.id} is {run.state}" + (f": {run.why}" if run.why else ""))
    return run


def _tell_retention(cloud: Cloud, tell: Tell) -> None:
    cloud.sandbox.quiet()
    plan = cloud.stack.invoke("prune", dry_run=True)
    if plan.get("refused"):
        tell(f"retention refuses to delete anything: {plan['refused']}")
    else:
        tell(
            f"retention: {len(plan['plan'])} snapshots, {len(plan['marked'])} to mark, {len(plan['deleted'])} to delete"
        )


def _row(
    host: Host, result: HostResult | None, run: Run, point: RestorePoint | None, drilled: Drilled | None
) -> HostNight:
    return HostNight(
        host=host.name,
        status=result.status if result else "missing",
        files=result.files if result else None,
        bytes_sent=result.bytes_sent if result else None,
        seconds=result.seconds if result else None,
        snapshot=point.snapshot_id if point else run.snapshot_id,
        restore_point=f"{point.at:%Y-%m-%d %H:%M:%S}" if point else None,
        verdict=drilled.verdict if drilled else "no restore point",
        seconds_to_restore=drilled.seconds if drilled and drilled.good else None,
    )
