"""The rows T… and O… of the table of faults, and H1: calendars, silent hosts, and what an operator does."""

from datetime import date, timedelta
from typing import Any

import pytest

from chalicelib.core import tags
from chalicelib.core.model import RecoveryState, RunState
from chalicelib.errors import Refused
from chalicelib.ports import LaunchRequest
from tests.builders import a_moment
from tests.sim import restorer
from tests.sim.ending import the_end
from tests.sim.faults import CallFault, Deed, Does, FaultPlan, HostNight, MachineLife, Says
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy


def planned(**faults: Any) -> Scenario:
    return Scenario(plan=FaultPlan(**faults))


CHANGES = {
    "spring": ("Europe/London", "01:30-02:30", date(2026, 3, 28)),
    "autumn": ("Europe/London", "01:30-02:30", date(2026, 10, 24)),
    "half an hour": ("Australia/Lord_Howe", "01:45-03:15", date(2026, 10, 3)),
    "at midnight": ("America/Santiago", "23:30-00:30", date(2026, 9, 4)),
    "a leap day": ("UTC", "23:00-01:00", date(2028, 2, 28)),
    "the year's end": ("Pacific/Apia", "22:00-02:00", date(2026, 12, 30)),
}


@pytest.mark.fault("T1")
@pytest.mark.parametrize("change", CHANGES)
def test_t1_over_a_change_of_the_clocks_or_the_calendar_every_day_has_one_good_night(change: str) -> None:
    zone, window, first_day = CHANGES[change]

    sim = play(Scenario(SomePolicy((Receiving(window=window, timezone=zone),)), first_day=first_day, nights=4))

    of_the_days = sorted((run.id.day, run.id.attempt, run.state) for run in sim.runs())
    assert of_the_days == [(first_day + number * A_DAY, 1, RunState.DONE) for number in range(4)]


@pytest.mark.fault("T1")
def test_t1_over_the_years_end_seven_days_and_four_iso_weeks_stay() -> None:
    weeks = SomePolicy(retention="daily = 7\nweekly = 4")

    sim = play(Scenario(weeks, first_day=date(2026, 12, 1), nights=40))

    kept = [point.at.date() for point in sim.catalog.find_points("us0a")]
    assert len(set(kept)) >= 7
    assert len({day.isocalendar()[:2] for day in kept}) >= 4
    assert len(sim.volumes.snapshots) < 20


@pytest.mark.fault("T2")
def test_t2_a_week_of_failures_ages_nothing_out() -> None:
    silent = HostNight(says=None)
    good_then_silent = (*[HostNight()] * 6, *[silent] * 14)

    sim = play(Scenario(SomePolicy(retention="daily = 2"), FaultPlan(hosts=good_then_silent), nights=10))

    assert len(sim.catalog.find_points("us0a")) >= 2
    assert {point.at.date() for point in sim.catalog.find_points("us0a")} >= {date(2026, 11, 24), date(2026, 11, 25)}


@pytest.mark.fault("H1")
def test_h1_a_host_that_is_missed_on_two_nights_is_told_of_and_again_when_it_is_back() -> None:
    away = HostNight(says=None)
    us0_is_away = (HostNight(), HostNight(), away, HostNight(), away, HostNight())

    sim = play(Scenario(plan=FaultPlan(hosts=us0_is_away), nights=4))

    missed, back = (
        sim.alarms.when("host us0 was not complete on 2 nights in a row"),
        sim.alarms.when("us0 is well again"),
    )
    assert missed is not None
    assert missed.date() == date(2026, 11, 25)
    assert back is not None
    assert back.date() == date(2026, 11, 26)


@pytest.mark.fault("H1")
def test_h1_a_host_that_is_down_all_night_costs_its_own_point_only() -> None:
    sim = play(Scenario(plan=FaultPlan(hosts=(HostNight(), HostNight(), HostNight(says=None))), nights=2))

    newest = sim.runs()[0]
    assert (newest.state, newest.why) == (RunState.DEGRADED, "not complete: us0 missing")
    assert len(sim.catalog.find_points("us0a")) == 1
    assert len(sim.catalog.find_points("eu0a")) == 2


@pytest.mark.fault("H6")
def test_h6_a_host_that_is_killed_in_the_middle_of_its_push_is_restored_from_the_night_before() -> None:
    killed = HostNight(takes=A_DAY)
    good, then_killed = (HostNight(), HostNight()), (killed, HostNight())

    sim = play(Scenario(plan=FaultPlan(hosts=(*good, *then_killed)), nights=2))
    with sim.doors_open():
        sim.call("restore", host="us0", at=None)
        sim.call("restore", host="eu0", at=None)
        sim.pass_time(sim.agenda.now + 3 * AN_HOUR)

    (mixed,) = {volume["us0a"] for volume in sim.volumes.content.values() if "us0a" in volume} - {
        "main/2026-11-23/1",
        "main/2026-11-24/1",
    }
    restored = {each.point.host_id: str(each.point.run) for each in sim.catalog.find_recoveries()}
    assert mixed == "mixed"
    assert restored == {"us0a": "main/2026-11-23/1", "eu0a": "main/2026-11-24/1"}


