"""What ends is measured, once: a line of the log in CloudWatch's embedded format."""

import json
from typing import Any

import pytest

from tests.app.stage import Stage


def measured(said: str) -> list[dict[str, Any]]:
    """The metrics among what the handlers printed."""
    lines = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
    return [line for line in lines if "_aws" in line]


def test_a_run_that_closes_is_measured_once_with_its_receiver_and_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(monkeypatch)
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report("eu0")
    stage.released()
    stage.instance_event()
    stage.complete_snapshots()
    before = measured(capsys.readouterr().out)

    stage.snapshot_event(stage.the_snapshot())
    stage.snapshot_event(stage.the_snapshot())
    stage.tick()

    (metric,) = measured(capsys.readouterr().out)
    (directive,) = metric["_aws"]["CloudWatchMetrics"]
    assert before == []
    assert (directive["Namespace"], directive["Metrics"]) == (
        "Ebbtide",
        [{"Name": "RunDuration", "Unit": "Seconds"}],
    )
    assert {"receiver", "state"} <= set(directive["Dimensions"][0])
    assert (metric["receiver"], metric["state"], metric["RunDuration"]) == ("main", "done", [0.0])
