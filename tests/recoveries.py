"""A world with backups, and what recoveries in it have in common: their reports, and what interrupts them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalicelib import wire
from chalicelib.core.model import Recovery, RecoveryId
from chalicelib.fields import moment_text
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.recover import recover
from chalicelib.flows.tick import tick
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_run, a_run_id, a_snapshot, what_was_briefed
from tests.fakes import Crash, FakeWorld, a_world

NOW = a_moment(9)
DRILL = RecoveryId("us0a", NOW.date(), 1)
A_REPORT = Path(__file__).parent / "contract" / "wire" / "recovery-report.json"
A_WORD = A_REPORT.with_name("recovery-standing.json")
FINISHED = datetime(2026, 11, 23, 9, 10, tzinfo=UTC)
MOST_CALLS = 200
A_POLICY = A_POLICY_TEXT.replace("[host.eu0]", 'start = ["service nginx start"]\n[host.eu0]')


def a_world_with_backups(*days: int) -> FakeWorld:
    """A policy in force, and for each day of November a completed snapshot in which us0 was complete and reported."""
    world = a_world()
    world.machines.now = NOW
    world.archive.put_once("policies/000001.toml", A_POLICY.encode())
    world.catalog.set_policy_version("000001", None)
    for day in days or (22,):
        snapshot = a_snapshot(f"snap-{day}", a_run_id(day))
        world.volumes.snapshots[snapshot.id] = snapshot
        world.catalog.record_point(a_point(snapshot_id=snapshot.id, run_id=a_run_id(day)))
        the_night_reports(world, day)
    return world


def the_night_reports(world: FakeWorld, day: int, machine: str | None = "aarch64") -> None:
    """That us0 is such a machine, and nothing of its manifest."""
    run, report = a_run(a_run_id(day)), json.loads((A_REPORT.parent / "report.json").read_text())
    said = {**report, "run": str(run.id), "arch": machine, "receiver": {**report["receiver"], "manifest": None}}
    world.archive.objects.update({**what_was_briefed(run), wire.report_key(run, "us0a"): json.dumps(said).encode()})


def its(key_of: Callable[[Recovery], str], world: FakeWorld, recovery_id: RecoveryId = DRILL) -> str:
    """Where in the archive something of a recovery is that the catalogue knows."""
    return key_of(world.catalog.get_recovery(recovery_id))


def a_report(recovery_id: RecoveryId = DRILL, **changes: Any) -> bytes:
    """A proof, but for the changes."""
    report = json.loads(A_REPORT.read_text())
    found_identical = {"entries": 120, "missing": 0, "extra": 0, "different": 0, "unhashed": 0}
    proof = {
        "recovery": str(recovery_id),
        "id": recovery_id.host_id,
        "verdict": "proven",
        "compared": found_identical,
        "findings": [],
        "boot": {"state": "booted", "why": None, "seconds": 1.2},
        "probe": {"target": "http://127.0.0.1/", "answer": "200 OK", "ok": True},
        "finished": "2026-11-23T09:10:00Z",
    }
    return json.dumps({**report, **proof, **changes}).encode()


def the_machine_reports(world: FakeWorld, recovery_id: RecoveryId = DRILL, **changes: Any) -> None:
    world.archive.put_once(its(wire.recovery_report_key, world, recovery_id), a_report(recovery_id, **changes))


def the_machine_says(
    world: FakeWorld, step: str, since: datetime, recovery_id: RecoveryId = DRILL, attempt: int = 1
) -> None:
    """That it begins a step."""
    said = {"schema": 1, "recovery": str(recovery_id), "step": step, "begun": moment_text(since)}
    machine = replace(world.catalog.get_recovery(recovery_id), attempt=attempt)
    world.archive.put_once(wire.recovery_step_key(machine, step), json.dumps(said).encode())


def the_server_stands(world: FakeWorld, recovery_id: RecoveryId, state: str = "booted") -> None:
    """It is back, or has not come up, and is being compared from now on."""
    said = {**json.loads(A_WORD.read_text()), "recovery": str(recovery_id), "id": recovery_id.host_id}
    said["boot"]["state"] = state
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), json.dumps(said).encode())


def is_taken_down(world: FakeWorld) -> bool:
    return {machine.state for machine in world.machines.by_id.values()} <= {"terminated"} and not world.volumes.volumes


def a_drill_awaiting_its_report(world: FakeWorld) -> RecoveryId:
    recovery_id = open_drill("us0", world, NOW)
    recover(recovery_id, world, NOW)
    return recovery_id


def by_ticks_alone(world: FakeWorld, now: datetime) -> None:
    """Every event and every first invocation is lost: what a tick wakes is all that runs."""
    world.lambdas.invoked.clear()
    tick(world, now, new_nonce=lambda: "0" * 32)
    for function, payload in world.lambdas.invoked:
        if function == "recover":
            recover(wire.parse_recovery_payload(payload), world, now)


def retried_once(step: Callable[[], object]) -> None:
    """As the platform does with an invocation that died."""
    try:
        step()
    except Crash:
        step()


def put_into_force(world: FakeWorld, text: str) -> None:
    world.archive.put_once("policies/000002.toml", text.encode())
    world.catalog.set_policy_version("000002", "000001")
