"""Progress seen from the doors: what a step wakes reaches EventBridge, and what it cannot reach holds nothing up."""

import pytest

from chalicelib import wire
from chalicelib.errors import PermanentError, TransientError
from tests.app.stage import Stage
from tests.builders import a_point, a_recovery, a_snapshot

PROGRESS = wire.recovery_progress(a_recovery())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A night has left a restore point."""
    stage = Stage(monkeypatch)
    point = a_point()
    stage.world.volumes.snapshots[point.snapshot_id] = a_snapshot(point.snapshot_id)
    stage.world.catalog.record_point(point)
    return stage


def test_a_step_is_an_event_of_ours(stage: Stage) -> None:
    stage.call("drill", host="us0")

    knocked = stage.deliver()

    assert knocked == ["recover", "tell_progress"]
    ((detail_type, detail),) = stage.world.bus.sent
    assert (detail_type, detail["step"], detail["state"]) == ("Ebbtide Recovery Progress", "machine", "open")


def test_a_step_that_lambda_refuses_to_have_told_is_logged_and_the_recovery_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function: str, _: object) -> None:
        raise TransientError(f"{function}: TooManyRequestsException")

    recovery_id = stage.call("drill", host="us0")["recovery"]
    monkeypatch.setattr(stage.world.lambdas, "invoke_later", refuse)

    answer = stage.call("recover", recovery=recovery_id)

    assert answer["waiting"] == ["the report of machine i-1"]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == ["progress not told"]


def test_what_was_not_taken_is_for_the_platform_to_try_again(stage: Stage) -> None:
    stage.world.bus.fault = TransientError("EventBridge does not answer")

    with pytest.raises(TransientError):
        stage.call("tell_progress", **PROGRESS)


@pytest.mark.parametrize("payload", [PROGRESS, {"recovery": "none of ours"}], ids=["forbidden", "poison"])
def test_what_will_not_work_the_next_time_either_is_logged_and_not_tried_again(
    stage: Stage, payload: dict[str, object]
) -> None:
    stage.world.bus.fault = PermanentError("not allowed")

    stage.call("tell_progress", **payload)

    assert stage.world.bus.sent == []
