"""What ends is measured, once: lines of the log in CloudWatch's embedded format."""

import json
from typing import Any

import pytest

from chalicelib.core.model import RecoveryId
from tests.app.stage import Stage
from tests.builders import a_moment
from tests.recoveries import the_machine_reports


def measured(said: str) -> dict[str, list[dict[str, Any]]]:
    """What the handlers printed of each metric, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (json.loads(line) for line in said.splitlines() if line.startswith("{")):
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for metric in directive["Metrics"]:
                found.setdefault(metric["Name"], []).append(line)
    return found


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """All that is missing is the word that the snapshot is complete."""
    stage = Stage(monkeypatch)
    stage.tick()
    stage.ready()
    stage.report("us0", bytes_sent=1000)
    stage.report("eu0", bytes_sent=234)
    stage.released()
    stage.instance_event()
    stage.complete_snapshots()
    return stage


def test_a_run_that_closes_is_measured_once_with_its_receiver_and_its_end(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    before = measured(capsys.readouterr().out)

    stage.snapshot_event(stage.the_snapshot())
    stage.snapshot_event(stage.the_snapshot())
    stage.tick()

    found = measured(capsys.readouterr().out)
    (metric,) = found["RunDuration"]
    (directive,) = metric["_aws"]["CloudWatchMetrics"]
    assert "RunDuration" not in before
    assert (directive["Namespace"], directive["Metrics"]) == (
        "Ebbtide",
        [{"Name": "RunDuration", "Unit": "Seconds"}],
    )
    assert {"receiver", "state"} <= set(directive["Dimensions"][0])
    assert (metric["receiver"], metric["state"], metric["RunDuration"]) == ("main", "done", [0.0])
    assert [each["HostsComplete"] for each in found["HostsComplete"]] == [[2.0]]
    assert [each["HostsNotComplete"] for each in found["HostsNotComplete"]] == [[0.0]]
    assert [each["BytesSent"] for each in found["BytesSent"]] == [[1234.0]]


def test_every_tick_that_ends_well_is_counted(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    stage.tick()
    stage.tick()

    assert len(measured(capsys.readouterr().out)["Ticks"]) == 2


def test_the_age_of_the_newest_point_is_measured_by_receiver_once_an_hour(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.snapshot_event(stage.the_snapshot())
    stage.deliver()
    capsys.readouterr()

    stage.tick(a_moment(4, 1))
    stage.tick(a_moment(4, 6))

    (age,) = measured(capsys.readouterr().out)["NewestPointAge"]
    assert (age["receiver"], age["NewestPointAge"]) == ("main", [7200.0])


def test_a_drills_verdict_is_measured_once_with_how_soon_it_answered_and_how_old_that_was(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.snapshot_event(stage.the_snapshot())
    stage.set_clock(a_moment(9))
    drill = RecoveryId("us0a", a_moment(9).date(), 1)
    stage.call("drill", host="us0")
    stage.deliver()
    the_machine_reports(stage.world, drill, answered="2026-11-23T09:02:58Z", timings={"compare": 60.0})
    before = measured(capsys.readouterr().out)

    stage.call("recover", recovery=str(drill))
    stage.call("recover", recovery=str(drill))

    found = measured(capsys.readouterr().out)
    told = [(name, each["kind"], each[name]) for name in ("RTO", "RPO") for each in found[name]]
    assert told == [("RTO", "drill", [118.0]), ("RPO", "drill", [25140.0])]
    assert not {"RTO", "RPO"} & set(before)


def test_a_pruning_is_measured_and_a_dry_run_is_not(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.snapshot_event(stage.the_snapshot())
    stage.deliver()
    capsys.readouterr()

    stage.call("prune", dry_run=True)
    dry = measured(capsys.readouterr().out)
    stage.call("prune", dry_run=False)
    wet = measured(capsys.readouterr().out)

    assert dry == {}
    assert [each["SnapshotsKept"] for each in wet["SnapshotsKept"]] == [[1.0]]
    assert [each["PruneRefused"] for each in wet["PruneRefused"]] == [[0.0]]
