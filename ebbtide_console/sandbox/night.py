"""One whole night in the sandbox, told line by line: from the policy to the drill's verdict."""

import getpass
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chalicelib import wire, wiring
from chalicelib.core import tags
from chalicelib.core.ids import parse_recovery, parse_run
from chalicelib.core.model import HostResult, Recovery, RestorePoint, Run, RunId
from chalicelib.errors import ConfigError, PermanentError
from chalicelib.ports import World
from ebbtide_console import procs, session
from ebbtide_console.sandbox import enrol, trees
from ebbtide_console.sandbox.cloud import Cloud, Tell, running
from ebbtide_console.sandbox.enrol import RECEIVER, Host, Place
from ebbtide_console.sandbox.judge import judge
from ebbtide_console.sandbox.table import HostNight, seconds

VOLUME_GIB = 8
PATIENCE_SECONDS = 900.0
LOOK_EVERY_SECONDS = 0.2
GOOD_VERDICTS = ("proven", "content only", "as recorded")

T = TypeVar("T")


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
        _change_the_day(sources, run.id)
        machine = _await_receiver(world, run.id, tell)
        _push_all(cloud, hosts, machine, tell)
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
    run = _wait_for("the tick to open a run", lambda: _find_open_run(world))
    tell(f"run {run.id} opened by the tick, until {run.deadline:%H:%M} UTC")
    return run


def _find_open_run(world: World) -> Run | None:
    return next((run for run in world.catalog.find_runs(RECEIVER) if not run.state.is_final), None)


def _change_the_day(sources: Sequence[trees.Source], run: RunId) -> None:
    for source in sources:
        trees.change_since_last_night(source, str(run))


def _await_receiver(world: World, run: RunId, tell: Tell) -> str:
    """The id of the receiver that is ready for hosts."""

    def ready() -> str | None:
        if not world.archive.list(wire.run_prefix(run) + "ready/"):
            return None
        machines = world.machines.find({tags.RUN: str(run), tags.ROLE: tags.Role.RECEIVER})
        return next((machine.id for machine in machines if machine.state == "running"), None)

    machine = _wait_for(f"the receiver of {run} to be ready", ready)
    tell(f"receiver {machine} is ready")
    return machine


def _push_all(cloud: Cloud, hosts: Sequence[Host], machine: str, tell: Tell) -> None:
    """What cron does on every host: start the agent. All at once; how each went comes back in its report."""
    port = cloud.sandbox.substrate.ssh_port(machine)
    place = Place(cloud.receiver_name, port, cloud.allowed, cloud.host_key)
    login = "root" if cloud.is_full else getpass.getuser()
    for host in hosts:
        host.make_key()
        host.configure(place, login)
        tell(f"{host.name}: {host.source.origin}{_less(host.source)}")
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda host: _push(cloud, host, tell), hosts))


def _less(source: trees.Source) -> str:
    """The listed exclusions: what this user cannot read."""
    if not source.exclude:
        return ""
    return f", less {len(source.exclude)} that this user cannot read: {', '.join(source.exclude)}"


def _push(cloud: Cloud, host: Host, tell: Tell) -> None:
    agent = (sys.executable, str(cloud.agent), "run", "--etc", str(host.etc), "--state", str(host.state))
    command = cloud.sandbox.substrate.host_command(host.name, (*agent, "--progress", "lines"))
    process = procs.start(command, stdout=procs.PIPE, stderr=procs.STDOUT)
    assert process.stdout is not None
    for line in process.stdout:
        tell(f"{host.name}: {line.decode(errors='replace').rstrip()}")
    if process.wait() != 0:
        tell(f"{host.name}: the agent ended with exit code {process.returncode}")


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

    run = _wait_for(f"run {run_id} to close", closed)
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

    recovery = _wait_for(f"drill {recovery_id} to end", over)
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
    return _told(host, Drilled(verdict, comparison.identical, comparison.findings, took), tell)


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


def _wait_for(what: str, look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it does. Raises PermanentError when it never does."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        found = look()
        if found is not None:
            return found
        time.sleep(LOOK_EVERY_SECONDS)
    raise PermanentError(f"waited {seconds(PATIENCE_SECONDS)} for {what}; handlers.log and machines/ say more")
