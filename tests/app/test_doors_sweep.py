"""The hourly sweep, through its door."""

import pytest

from tests.app.stage import Stage
from tests.builders import a_machine, a_moment


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_the_hour_removes_what_belongs_to_no_one(stage: Stage) -> None:
    stage.world.machines.by_id["i-9"] = a_machine("i-9", tagged={"ebbtide:schema": "1"})
    stage.set_clock(a_moment(3))

    stage.event("sweep", "aws.events", "Scheduled Event", {})

    assert stage.world.machines.by_id["i-9"].state == "terminated"
