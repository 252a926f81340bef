"""EventBridge in the sandbox: what is delivered, what is lost, and when schedules fire."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.schedule import following
from tests.local.sandbox_parts import PREFIX, WAIT, Recorder, a_sandbox, client, deploy_rule

NIGHT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
REPORTS = {"source": [{"prefix": "ebbtide."}], "detail-type": ["Ebbtide Host Report"]}


def put_report(events: Any, host: str, source: str = "ebbtide.receiver.main") -> None:
    answer = events.put_events(
        Entries=[{"Source": source, "DetailType": "Ebbtide Host Report", "Detail": json.dumps({"host": host})}]
    )
    assert answer["FailedEntryCount"] == 0


def test_an_event_reaches_the_function_its_rule_names_at_the_clocks_time(tmp_path: Path) -> None:
    recorder = Recorder("on_report")
    with a_sandbox(tmp_path, recorder, Clock(NIGHT)) as sandbox:
        deploy_rule(sandbox.endpoint, "on_report", REPORTS)
        events = client("events", sandbox.endpoint)

        put_report(events, "us0")
        put_report(events, "eu0", source="someone.else")
        assert sandbox.quiet(WAIT)

        [event] = recorder.events("on_report")
        assert event["detail"] == {"host": "us0"}
        assert (event["source"], event["detail-type"]) == ("ebbtide.receiver.main", "Ebbtide Host Report")
        assert (event["time"], event["region"], event["account"]) == (
            "2026-11-23T02:00:00Z",
            "eu-west-1",
            "123456789012",
        )
        assert "ingestion-time" not in event


def test_a_disabled_rule_delivers_nothing_until_it_is_enabled(tmp_path: Path) -> None:
    recorder = Recorder("on_report")
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_rule(sandbox.endpoint, "on_report", REPORTS)
        events = client("events", sandbox.endpoint)

        events.disable_rule(Name=f"{PREFIX}on_report")
        put_report(events, "us0")
        events.enable_rule(Name=f"{PREFIX}on_report")
        put_report(events, "eu0")
        assert sandbox.quiet(WAIT)

        assert [event["detail"]["host"] for event in recorder.events("on_report")] == ["eu0"]


def test_events_can_be_lost_without_their_sender_noticing(tmp_path: Path) -> None:
    recorder = Recorder("on_report")
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_rule(sandbox.endpoint, "on_report", REPORTS)
        events = client("events", sandbox.endpoint)

        sandbox.first.bus.drop(lambda event: event["detail"]["host"] == "us0")
        put_report(events, "us0")
        put_report(events, "eu0")
        sandbox.first.bus.keep()
        put_report(events, "us1")
        assert sandbox.quiet(WAIT)

        assert sorted(event["detail"]["host"] for event in recorder.events("on_report")) == ["eu0", "us1"]
        assert [event["detail"]["host"] for event in sandbox.first.bus.lost] == ["us0"]


def test_a_schedule_fires_when_the_clock_reaches_it_and_never_on_an_event(tmp_path: Path) -> None:
    recorder = Recorder("tick", "on_report")
    clock = Clock(NIGHT)
    with a_sandbox(tmp_path, recorder, clock) as sandbox:
        deploy_rule(sandbox.endpoint, "tick", schedule="rate(5 minutes)")
        deploy_rule(sandbox.endpoint, "on_report", REPORTS)

        put_report(client("events", sandbox.endpoint), "us0")
        clock.advance(timedelta(minutes=4))
        assert sandbox.quiet(WAIT)
        before = recorder.events("tick")
        for minutes in (1, 5):
            clock.advance(timedelta(minutes=minutes))
            assert sandbox.quiet(WAIT)

        assert before == []
        assert [event["time"] for event in recorder.events("tick")] == ["2026-11-23T02:05:00Z", "2026-11-23T02:10:00Z"]
        assert recorder.events("tick")[0]["detail-type"] == "Scheduled Event"


def test_a_disabled_tick_stays_silent_unless_it_is_fired_by_hand(tmp_path: Path) -> None:
    recorder = Recorder("tick")
    clock = Clock(NIGHT)
    with a_sandbox(tmp_path, recorder, clock) as sandbox:
        deploy_rule(sandbox.endpoint, "tick", schedule="rate(5 minutes)")

        sandbox.first.schedule.disable()
        clock.advance(timedelta(hours=1))
        assert sandbox.quiet(WAIT)
        silent = recorder.events("tick") == []
        sandbox.first.schedule.fire("tick")
        assert sandbox.quiet(WAIT)

        assert silent
        assert len(recorder.events("tick")) == 1


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", NIGHT + timedelta(minutes=5)),
        ("rate(1 day)", NIGHT + timedelta(days=1)),
        ("cron(0 2 * * ? *)", NIGHT + timedelta(days=1)),
        ("cron(30 2 ? * MON *)", NIGHT + timedelta(minutes=30)),
    ],
)
def test_the_next_instant_of_a_schedule(expression: str, expected: datetime) -> None:
    assert following(expression, NIGHT) == expected


def test_a_schedule_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="every full moon"):
        following("every full moon", NIGHT)
