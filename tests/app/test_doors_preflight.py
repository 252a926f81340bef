"""The preflight through its door, as the schedule and as an operator call it."""

import pytest

from chalicelib.core.preflight import Key
from tests.app.stage import Stage
from tests.builders import a_moment


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(monkeypatch)
    stage.world.archive.put_once(stage.world.settings.agent, b"the agent")
    stage.set_clock(a_moment(12))
    return stage


def test_an_operator_is_told_what_stands_in_the_way_since_when_and_what_to_do(stage: Stage) -> None:
    stage.world.account.keys["key-1"] = Key("key-1", "us-east-1", "Disabled")

    answer = stage.call("preflight")

    (found,) = answer["found"]
    assert (found["kind"], found["since"]) == ("key unusable", "2026-11-23T12:00:00Z")
    assert found["what"] == "key key-1 in us-east-1 is Disabled"
    assert "enable-key" in found["to_do"]


def test_what_the_schedule_finds_is_told_at_once(stage: Stage) -> None:
    stage.world.account.keys["key-1"] = Key("key-1", "us-east-1", "Disabled")

    stage.event("preflight", "aws.events", "Scheduled Event", {})
    knocked = stage.deliver()

    assert knocked == ["tell_operators"]
    assert stage.world.alarms.subjects == ["key unusable: key key-1 in us-east-1 is Disabled"]


def test_when_all_is_there_nothing_is_found(stage: Stage) -> None:
    assert stage.call("preflight")["found"] == []