@pytest.mark.fault("O2")
@pytest.mark.parametrize("minutes", [3, 8, 16, 19, 22, 60])
def test_o2_a_table_lost_at_any_moment_of_the_night_is_rebuilt_and_the_night_ends_as_it_would_have(
    minutes: int,
) -> None:
    lost = Deed(timedelta(minutes=minutes), Does.LOSE_THE_TABLE)

    sim = play(planned(deeds=(lost,)))

    assert the_end(sim) == the_end(play(Scenario()))


@pytest.mark.fault("O2")
def test_o2_a_volume_that_someone_deleted_comes_back_from_the_last_snapshot() -> None:
    sim = Simulation(Scenario(nights=2))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        sim.go_through(sim.nights[0])
        (lost,) = sim.volumes.volumes
        sim.volumes.delete_volume(lost)
        sim.go_through(sim.nights[1])

    (volume,) = sim.volumes.volumes.values()
    assert volume.id != lost
    assert f"EBS makes {volume.id} from snap-" in str(sim.story)
    assert [run.state for run in sim.runs()] == [RunState.DONE] * 2


def after_two_nights_someone_deletes(*snapshots: int) -> Simulation:
    """And then there is a third one; they are counted from the oldest."""
    sim = Simulation(Scenario(nights=3))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights[:2]:
            sim.go_through(night)
        for snapshot_id in [list(sim.volumes.snapshots)[each] for each in snapshots]:
            del sim.volumes.snapshots[snapshot_id]
    return sim


@pytest.mark.fault("O2")
def test_o2_the_points_of_a_snapshot_that_someone_deleted_leave_the_catalogue_and_the_gap_is_told_for_a_day() -> None:
    sim = after_two_nights_someone_deletes(1)
    with sim.doors_open():
        sim.go_through(sim.nights[2])
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)
        told = list(sim.alarms.heard)
        sim.agenda.run_until(sim.agenda.now + A_DAY)
        sim.call("prune", dry_run=False)
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)

    (gap,) = [(subject, body) for _, subject, body in told if "gone" in subject]
    assert gap[0] == "snapshot gone: somebody has deleted snapshots with restore points: 1"
    assert "snapshot snap-0003 with points of eu0a, us0a" in gap[1]
    assert [point.at.day for point in sim.catalog.find_points("us0a")] == [23, 25]
    assert sim.alarms.subjects[-1] == "no more snapshots are gone"


@pytest.mark.fault("O2")
def test_o2_until_then_a_drill_and_a_restore_take_the_newest_point_that_is_still_there() -> None:
    sim = after_two_nights_someone_deletes(1)
    with sim.doors_open():
        sim.call("drill", host="us0", at=None)
        sim.call("restore", host="eu0", at=None)
        sim.pass_time(sim.agenda.now + 3 * AN_HOUR)

    recoveries = sim.catalog.find_recoveries()
    assert [str(each.point.run) for each in recoveries] == ["main/2026-11-23/1"] * 2
    assert [each.verdict for each in recoveries] == ["proven"] * 2


@pytest.mark.fault("O2")
def test_o2_a_host_whose_snapshots_are_all_gone_has_nothing_to_restore_and_that_is_said() -> None:
    sim = after_two_nights_someone_deletes(0, 1)

    with sim.doors_open(), pytest.raises(Refused, match=r"host us0: EC2 shows none of .*: snap-0003, snap-0002"):
        sim.call("restore", host="us0", at=None)


@pytest.mark.fault("O2")
def test_o2_a_snapshot_that_someone_deleted_while_it_was_made_fails_its_run_and_the_next_night_is_good() -> None:
    sim = Simulation(Scenario(nights=2))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        sim.agenda.at(a_moment(2, 16), sim.volumes.snapshots.clear)
        for night in sim.nights:
            sim.go_through(night)

    assert [run.state for run in sim.runs()] == [RunState.DONE, RunState.FAILED]
    assert sim.alarms.when("snapshot snap-0002 never completed")


@pytest.mark.fault("O3")
def test_o3_retention_cut_by_mistake_deletes_no_more_than_the_cap() -> None:
    many = SomePolicy(retention="daily = 30")
    cut = FaultPlan(deeds=(Deed(timedelta(days=16, hours=12), Does.APPLY, "last = 3"),))

    sim = play(Scenario(many, cut, nights=20))

    assert "snapshots would be deleted and one night may delete 10" in str(sim.story)
    assert sim.alarms.when("retention refused to prune")
    assert len(sim.volumes.snapshots) == 20


