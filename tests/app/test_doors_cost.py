"""What a month costs, through its door."""

import pytest

from tests.app.stage import Stage


def test_an_operator_is_told_every_part_and_that_there_is_no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)

    answer = stage.call("cost")

    assert [part["what"] for part in answer["parts"]] == [
        "receiver main: volume",
        "CloudWatch",
        "the key of the alarms' topic",
    ]
    assert answer["usd_a_month"] == 6.4 + 2.4 + 1.0
    assert (answer["budget"], answer["budget_usd_a_month"]) == (None, None)
    assert answer["drills"] == {"usd_a_month": 0, "budget": None, "budget_usd_a_month": None}
