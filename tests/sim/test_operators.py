"""What operators change while the nights go on: nothing that somebody or some rule keeps goes, and nothing at once."""

from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.model import RecoveryState, RunState
from tests.sim.faults import Deed, Does, FaultPlan
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.operator import Operator
from tests.sim.play import play
from tests.sim.policies import SomePolicy

NOON = 10 * AN_HOUR
SHORT = SomePolicy(retention="last = 1")
IN_BOTH = SomePolicy(retention="last = 1", copies="last = 1")


def after(nights: float, does: Does, of: str) -> Deed:
    """At noon after so many nights: the first is over at noon of its day."""
    return Deed(NOON + (nights - 1) * A_DAY, does, of)


def days(sim: Simulation, host_id: str) -> list[int]:
    return [point.at.day for point in sim.catalog.find_points(host_id)]


def test_what_is_held_stays_however_short_the_rules_are_and_goes_a_night_and_more_after_its_release() -> None:
    hold, release = after(1, Does.HOLD, "us0"), after(6, Does.RELEASE, "us0")

    held = play(Scenario(SHORT, FaultPlan(deeds=(hold,)), nights=6))
    let_go = play(Scenario(SHORT, FaultPlan(deeds=(hold, replace_at(release, held))), nights=9))

    assert days(held, "us0a")[0] == 23
    assert held.volumes.deleted
    assert 23 not in days(let_go, "us0a")


def replace_at(release: Deed, held: Simulation) -> Deed:
    """The request names the snapshot: the host's newest point is another one by then."""
    (snapshot_id,) = held.held
    return Deed(release.after, Does.RELEASE, snapshot_id)


def test_a_host_that_left_keeps_its_points_however_many_nights_go_by() -> None:
    sim = play(Scenario(SHORT, FaultPlan(deeds=(after(2, Does.REMOVE, "us0"),)), nights=6))

    assert days(sim, "us0a") == [23, 24]
    assert len(days(sim, "eu0a")) <= 4
    assert [run.state for run in sim.runs()] == [RunState.DONE] * 6


def test_the_points_of_a_host_that_is_forgotten_are_marked_by_the_next_night_and_gone_after_another() -> None:
    deeds = (after(2, Does.REMOVE, "us0"), after(3, Does.FORGET, "us0"))

    soon, later = (play_until(nights, deeds) for nights in (4, 6))

    marked = [each.tags.get(tags.MARKED) for each in soon.volumes.snapshots.values()]
    assert days(soon, "us0a") == [23, 24]
    assert [bool(mark) for mark in marked] == [True, True, True, False]
    assert days(later, "us0a") == []
    assert days(later, "eu0a")


def play_until(nights: int, deeds: tuple[Deed, ...]) -> Simulation:
    """The nights alone, without the day after the last one."""
    sim = Simulation(Scenario(SHORT, FaultPlan(deeds=deeds), nights=nights))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        operator = Operator(sim)
        for deed in deeds:
            operator.do(deed)
        for night in sim.nights:
            sim.go_through(night)
        sim.agenda.run_until(sim.agenda.now + timedelta(minutes=1))
    return sim


def test_a_host_that_is_in_the_policy_again_is_forgotten_no_more() -> None:
    deeds = (after(2, Does.REMOVE, "us0"), after(2.1, Does.FORGET, "us0"), after(2.2, Does.ADD, "us0"))

    sim = play(Scenario(SomePolicy(), FaultPlan(deeds=deeds), nights=5))

    assert days(sim, "us0a") == [23, 24, 25, 26, 27]


@pytest.mark.parametrize("name", ["us0", "sa1"])
def test_a_host_that_is_in_force_or_unknown_is_not_forgotten(name: str) -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(after(1, Does.FORGET, name),)), nights=2))

    assert "Refused: host" in str(sim.story)
    assert days(sim, "us0a") == [23, 24]


def test_copies_that_are_switched_off_and_on_again_lose_nothing_here_or_there() -> None:
    deeds = (after(2, Does.COPY, ""), after(4, Does.COPY, "last = 1"))

    sim = play(Scenario(IN_BOTH, FaultPlan(deeds=deeds), nights=6))

    assert sim.copies.asked == ["snap-0002", "snap-0003", "snap-0005", "snap-0006", "snap-0007"]
    assert {str(point.run) for point in sim.standby.catalog.find_points("us0a")} == {"main/2026-11-28/1"}
    assert days(sim, "us0a")[-1] == 28


def test_rules_that_grow_again_keep_what_was_marked_and_not_deleted_yet() -> None:
    deeds = (after(3, Does.APPLY, "last = 1"), after(4, Does.APPLY, "daily = 30"))

    sim = play(Scenario(SomePolicy(retention="daily = 30"), FaultPlan(deeds=deeds), nights=6))

    assert days(sim, "us0a") == [23, 24, 25, 26, 27, 28]
    assert not any(each.tags.get(tags.MARKED) for each in sim.volumes.snapshots.values())


def test_a_drill_in_the_second_region_proves_the_copy_and_leaves_nothing_behind() -> None:
    sim = play(Scenario(IN_BOTH, FaultPlan(deeds=(after(1, Does.DRILL_THERE, "us0"),)), nights=2))

    (drill,) = sim.standby.catalog.find_recoveries()
    (proven,) = [point for point in sim.standby.catalog.find_points("us0a") if point.proven]
    assert (drill.state, drill.verdict) == (RecoveryState.DONE, "proven")
    assert proven.snapshot_id == drill.point.snapshot_id
    assert sim.standby.volumes.volumes == {}
