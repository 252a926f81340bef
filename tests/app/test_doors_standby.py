"""The doors of a standby: the same application, told by its environment that it stands by."""

from dataclasses import replace

import pytest

from chalicelib.core.copying import copy_tags
from chalicelib.core.model import Snapshot
from chalicelib.ports import StackRole
from tests.app.stage import Stage
from tests.builders import a_moment, a_snapshot


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Everything of a policy and a copy has arrived; the window is open, by the policy."""
    stage = Stage(monkeypatch)
    standing_by = replace(stage.world.settings, role=StackRole.STANDBY, region="eu-central-1")
    stage.world = replace(stage.world, settings=standing_by)
    stage.lose_the_table()
    tagged = copy_tags(a_snapshot(), "us-east-1")
    copied = Snapshot("snap-dr", "completed", a_moment(8), "vol-ffffffff", 80, 100, tagged)
    stage.world.volumes.snapshots[copied.id] = copied
    return stage


def test_the_tick_opens_nothing_and_takes_up_the_overdue_copy(stage: Stage) -> None:
    stage.tick(a_moment(3, day=24))

    assert stage.world.catalog.runs == {}
    assert {point.snapshot_id for point in stage.world.catalog.find_points()} == {"snap-dr"}


def test_the_event_of_a_copy_is_enough(stage: Stage) -> None:
    stage.set_clock(a_moment(3, day=24))

    stage.snapshot_event("snap-dr")

    assert len(stage.world.catalog.find_points()) == 2


def test_a_policy_is_refused_there(stage: Stage) -> None:
    answer = stage.call("apply_policy", text="", expected=None)

    assert "standby" in answer["faults"][0]
