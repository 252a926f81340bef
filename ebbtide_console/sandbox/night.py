"""One whole night in the sandbox, told line by line: from the policy to the drill's verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib import wire, wiring
from chalicelib.core.ids import parse_recovery, parse_run
from chalicelib.core.model import HostResult, Recovery, RestorePoint, Run, RunId
from chalicelib.core.recovery import PROVEN
from chalicelib.errors import ConfigError
from chalicelib.ports import World
from ebbtide_console import session
from ebbtide_console.sandbox import enrol, trees
from ebbtide_console.sandbox.cloud import Cloud, Tell, running
from ebbtide_console.sandbox.enrol import RECEIVER, Host
from ebbtide_console.sandbox.judge import judge
from ebbtide_console.sandbox.pushes import push_all
from ebbtide_console.sandbox.table import HostNight, seconds
from ebbtide_console.sandbox.waiting import wait_for

VOLUME_GIB = 8
GOOD_VERDICTS = ("proven", "content only", "as recorded")


@dataclass(frozen=True)
class Outcome:
    """How the night went: a row for each host, and whether every one was found identical to its source."""

    rows: tuple[HostNight, ...]
    good: bool


@dataclass(frozen=True)
class Drilled:
    """A drill that is over: what it found, what the night's own judge found, and how long the host took to be back."""

    verdict: str
    good: bool
    findings: tuple[str, ...]
    seconds: float


def night(state: Path, tree: Path | None, port: int, tell: Tell) -> Outcome:
    """Run a night on `state`, for `tree` or for real Debian servers. Raises EbbtideError with one clear line."""
    if tree is not None and not tree.is_dir():
        raise ConfigError((f"tree {tree} is not a directory; name one that exists: make night TREE=/some/path",))
    with running(state, port, tell) as cloud:
        sources = trees.prepare(state / "trees", tree, cloud.is_full, tell)
        hosts = [Host(state / "hosts" / source.host, source) for source in sources]
        world = wiring.the_world()
        _apply_policy(cloud, hosts, tell)
        run = _open_run(cloud, world, tell)
        push_all(cloud, world, hosts, run.id, tell)
        closed = _await_close(world, run.id, tell)
        _tell_retention(cloud, tell)
        results = {result.id: result for result in world.catalog.find_results(run.id)}
        points = {point.host_id: point for point in world.catalog.find_points() if point.run == run.id}
        rows, good = [], True
        for host in hosts:
            drilled = _drill(cloud, world, host, tell) if host.id in points else None
            good = good and drilled is not None and drilled.good
            rows.append(_row(host, results.get(host.id), closed, points.get(host.id), drilled))
        return Outcome(tuple(rows), good)


def _apply_policy(cloud: Cloud, hosts: Sequence[Host], tell: Tell) -> None:
    text = enrol.policy(hosts, cloud.receiver_name, cloud.allowed, VOLUME_GIB, cloud.sandbox.clock.now())
    current = wiring.the_world().catalog.policy_version()
    answer = session.invoke("apply_policy", {"schema": 1, "text": text, "expected": current})
    if answer.get("faults"):
        raise ConfigError(tuple(answer["faults"]))
    tell(f"policy {answer['version']} applied: {', '.join(host.name for host in hosts)} on receiver {RECEIVER}")


def _open_run(cloud: Cloud, world: World, tell: Tell) -> Run:
    """The run that an interrupted night left open, or the one the tick opens, or today's next attempt."""
    today = cloud.sandbox.clock.now().date()
    left_open = _find_open_run(world)
    if left_open is not None:
        tell(f"run {left_open.id} was left open: going on with it")
        cloud.sandbox.schedule.fire("tick")
        return left_open
    if any(run.id.day == today for run in world.catalog.find_runs(RECEIVER)):
        answer = session.invoke("run_now", {"schema": 1, "receiver": RECEIVER})
        run = world.catalog.get_run(parse_run(answer["run"]))
        tell(f"run {run.id} opened by hand: today's window had its run already")
        return run
    cloud.sandbox.schedule.fire("tick")
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
        if world.archive.list(wire.run_prefix(run_id) + "released/"):
            tell_once("receiver released its volume and powered itself off")
        if run.snapshot_id:
            tell_once(f"snapshot {run.snapshot_id} taken of the quiet volume")
        return run if run.state.is_final else None

    run = wait_for(f"run {run_id} to close", closed)
    tell(f"run {run.id} is {run.state}" + (f": {run.why}" if run.why else ""))
    return run


def _tell_retention(cloud: Cloud, tell: Tell) -> None:
    cloud.sandbox.quiet()
    plan = session.invoke("prune", {"schema": 1, "dry_run": True})
    if plan.get("refused"):
        tell(f"retention refuses to delete anything: {plan['refused']}")
    else:
        tell(
            f"retention: {len(plan['plan'])} snapshots, {len(plan['marked'])} to mark, {len(plan['deleted'])} to delete"
        )


def _drill(cloud: Cloud, world: World, host: Host, tell: Tell) -> Drilled:
    """Have the host's newest point restored, and judge for ourselves what came out."""
    tell(f"{host.name}: drill: a volume from the snapshot, a machine without egress, the tree made real")
    answer = session.invoke("drill", {"schema": 1, "host": host.name})
    recovery_id = parse_recovery(answer["recovery"])

    def over() -> Recovery | None:
        recovery = world.catalog.get_recovery(recovery_id)
        return recovery if recovery.state.is_final else None

    recovery = wait_for(f"drill {recovery_id} to end", over)
    if recovery.verdict not in GOOD_VERDICTS:
        return _told(host, Drilled(str(recovery.verdict), False, recovery.findings, 0.0), tell)
    report = wire.parse_recovery_report(world.archive.get(wire.recovery_report_key(recovery_id)))
    comparison = judge(host.source, world.archive.get(str(report.found)))
    took = (report.finished - recovery.opened).total_seconds()
    timings = ", ".join(f"{name} {seconds(value)}" for name, value in report.timings.items())
    boot = "booted" if report.boot.booted else f"not booted: {report.boot.why}"
    answered = f", {report.probe.target} said {report.probe.answer}" if report.probe else ""
    tell(f"{host.name}: {report.entries:,} entries, {boot}{answered} ({timings})")
    verdict = f"{recovery.verdict}, identical" if comparison.identical else "differs from the source"
    verdict += "" if report.boot.booted else ", not booted"
    good = comparison.identical and (recovery.verdict == PROVEN or not _must_be_proven(cloud, host))
    return _told(host, Drilled(verdict, good, comparison.findings, took), tell)


def _must_be_proven(cloud: Cloud, host: Host) -> bool:
    """A whole server that has a service to ask boots and answers, or its backup is not good."""
    return cloud.is_full and host.source.probe is not None


def _told(host: Host, drilled: Drilled, tell: Tell) -> Drilled:
    tell(f"{host.name}: drill: {drilled.verdict}")
    for finding in drilled.findings[:10]:
        tell(f"{host.name}:   {finding}")
    return drilled


def _row(
    host: Host, result: HostResult | None, run: Run, point: RestorePoint | None, drilled: Drilled | None
) -> HostNight:
    return HostNight(
        host=host.name,
        status=result.status if result else "missing",
        files=result.files if result else None,
        bytes_sent=result.bytes_sent if result else None,
        seconds=result.seconds if result else None,
        snapshot=run.snapshot_id,
        restore_point=f"{point.at:%Y-%m-%d %H:%M:%S}" if point else None,
        verdict=drilled.verdict if drilled else "no restore point",
        seconds_to_restore=drilled.seconds if drilled and drilled.good else None,
    )
