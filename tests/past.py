"""Nights and drills as they go by, made by the flows themselves: a test plays the receiver, EC2 and the clock."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from chalicelib import wire
from chalicelib.core.model import Disk, RecoveryId, RunId
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.open_recovery import open_recovery
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.recover import recover
from chalicelib.flows.run_now import run_now
from tests.builders import A_POLICY_TEXT, a_moment, a_release
from tests.fakes import FakeWorld, a_world

WIRE = Path(__file__).parent / "contract" / "wire"


def a_world_with_a_past(statuses: Iterable[str] = ("complete", "complete")) -> FakeWorld:
    """Two nights, and two drills of us0: the first proved its newest point, the second could not ask it again."""
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    a_night(world, 22)
    a_night(world, 23, statuses)
    a_drill(world, a_moment(9))
    a_drill(world, a_moment(15), verdict="content only")
    return world


def a_night(
    world: FakeWorld, day: int, statuses: Iterable[str] = ("complete", "complete"), disk: Disk | None = None
) -> RunId:
    """Opened, pushed to, released, snapshotted, closed."""
    run_id = an_open_night(world, day)
    run = world.catalog.get_run(run_id)
    for host, status in zip(run.hosts, statuses, strict=True):
        report = json.loads((WIRE / "report.json").read_text())
        told = {"run": str(run_id), "host": host.name, "id": host.id, "nonce": host.nonce, "status": status}
        report["receiver"]["manifest"]["key"] = f"manifests/{host.id}/{run_id}.jsonl.gz"
        world.archive.put_once(wire.report_key(run, host.id), json.dumps({**report, **told}).encode())
    world.archive.put_once(wire.word_key(run, "released", 1), a_release(run_id, disk=disk))
    stand_down(world)
    reconcile(run_id, world, a_moment(3, day=day))
    for snapshot_id in world.volumes.snapshots:
        world.volumes.complete(snapshot_id)
    reconcile(run_id, world, a_moment(3, 30, day=day))
    return run_id


def an_open_night(world: FakeWorld, day: int) -> RunId:
    """Its receiver is up and its hosts are pushing."""
    now = a_moment(2, day=day)
    world.machines.now = world.volumes.now = now
    run_id = run_now("main", world, now, new_nonce=lambda: f"{day:032}")
    reconcile(run_id, world, now)
    run = world.catalog.get_run(run_id)
    world.archive.put_once(wire.word_key(run, "ready", run.machine_attempt), b"{}")
    reconcile(run_id, world, now)
    return run_id


def stand_down(world: FakeWorld) -> None:
    """Every machine powers itself off, and EBS lets go of its volumes."""
    for machine_id in world.machines.by_id:
        world.machines.terminate(machine_id)


def a_drill(world: FakeWorld, now: datetime, verdict: str = "proven", point: str | None = None) -> RecoveryId:
    """Of its newest point, or of the one of this run."""
    recovery_id = an_open_drill(world, now, point)
    report = json.loads((WIRE / "recovery-report.json").read_text())
    compared = {"entries": 120, "missing": 0, "extra": 0, "different": 0, "unhashed": 0}
    told = {"recovery": str(recovery_id), "id": recovery_id.host_id, "verdict": verdict, "compared": compared}
    up = {
        "boot": {"state": "booted", "why": None, "seconds": 1.2},
        "probe": {"target": "http://127.0.0.1/", "answer": "200 OK", "ok": True},
    }
    key = wire.recovery_report_key(world.catalog.get_recovery(recovery_id))
    world.archive.put_once(key, json.dumps({**report, **told, **up}).encode())
    recover(recovery_id, world, now)
    return recovery_id


def an_open_drill(world: FakeWorld, now: datetime, point: str | None = None) -> RecoveryId:
    world.machines.now = now
    recovery_id = open_recovery(RecoveryRequest("us0", point=point, mode=Mode.DRILL), world, now).id
    recover(recovery_id, world, now)
    return recovery_id
