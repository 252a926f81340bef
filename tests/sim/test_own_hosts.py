"""Hosts with volumes of their own, through the doors: whatever is lost, doubled, late or dies, and however often."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from chalicelib.core import tags
from chalicelib.core.model import HostStatus, RunState, TreeKind
from tests.patience import HAS_PATIENCE
from tests.sim.ending import the_end
from tests.sim.faults import CallFault, Deed, Does, Fate, FaultPlan, OwnNight, Pace, Says
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy

A_MINUTE = timedelta(minutes=1)
SMALL = SomePolicy((Receiving(window="02:00-02:40", hosts=("us0",)),), "last = 1", own_hosts=("we0",))
LOST = (Fate(0),)
# Done before the simulation's own time begins, at two, and so the first to be snapshotted.
FIRST = OwnNight(at=A_MINUTE, takes=A_MINUTE)
# An hour that holds the whole night of we0, and the one before the receiver's window opens.
EARLY = SomePolicy((Receiving(window="00:30-01:10", hosts=("us0",)),), "last = 1", own_hosts=("we0",))


def points(sim: Simulation) -> int:
    return len(sim.catalog.find_points("we0a"))


def states(sim: Simulation) -> list[RunState]:
    return [run.state for run in sim.catalog.find_runs("host.we0a")]


def own_snapshots(sim: Simulation) -> int:
    return sum(each.tags[tags.RECEIVER] == "host.we0a" for each in sim.volumes.snapshots.values())


def test_a_quiet_night_leads_to_a_restore_point_of_a_real_tree() -> None:
    sim = play(Scenario(SMALL, nights=2))

    assert states(sim) == [RunState.DONE, RunState.DONE]
    assert {point.tree for point in sim.catalog.find_points("we0a")} == {TreeKind.REAL}


@pytest.mark.fault("C2")
@pytest.mark.fault("C3")
@pytest.mark.parametrize(
    "events", [LOST, (Fate(2), Fate(3)), (Fate(1, timedelta(hours=3)),), (Fate(1, A_DAY),)], ids=str
)
def test_events_that_are_lost_doubled_or_late_change_nothing(events: tuple[Fate, ...]) -> None:
    sim = play(Scenario(SMALL, FaultPlan(events=events)))

    assert (states(sim), points(sim), own_snapshots(sim)) == ([RunState.DONE], 1, 1)


def test_while_no_tick_comes_the_events_alone_carry_the_night() -> None:
    sim = play(Scenario(SMALL, FaultPlan(silences=((timedelta(0), 10 * AN_HOUR),))))

    assert (states(sim), points(sim)) == ([RunState.DONE], 1)


def test_a_report_that_nobody_saw_while_the_volume_was_left_alone_gives_no_mixed_tree() -> None:
    """The host is writing again when the tick comes back."""
    nights = (OwnNight(quiet=AN_HOUR, takes=A_MINUTE), OwnNight(takes=6 * AN_HOUR))
    silence = ((timedelta(0), 30 * AN_HOUR),)

    sim = play(Scenario(EARLY, FaultPlan(events=LOST, own_hosts=nights, silences=silence), nights=2))

    assert states(sim)[-1] is RunState.FAILED
    assert "left alone" in str(sim.catalog.find_runs("host.we0a")[-1].why)
    assert points(sim) == 1


@pytest.mark.parametrize(
    ("bad", "state", "taken"), [((True,), RunState.DONE, 2), ((True, True), RunState.FAILED, 2)], ids=["one", "two"]
)
def test_a_bad_snapshot_is_taken_once_more_and_no_third_time(
    bad: tuple[bool, ...], state: RunState, taken: int
) -> None:
    sim = play(Scenario(SMALL, FaultPlan(own_hosts=(FIRST,), bad_snapshots=bad)))

    assert (states(sim), sim.volumes.taken) == ([state], taken + 1)  # the receiver's own is the last
    assert points(sim) == (state is RunState.DONE)


def test_a_snapshot_that_takes_most_of_a_day_is_waited_for_and_the_next_report_waits_too() -> None:
    sim = play(Scenario(SMALL, FaultPlan(pace=Pace(to_snapshot=timedelta(hours=20))), nights=2))

    assert states(sim) == [RunState.DONE, RunState.DONE]


@pytest.mark.parametrize("status", [HostStatus.PARTIAL, HostStatus.SUSPECT, HostStatus.FAILED])
def test_a_host_that_is_not_complete_costs_no_snapshot_and_is_told(status: HostStatus) -> None:
    sim = play(Scenario(SMALL, FaultPlan(own_hosts=(OwnNight(says=status),) * 2), nights=2))

    assert (states(sim), own_snapshots(sim)) == ([RunState.FAILED] * 2, 0)
    word = "suspect" if status is HostStatus.SUSPECT else "missed"
    assert any(subject.startswith(f"{word}: host we0") for subject in sim.alarms.subjects)
    assert not any("run failed: run host.we0a" in subject for subject in sim.alarms.subjects)


def test_a_host_that_reports_another_volume_has_failed_and_is_told() -> None:
    sim = play(Scenario(SMALL, FaultPlan(own_hosts=(OwnNight(knows_its_volume=False),))))

    assert (states(sim), own_snapshots(sim)) == ([RunState.FAILED], 0)
    assert any("it reports volume vol-another" in subject for subject in sim.alarms.subjects)


def test_a_drill_proves_the_point_of_an_own_volume() -> None:
    sim = play(Scenario(SMALL, FaultPlan(deeds=(Deed(2 * AN_HOUR, Does.DRILL, "we0"),))))

    (recovery,) = sim.catalog.find_recoveries("we0a")
    assert recovery.verdict == "proven"


@pytest.mark.fault("O2")
def test_a_table_lost_at_any_moment_of_the_night_comes_back() -> None:
    for minute in range(0, 60, 3):
        deed = Deed(timedelta(minutes=minute), Does.LOSE_THE_TABLE)
        sim = play(Scenario(EARLY, FaultPlan(own_hosts=(OwnNight(at=40 * A_MINUTE),), deeds=(deed,))))

        assert (states(sim), points(sim), own_snapshots(sim)) == ([RunState.DONE], 1, 1), minute


@pytest.mark.fault("C1")
@pytest.mark.parametrize("events", [(Fate(),), LOST], ids=["told", "found"])
def test_a_lambda_that_dies_after_any_single_call_changes_nothing_about_the_end(events: tuple[Fate, ...]) -> None:
    scenario = Scenario(EARLY, FaultPlan(events=events, own_hosts=(OwnNight(at=31 * A_MINUTE),)))
    undisturbed = the_end(play(scenario))

    for at in count():
        call = CallFault("*", Says.DIES, skip=at, has_effect=True, at_deeds=True, until=AN_HOUR)
        sim = play(replace(scenario, plan=replace(scenario.plan, calls=(call,))))
        assert the_end(sim) == undisturbed, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at >= 70


@pytest.mark.fault("C3")
def test_another_invocation_between_any_two_calls_changes_nothing_about_the_end() -> None:
    """Before what does something, that is; before each look, too, with patience."""
    scenario = Scenario(EARLY, FaultPlan(own_hosts=(OwnNight(at=31 * A_MINUTE),), pace=Pace(to_show=3 * A_MINUTE)))
    undisturbed = the_end(play(scenario))

    for at in count():
        call = CallFault("*", Says.RIVAL, skip=at, at_deeds=not HAS_PATIENCE, until=AN_HOUR)
        sim = play(replace(scenario, plan=replace(scenario.plan, calls=(call,))))
        assert the_end(sim) == undisturbed, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at >= (100 if HAS_PATIENCE else 70)