@pytest.mark.fault("O3")
def test_o3_what_the_cap_has_stopped_is_deleted_once_the_number_is_confirmed() -> None:
    many = SomePolicy(retention="daily = 30")
    cut = FaultPlan(deeds=(Deed(timedelta(days=16, hours=12), Does.APPLY, "last = 3"),))
    sim = play(Scenario(many, cut, nights=20))
    with sim.doors_open():
        too_few = sim.call("prune", dry_run=False, allow=2)
        there = len(sim.volumes.snapshots)
        confirmed = sim.call("prune", dry_run=False, allow=20)

    assert too_few["refused"]
    assert there == 20
    assert not confirmed["refused"]
    assert len(sim.volumes.deleted) > 10
    assert sum(not each.tags.get(tags.MARKED) for each in sim.volumes.snapshots.values()) == 3


@pytest.mark.fault("O7")
@pytest.mark.parametrize("life", [MachineLife(hangs=True), MachineLife(gets_ready=False, hangs=True)])
def test_o7_a_drill_leaves_nothing_behind_whatever_its_machine_does(life: MachineLife) -> None:
    drill = Deed(AN_HOUR, Does.DRILL, "us0")

    sim = play(planned(deeds=(drill,), machines=(MachineLife(), life)))

    assert all(recovery.state.is_final for recovery in sim.catalog.find_recoveries())
    assert all(box.machine.state == "terminated" for box in sim.machines.boxes.values())
    assert {volume.tags[tags.ROLE] for volume in sim.volumes.volumes.values()} == {tags.Role.DATA}


@pytest.mark.fault("O7")
def test_o7_what_a_drill_has_left_behind_all_the_same_is_swept_within_the_hour() -> None:
    sim = play(planned(deeds=(Deed(AN_HOUR, Does.DRILL, "us0"),)))
    (recovery,) = sim.catalog.find_recoveries()
    left = {tags.SCHEMA: "1", tags.RECOVERY: str(recovery.id), tags.ROLE: tags.Role.RECOVERY}
    with sim.doors_open():
        machine = sim.machines.launch(LaunchRequest("t", "t4g.small", "subnet-a", "sg-drill", "", left))
        volume = sim.volumes.create_volume("v", "zone-a", 80, "gp3", left)
        sim.machines.on_running = lambda box: None
        sim.agenda.run_until(sim.agenda.now.replace(minute=0) + AN_HOUR)
        sim.tick()
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)

    assert sim.machines.boxes[machine.id].machine.state == "terminated"
    assert volume.id not in sim.volumes.volumes


@pytest.mark.fault("O7")
def test_o7_a_drill_that_nobody_can_end_is_told_the_next_noon_and_is_well_again_when_it_is_gone() -> None:
    drill, hangs = Deed(AN_HOUR, Does.DRILL, "us0"), MachineLife(hangs=True)
    denied = CallFault("machines.terminate", Says.DENIED, times=1_000_000, until=timedelta(hours=12))

    sim = play(planned(deeds=(drill,), machines=(MachineLife(), hangs), calls=(denied,)))

    told = sim.alarms.when("i-2 stands, and costs: it expired at 2026-11-23T07:50")
    assert told == a_moment(12) + timedelta(seconds=1)
    assert sim.alarms.when("the sweep is well again")
    assert all(box.machine.state == "terminated" for box in sim.machines.boxes.values())


@pytest.mark.fault("O7")
@pytest.mark.parametrize(
    ("life", "is_told"), [(MachineLife(hangs=True, sticks_at="compare"), True), (MachineLife(), False)]
)
def test_o7_drills_that_take_more_than_their_budget_are_told_by_themselves(life: MachineLife, is_told: bool) -> None:
    sim = play(planned(deeds=(Deed(AN_HOUR, Does.DRILL, "us0"),), machines=(MachineLife(), life)))
    with sim.doors_open():
        sim.apply(f'{sim.scenario.policy.text}\n[drill]\nevery = "30 days"\nbudget = "2 USD/year"\n')
        sim.call("preflight")
        costs = sim.call("cost")
        sim.pass_time(sim.agenda.now + AN_HOUR)

    assert (costs["drills"]["usd_a_month"] > costs["drills"]["budget_usd_a_month"]) == is_told
    assert bool(sim.alarms.when("drill budget: drills cost about")) == is_told
    assert sim.alarms.when("budget: it costs") is None


@pytest.mark.fault("O8")
def test_o8_a_drill_that_compared_nothing_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"entries": 0, "missing": 0, "extra": 0, "different": 0, "unhashed": 0}
    monkeypatch.setitem(restorer.A_REPORT, "compared", nothing)

    sim = play(planned(deeds=(Deed(AN_HOUR, Does.DRILL, "us0"),)))

    (recovery,) = sim.catalog.find_recoveries()
    assert recovery.state is RecoveryState.FAILED
    assert [point.proven for point in sim.catalog.find_points("us0a")] == [None]
