"""A whole night through the doors: on events alone, on the tick alone, and with events doubled, reordered, forged."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import HostStatus, RunState
from tests.app.stage import Stage
from tests.builders import A_KEY, A_POLICY_TEXT, a_moment, a_run_id


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_with_the_tick_disabled_the_events_alone_lead_to_the_snapshot_and_the_restore_points(stage: Stage) -> None:
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report_event("us0")
    stage.report("eu0")
    stage.report_event("eu0")
    stage.released()

    stage.instance_event()
    taken = stage.world.volumes.snapshots[stage.the_snapshot()]
    stage.complete_snapshots()
    stage.snapshot_event(stage.the_snapshot())

    assert tags.unpack(taken.tags) == ("eu0a", "us0a")
    assert taken.tags[tags.CONSISTENCY] == tags.Consistency.RELEASED
    assert stage.the_run().state is RunState.DONE
    assert {point.host_id for point in stage.world.catalog.find_points()} == {"us0a", "eu0a"}
    assert stage.deliver() == ["prune", "tell_operators", "tell_operators"]


def test_with_the_completion_event_of_the_last_host_only_the_instance_event_still_leads_to_the_snapshot(
    stage: Stage,
) -> None:
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report("eu0")

    stage.report_event("eu0")
    stage.released()
    stage.instance_event()

    assert tags.unpack(stage.world.volumes.snapshots[stage.the_snapshot()].tags) == ("eu0a", "us0a")


def test_with_every_event_lost_the_tick_alone_leads_there(stage: Stage) -> None:
    stage.tick(a_moment(2, 5))
    stage.ready()
    stage.report("us0")
    stage.report("eu0")
    stage.tick(a_moment(2, 10))
    stage.released()

    stage.tick(a_moment(2, 15))
    stage.complete_snapshots()
    stage.tick(a_moment(2, 20))

    assert stage.the_run().state is RunState.DONE
    assert {point.host_id for point in stage.world.catalog.find_points()} == {"us0a", "eu0a"}
    closed = wire.parse_closed(stage.world.archive.get(wire.closed_key(stage.the_run().id)))
    assert (closed.state, closed.snapshot_id) == (RunState.DONE, stage.the_snapshot())
    assert {(host.name, host.status.value) for host in closed.hosts} == {("us0", "complete"), ("eu0", "complete")}


def test_a_host_that_stays_silent_costs_its_own_point_only(stage: Stage) -> None:
    stage.tick()
    stage.ready()
    stage.report("us0")

    stage.tick(a_moment(6, 29))
    before_the_grace_is_over = [machine.state for machine in stage.world.machines.by_id.values()]
    stage.tick(a_moment(6, 30))
    stage.complete_snapshots()
    stage.tick(a_moment(6, 35))

    assert before_the_grace_is_over == ["running"]
    assert stage.world.volumes.snapshots[stage.the_snapshot()].tags[tags.CONSISTENCY] == tags.Consistency.CRASH
    assert stage.the_run().state is RunState.DEGRADED
    assert stage.the_run().why == "not complete: eu0 missing"
    assert [point.host_id for point in stage.world.catalog.find_points()] == ["us0a"]


@pytest.mark.parametrize("seed", range(5))
def test_events_doubled_and_out_of_order_change_nothing_more(stage: Stage, seed: int) -> None:
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report("eu0")
    stage.released()
    stage.instance_event()
    stage.complete_snapshots()
    snapshot_id = stage.the_snapshot()
    stage.snapshot_event(snapshot_id)
    stage.deliver()
    settled = stage.memory()
    run = wire.run_payload(stage.the_run().id)
    replay: list[Callable[[], object]] = [
        lambda: stage.report_event("us0"),
        lambda: stage.report_event("eu0"),
        stage.instance_event,
        lambda: stage.instance_event("running"),
        lambda: stage.snapshot_event(snapshot_id),
        lambda: stage.client.lambda_.invoke("reconcile_run", run),
        stage.tick,
    ]

    for knock in random.Random(seed).choices(replay, k=30):
        knock()

    assert stage.memory() == settled


def test_events_before_their_time_change_nothing(stage: Stage) -> None:
    stage.tick()
    settled = stage.memory()

    stage.instance_event("pending")
    stage.report_event("us0")
    stage.report_event("eu0")

    assert stage.memory() == settled


def test_a_report_with_another_hosts_nonce_is_rejected(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.tick()
    stage.ready()
    nonce_of_us0 = stage.the_run().hosts[0].nonce
    stage.report("eu0", nonce=nonce_of_us0)

    stage.report_event("eu0")

    assert stage.world.catalog.find_results(stage.the_run().id) == []
    (why,) = (record.why for record in caplog.records if record.message == "report rejected")
    assert why == "its nonce is not the one given to host eu0a for run main/2026-11-23/1"


FORGERIES: dict[str, dict[str, object]] = {
    "another run": {"run": "main/2026-11-22/1"},
    "another host": {"host": "us0", "id": "us0a", "status": "failed"},
    "a status only we may give": {"status": "missing"},
    "nothing of the receiver's": {"receiver": None},
    "a number that is none": {"files": "many"},
    "a number that nothing could store": {"files": 10**40 + 1},
    "half a character": {"problems": ["\ud800"]},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_report_that_is_not_this_runs_own_costs_nobody_else(stage: Stage, forgery: str) -> None:
    stage.tick()
    stage.ready()
    stage.report("eu0", **FORGERIES[forgery])
    stage.report("us0")

    stage.report_event("eu0")
    stage.report_event("us0")

    (result,) = stage.world.catalog.results.values()
    assert (result.run, result.id, result.status) == (a_run_id(), "us0a", HostStatus.COMPLETE)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_nor_does_it_when_a_tick_reads_the_reports_of_all(stage: Stage, forgery: str) -> None:
    stage.tick()
    stage.ready()
    stage.report("eu0", **FORGERIES[forgery])
    stage.report("us0")

    stage.tick(a_moment(2, 15))

    (result,) = stage.world.catalog.results.values()
    assert (result.run, result.id, result.status) == (a_run_id(), "us0a", HostStatus.COMPLETE)


def test_an_event_about_a_run_that_never_was_is_not_retried(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.report_event("us0", a_run_id(day=1))

    assert "there is no run main/2026-11-01/1" in caplog.text


def test_what_is_not_ours_wakes_nothing(stage: Stage) -> None:
    stage.tick()
    settled = stage.memory()

    stage.instance_event(instance_id="i-of-someone-else")
    stage.snapshot_event("snap-of-someone-else")

    assert stage.memory() == settled


def test_a_late_tick_opens_one_run_and_the_next_one_opens_no_other(stage: Stage) -> None:
    stage.tick(a_moment(3))
    stage.tick(a_moment(3, 5))

    run = stage.the_run()

    assert (run.id, run.opened, run.deadline) == (a_run_id(), a_moment(3), a_moment(6))
    assert len(stage.world.machines.requests) == 1


def test_before_the_window_nothing_is_opened(stage: Stage) -> None:
    stage.tick(a_moment(1, 59))

    assert stage.world.catalog.find_runs("main") == []


def test_every_host_gets_a_nonce_of_its_own(stage: Stage) -> None:
    stage.tick()

    nonces = [host.nonce for host in stage.the_run().hosts]

    assert len(set(nonces)) == 2
    assert {len(nonce) for nonce in nonces} == {32}


A_SECOND_RECEIVER = f"""
[receiver.second]
window   = "07:00-09:00"
timezone = "UTC"
name     = "second.example.org"
allow    = ["198.51.100.0/24"]
instance = ["t4g.small"]
volume   = {{ size = "80GiB" }}
hosts    = ["db0"]

[host.db0]
id   = "db0a"
keys = ["{A_KEY.replace("A" * 43, "C" * 43)}"]
"""


def test_while_one_receivers_snapshot_is_pending_for_hours_another_receivers_night_goes_on(stage: Stage) -> None:
    stage.call("apply_policy", text=A_POLICY_TEXT + A_SECOND_RECEIVER, expected=None)
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report("eu0")
    stage.released()
    stage.tick(a_moment(3))

    stage.tick(a_moment(7, 5))

    assert stage.the_run().state is RunState.OPEN
    assert [run.state for run in stage.world.catalog.find_runs("second")] == [RunState.OPEN]
    assert [machine.state for machine in stage.world.machines.by_id.values()] == ["terminated", "running"]


def test_no_run_is_opened_beside_one_that_is_still_open(stage: Stage) -> None:
    stage.tick(a_moment(2, 5, day=22))
    snapshotting = stage.world.catalog.get_run(a_run_id(day=22))
    stage.world.catalog.save_run(replace(snapshotting, deadline=a_moment(6, day=23)))

    stage.tick(a_moment(2, 5))

    assert stage.the_run().id == a_run_id(day=22)
