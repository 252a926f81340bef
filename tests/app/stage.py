"""The doors of app.py before a world in memory: a test plays EC2, the receiver and the clock."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client

import app
from chalicelib import wire
from chalicelib.core.model import Run, RunId
from tests.builders import A_POLICY_TEXT, a_moment
from tests.fakes import FakeCatalog, FakeWorld, a_world

WIRE = Path(__file__).parents[1] / "contract" / "wire"
OPENING = a_moment(2, 1)


class Stage:
    """A policy is in force, the clock stands just after the window has opened, and nothing has happened yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world: FakeWorld = a_world()
        self.set_clock(OPENING)
        self.client = Client(app.app)
        monkeypatch.setattr(app, "the_world", lambda: self.world)
        monkeypatch.setattr(app, "the_time", lambda: self.now)
        self.call("apply_policy", text=A_POLICY_TEXT, expected=None)

    def set_clock(self, now: datetime) -> None:
        self.now = self.world.machines.now = self.world.volumes.now = now

    def call(self, door: str, **values: Any) -> Any:
        return self.client.lambda_.invoke(door, {"schema": 1, **values}).payload

    def event(self, door: str, source: str, kind: str, detail: dict[str, Any]) -> None:
        self.client.lambda_.invoke(door, self.client.events.generate_cw_event(source, kind, detail, []))

    def tick(self, at: datetime | None = None) -> None:
        """The tick, and every invocation that came of it or of anything before."""
        self.tick_only(at)
        self.deliver()

    def tick_only(self, at: datetime | None = None) -> None:
        self.set_clock(at or self.now)
        self.client.lambda_.invoke(
            "tick", self.client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
        )

    def deliver(self) -> list[str]:
        """Lambda's asynchronous queue, emptied; the doors it knocked at."""
        knocked = []
        while self.world.lambdas.invoked:
            door, payload = self.world.lambdas.invoked.pop(0)
            self.client.lambda_.invoke(door, dict(payload))
            knocked.append(door)
        return knocked

    def the_run(self) -> Run:
        (run,) = self.world.catalog.find_runs("main")
        return run

    def report(self, name: str, **changed: Any) -> None:
        """What the receiver archives of a host, before it tells anyone."""
        run = self.the_run()
        expected = next(each for each in run.hosts if each.name == name)
        report = json.loads((WIRE / "report.json").read_text())
        report |= {"run": str(run.id), "host": name, "id": expected.id, "nonce": expected.nonce, **changed}
        self.world.archive.put_once(wire.report_key(run, expected.id), json.dumps(report).encode())

    def report_event(self, host: str, run_id: RunId | None = None) -> None:
        detail = {"schema": 1, "run": str(run_id or self.the_run().id), "host": host, "id": f"{host}a"}
        self.event("on_report", "ebbtide.receiver.main", "Ebbtide Host Report", {**detail, "status": "complete"})

    def ready(self) -> None:
        self._notice("ready")

    def released(self) -> None:
        """The receiver lets go of its volume and powers itself off."""
        self._notice("released")
        for machine_id in self.world.machines.by_id:
            self.world.machines.terminate(machine_id)

    def _notice(self, what: str) -> None:
        run = self.the_run()
        notice = {"schema": 1, "run": str(run.id), "attempt": run.machine_attempt, "at": "2026-11-23T02:30:00Z"}
        notice |= {"clean": True} if what == "released" else {}
        key = wire.word_key(run, what, run.machine_attempt)
        self.world.archive.put_once(key, json.dumps(notice).encode())

    def instance_event(self, state: str = "terminated", instance_id: str = "i-1") -> None:
        detail = {"instance-id": instance_id, "state": state}
        self.event("on_instance_state", "aws.ec2", "EC2 Instance State-change Notification", detail)

    def complete_snapshots(self) -> None:
        for snapshot_id in self.world.volumes.snapshots:
            self.world.volumes.complete(snapshot_id)

    def snapshot_event(self, snapshot_id: str) -> None:
        arn = f"arn:aws:ec2::us-east-1:snapshot/{snapshot_id}"
        detail = {"event": "createSnapshot", "result": "succeeded", "snapshot_id": arn}
        self.event("on_snapshot_state", "aws.ec2", "EBS Snapshot Notification", detail)

    def the_snapshot(self) -> str:
        (snapshot_id,) = self.world.volumes.snapshots
        return snapshot_id

    def lose_the_table(self) -> None:
        self.world = replace(self.world, catalog=FakeCatalog())

    def memory(self) -> tuple[object, ...]:
        """Everything that outlives an invocation; the fencing number alone may grow."""
        catalog, volumes = self.world.catalog, self.world.volumes
        runs = {run_id: replace(run, version=0) for run_id, run in catalog.runs.items()}
        return (
            runs,
            dict(catalog.results),
            dict(catalog.points),
            dict(self.world.archive.objects),
            dict(volumes.volumes),
            dict(volumes.snapshots),
            dict(self.world.machines.by_id),
        )
