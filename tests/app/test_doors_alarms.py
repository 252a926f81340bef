"""Alarms seen from the doors: nothing that is told can keep a night from ending, and nothing is lost or said twice."""

import pytest

from chalicelib.core.model import RunState
from chalicelib.errors import CapacityError, PermanentError
from tests.app.stage import Stage
from tests.builders import a_moment

MISSED = (
    "run failed: run main/2026-11-23/1 failed: no receiver could be launched before the deadline: "
    "run main/2026-11-23/1: no capacity for any of t4g.small, t4g.medium in zone-b"
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """EC2 has no machine of any type: the night will fail."""
    stage = Stage(monkeypatch)
    stage.world.machines.no_capacity_for = {"t4g.small", "t4g.medium"}
    return stage


def let_the_night_fail(stage: Stage) -> None:
    """The tick opens the run, EC2 has no room all night, and after the deadline there is no use in asking."""
    with pytest.raises(CapacityError):
        stage.tick(a_moment(2, 6))
    stage.world.lambdas.invoked.clear()
    stage.tick(a_moment(7, 11))
    stage.tick(a_moment(7, 16))


def told(stage: Stage) -> list[str]:
    return [subject for subject in stage.world.alarms.subjects if not subject.startswith("weekly")]


def test_a_night_that_fails_is_told_when_it_closes_and_not_again_by_any_replay(stage: Stage) -> None:
    let_the_night_fail(stage)

    stage.call("reconcile_run", run=str(stage.the_run().id))
    stage.call("tell_operators")
    for minute in (21, 26, 31):
        stage.tick(a_moment(7, minute))
    stage.tick(a_moment(8, 1))

    assert stage.the_run().state is RunState.FAILED
    assert told(stage) == [MISSED]


def test_with_sns_out_of_order_the_run_closes_all_the_same_and_a_tick_tells_it_later(stage: Stage) -> None:
    stage.world.alarms.fault = PermanentError("topic alarms is gone")
    let_the_night_fail(stage)
    closed, before = stage.the_run().state, told(stage)
    stage.world.alarms.fault = None

    stage.tick(a_moment(7, 21))
    stage.tick(a_moment(7, 26))

    assert (closed, before) == (RunState.FAILED, [])
    assert told(stage) == [MISSED]


def test_what_keeps_the_teller_itself_from_telling_ends_as_a_dead_letter(stage: Stage) -> None:
    stage.world.catalog.version = "000009"

    with pytest.raises(PermanentError, match="000009"):
        stage.call("tell_operators")


def test_a_tick_with_nothing_left_to_tell_leaves_the_restore_points_alone(stage: Stage) -> None:
    """They are many, and read once an hour."""
    let_the_night_fail(stage)
    stage.world.lambdas.invoked.clear()

    stage.tick_only(a_moment(7, 36))
    between = [door for door, _ in stage.world.lambdas.invoked]
    stage.tick_only(a_moment(8, 1))
    on_the_hour = [door for door, _ in stage.world.lambdas.invoked]

    assert between == []
    assert on_the_hour == ["tell_operators"]
