"""The rows C… of the table of faults: what becomes of a night when events, invocations and writes go wrong.

C1 and C3 are also shown call by call, in test_every_call.py. `lacks` says which part of a row is not there yet.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.model import RunState
from tests.builders import a_moment
from tests.sim.ending import the_end
from tests.sim.faults import CallFault, Deed, Does, Fate, FaultPlan, HostNight, Says
from tests.sim.night import A_DAY, A_TICK, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy

LOST = Fate(copies=0)
FOREVER = 1_000_000


def planned(**faults: Any) -> Scenario:
    return Scenario(plan=FaultPlan(**faults))


def states(sim: Simulation) -> list[RunState]:
    return [run.state for run in sim.runs()]


@pytest.mark.fault("C2")
@pytest.mark.fault("N8")
def test_c2_with_every_event_lost_the_tick_takes_the_snapshot_and_closes_the_run_within_ten_minutes() -> None:
    sim = play(planned(events=(LOST,)))

    (run,), (snapshot,) = sim.runs(), sim.volumes.snapshots.values()
    ended = max(box.ended for box in sim.machines.boxes.values() if box.ended)
    completed = snapshot.started + sim.scenario.plan.pace.to_snapshot
    assert run.state is RunState.DONE
    assert snapshot.started - ended <= 2 * A_TICK
    assert run.closed is not None
    assert run.closed - completed <= 2 * A_TICK


@pytest.mark.fault("C3")
def test_c3_every_event_and_invocation_a_hundred_times_makes_one_machine_one_snapshot_and_one_end() -> None:
    sim = play(planned(events=(Fate(100),), invocations=(Fate(100),)))

    assert states(sim) == [RunState.DONE]
    assert len(sim.machines.boxes) == sim.volumes.taken == 1
    assert str(sim.story).count("CloseRun") == 1


@pytest.mark.fault("C3")
def test_c3_events_that_are_a_day_late_and_out_of_order_change_nothing_about_the_end() -> None:
    late = (Fate(2, 24 * AN_HOUR), Fate(1, timedelta(minutes=7)), LOST, Fate(3))

    assert the_end(play(planned(events=late))) == the_end(play(Scenario()))


@pytest.mark.fault("C6")
def test_c6_while_nothing_is_invoked_no_ping_goes_out_so_that_someone_outside_misses_it() -> None:
    first_night, second_night = a_moment(2), a_moment(2) + A_DAY
    stopped = (AN_HOUR, A_DAY + 2 * AN_HOUR)

    sim = play(Scenario(plan=FaultPlan(silences=(stopped,)), nights=2))

    assert len(sim.watch.pinged) == 2
    assert sim.watch.pinged[0] - first_night <= AN_HOUR
    assert sim.watch.pinged[1] - second_night >= 2 * AN_HOUR


@pytest.mark.fault("C6")
def test_c6_while_no_invocation_comes_through_nothing_is_lost_and_afterwards_the_night_goes_on() -> None:
    sim = play(planned(invocations=(*[LOST] * 8, *[Fate()] * 100)))

    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("C7")
def test_c7_a_tick_that_comes_twice_opens_one_run() -> None:
    sim = play(planned(ticks_at_once=2))

    assert [str(run.id) for run in sim.runs()] == ["main/2026-11-23/1"]


@pytest.mark.fault("C7")
def test_c7_a_start_that_the_ticks_missed_is_caught_up_with() -> None:
    sim = play(planned(silences=((timedelta(0), 2 * AN_HOUR),)))

    (run,) = sim.runs()
    assert (str(run.id), run.state) == ("main/2026-11-23/1", RunState.DONE)
    assert run.opened >= a_moment(3, 55)


@pytest.mark.fault("C8")
@pytest.mark.parametrize("skip", range(0, 60, 4))
def test_c8_a_throttled_table_delays_the_night_and_does_not_change_its_end(skip: int) -> None:
    sim = play(planned(calls=(CallFault("catalog.*", Says.THROTTLED, skip, times=6),)))

    assert the_end(sim) == the_end(play(Scenario()))


@pytest.mark.fault("C8")
def test_c8_what_the_table_does_not_take_is_not_done() -> None:
    refused = CallFault("catalog.save_run", Says.THROTTLED, times=FOREVER, until=timedelta(minutes=45))

    sim = play(planned(calls=(refused,)))

    assert [box.machine.launched >= a_moment(2, 40) for box in sim.machines.boxes.values()] == [True]
    assert states(sim) == [RunState.DONE]


POISON: dict[str, Mapping[str, Any]] = {
    "nothing": {},
    "a schema of the future": {"schema": 9, "run": "main/2026-11-23/1"},
    "a number for a run": {"schema": 1, "run": 5},
    "a list for a run": {"schema": 1, "run": ["main/2026-11-23/1"]},
    "no run of ours": {"schema": 1, "run": "other/2026-11-23/1"},
    "a day that is none": {"schema": 1, "run": "main/2026-13-23/1"},
    "a megabyte": {"schema": 1, "run": "m" * 1_000_000},
    "an escape": {"schema": 1, "run": "main/\x1b[2J/1"},
    "a recovery that is none": {"schema": 1, "recovery": None},
    "a snapshot that is none": {"snapshot_id": 7},
    "an instance that is none": {"instance-id": {}},
}


@pytest.mark.fault("C9")
@pytest.mark.parametrize("poison", POISON)
def test_c9_poison_is_told_and_stops_no_run(poison: str) -> None:
    sim = Simulation(Scenario())
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for source, kind in (
            ("ebbtide.receiver.main", "Ebbtide Host Report"),
            ("aws.ec2", "EC2 Instance State-change Notification"),
            ("aws.ec2", "EBS Snapshot Notification"),
        ):
            sim.bus.emit(source, kind, dict(POISON[poison]))
        sim.bus.invoke_later("reconcile_run", POISON[poison])
        sim.go_through(sim.nights[0])

    assert "gave up" in str(sim.story)
    assert sim.bus.dead == []
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("C11")
def test_c11_of_two_operators_who_begin_a_night_at_the_same_moment_one_is_refused() -> None:
    by_hand = Deed(AN_HOUR, Does.RUN_NOW, "main")
    short = SomePolicy((Receiving(window="02:00-02:40"),))

    sim = play(Scenario(short, FaultPlan(deeds=(by_hand, by_hand))))

    assert [str(run.id) for run in sim.runs()] == ["main/2026-11-23/2", "main/2026-11-23/1"]
    assert "Refused: run main/2026-11-23/2 is open" in str(sim.story)


@pytest.mark.fault("X3")
def test_x3_a_report_with_a_forged_nonce_counts_for_nobody() -> None:
    first_night = (HostNight(), HostNight())

    sim = play(Scenario(plan=FaultPlan(hosts=(*first_night, HostNight(is_impersonated=True))), nights=2))

    forged = wire.report_key(sim.runs()[0], "us0a")
    assert f"someone forges {forged}" in str(sim.story)
    assert f"rejected {forged}" in str(sim.story)
    assert {str(point.run) for point in sim.catalog.find_points("us0a")} == {"main/2026-11-23/1"}


@pytest.mark.fault("C13")
def test_c13_what_could_not_be_told_is_told_when_the_channel_works_again() -> None:
    broken = CallFault("alarms.publish", times=FOREVER, until=8 * AN_HOUR)

    sim = play(planned(calls=(broken,), bad_snapshots=(True, True)))

    told = sim.alarms.when("main/2026-11-23/1 failed")
    assert states(sim) == [RunState.FAILED]
    assert told is not None
    assert a_moment(10) <= told <= a_moment(11)


@pytest.mark.fault("C13")
def test_c13_every_monday_there_is_a_letter_so_that_its_absence_says_something() -> None:
    sim = play(Scenario(first_day=date(2026, 11, 23), nights=16))

    weekly = [at.date() for at, subject, _ in sim.alarms.heard if subject.startswith("weekly")]
    # The first with the first night; the simulator leaves out the quiet hours, so that the others come with the noon.
    assert weekly == [date(2026, 11, 23), date(2026, 11, 23), date(2026, 11, 30), date(2026, 12, 7)]


@pytest.mark.fault("C14")
@pytest.mark.parametrize("stranger", ["us9", ""])
def test_c14_a_policy_that_names_an_unknown_host_is_refused_and_the_old_one_stays(stranger: str) -> None:
    sim = Simulation(Scenario())
    with sim.doors_open():
        sim.apply()
        answer = sim.apply(sim.scenario.policy.text.replace('hosts    = ["us0"', f'hosts    = ["{stranger}"'))

    assert answer["faults"]
    assert sim.catalog.policy_version() == "000001"
    assert sim.archive.list("policies/") == ["policies/000001.toml"]
