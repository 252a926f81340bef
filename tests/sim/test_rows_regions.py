"""The rows of the table of faults that take a second region: A15 and A17, and what becomes of copies on their way."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.core import tags
from chalicelib.core.copying import RETRY_AFTER
from chalicelib.core.model import RecoveryKind, RecoveryState
from chalicelib.core.recovery import LASTS
from tests.fakes import FakeCatalog
from tests.sim.faults import CallFault, Fate, FaultPlan, Pace, Says
from tests.sim.night import A_DAY, A_TICK, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import SomePolicy

FOREVER = 1_000_000
COPIED = SomePolicy(copies="daily = 7")
LOST = Fate(copies=0)
UNTIL_A_RESTORE_ENDS = LASTS[RecoveryKind.RESTORE] + AN_HOUR


def there(**faults: Any) -> FaultPlan:
    return FaultPlan(there=FaultPlan(**faults))


def after_nights(nights: int, plan: FaultPlan, policy: SomePolicy = COPIED) -> Simulation:
    """The nights are over, and no time has passed since."""
    sim = Simulation(Scenario(policy, plan, nights=nights))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights:
            sim.go_through(night)
    return sim


def followed(sim: Simulation) -> datetime:
    """When all is copied and has become restore points over there, with a tick every five minutes for a day at most."""
    latest = sim.agenda.now + A_DAY
    with sim.doors_open():
        while (sim.uncopied() or sim.unfollowed()) and sim.agenda.now < latest:
            sim.tick()
            sim.agenda.run_until(sim.agenda.now + A_TICK)
    return sim.agenda.now


def states(sim: Simulation) -> list[tuple[RecoveryState, str | None]]:
    return [(each.state, each.verdict) for each in sim.standby.catalog.find_recoveries()]


@pytest.mark.fault("A15")
@pytest.mark.parametrize("is_table_lost", [False, True], ids=["with its table", "and its table is lost as well"])
def test_a15_when_the_region_is_out_the_other_one_restores_every_host_from_what_is_there(is_table_lost: bool) -> None:
    sim = after_nights(2, there())
    followed(sim)
    sim.lose_the_region()

    with sim.doors_open():
        if is_table_lost:
            vars(sim.standby.catalog).update(vars(FakeCatalog()))
            sim.standby.call("rebuild")
        sim.standby.call("drill", host="us0", at=None)
        sim.standby.call("restore", host="eu0", at=None)
        sim.standby.pass_time(UNTIL_A_RESTORE_ENDS)

    assert states(sim) == [(RecoveryState.DONE, "proven")] * 2
    assert len(sim.standby.catalog.find_points()) == 4
    assert [box.machine.state for box in sim.standby.machines.boxes.values()] == ["terminated"] * 2
    assert sim.standby.volumes.volumes == {}


@pytest.mark.fault("A15")
def test_a15_a_copy_on_its_way_when_the_region_goes_is_no_restore_point_and_the_night_before_is_restored() -> None:
    sim = after_nights(2, there(pace=Pace(to_snapshot=2 * AN_HOUR)))
    sim.lose_the_region()

    with sim.doors_open():
        sim.standby.pass_time(4 * AN_HOUR)
        sim.standby.call("restore", host="us0", at=None)
        sim.standby.pass_time(UNTIL_A_RESTORE_ENDS)

    (recovery,) = sim.standby.catalog.find_recoveries()
    assert [copy.state for copy in sim.standby.volumes.snapshots.values()] == ["completed", "error"]
    assert (recovery.state, recovery.verdict) == (RecoveryState.DONE, "proven")
    assert str(recovery.point.run) == "main/2026-11-23/1"


@pytest.mark.fault("A15")
def test_a15_while_the_other_region_does_not_answer_the_nights_go_on_and_their_snapshots_wait_for_it() -> None:
    out = CallFault("copies.*", Says.NO_ANSWER, times=FOREVER, until=40 * AN_HOUR)

    sim = play(Scenario(replace(COPIED, retention="last = 1"), FaultPlan(calls=(out,)), nights=4))

    assert {str(run.id): run.state.value for run in sim.runs()} == {
        f"main/2026-11-{day}/1": "done" for day in (23, 24, 25, 26)
    }
    assert len({point.run for point in sim.standby.catalog.find_points()}) == 4


@pytest.mark.fault("A17")
def test_a17_when_every_event_of_the_other_region_is_missed_its_tick_makes_the_points_within_ten_minutes() -> None:
    sim = after_nights(1, there(events=(LOST,), pace=Pace(to_snapshot=AN_HOUR)))

    (copy,) = sim.standby.volumes.snapshots.values()
    at = followed(sim)

    assert at - (copy.started + AN_HOUR) <= 2 * A_TICK
    assert {point.host_id for point in sim.standby.catalog.find_points()} == {"us0a", "eu0a"}


@pytest.mark.fault("A17")
@pytest.mark.parametrize("events", [(Fate(100),), (Fate(3, timedelta(hours=9)),), (LOST, Fate(2))])
def test_a17_events_that_come_often_or_late_make_the_same_points(events: tuple[Fate, ...]) -> None:
    sim, quiet = (play(Scenario(COPIED, each, nights=2)) for each in (there(events=events), there()))

    assert sim.standby.catalog.points == quiet.standby.catalog.points
    assert len(sim.copies.asked) == 2


@pytest.mark.fault("A17")
def test_a17_a_copy_that_nobody_was_woken_to_ask_for_is_asked_for_by_the_tick() -> None:
    sim = after_nights(1, FaultPlan(invocations=(*[Fate()] * 3, *[LOST] * 6, *[Fate()] * 200)))

    followed(sim)

    assert len(sim.copies.asked) == 1


# -- copies on their way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [0, 3, 4.5])
def test_a_copy_whose_answer_was_lost_is_not_made_twice(minutes: float) -> None:
    lost = CallFault("copies.copy", Says.NO_ANSWER, has_effect=True)
    slow = FaultPlan(pace=Pace(to_show=timedelta(minutes=minutes)))

    sim = play(Scenario(COPIED, FaultPlan(calls=(lost,), there=slow)))

    assert len(sim.copies.asked) == 1
    assert len(sim.standby.catalog.find_points()) == 2


def test_a_copy_that_ends_in_an_error_is_asked_for_again_and_only_the_good_one_is_a_restore_point() -> None:
    sim = after_nights(1, there(bad_snapshots=(True,)))
    followed(sim)

    broken, good = sim.standby.volumes.snapshots.values()
    assert (broken.state, good.state) == ("error", "completed")
    assert good.started - broken.started >= RETRY_AFTER
    assert {point.snapshot_id for point in sim.standby.catalog.find_points()} == {good.id}


def test_a_source_stays_until_its_copy_is_complete_whatever_is_kept_of_it() -> None:
    slow = there(pace=Pace(to_snapshot=60 * AN_HOUR))

    sim = play(Scenario(replace(COPIED, retention="last = 1"), slow, nights=7))

    copied = [copy for copy in sim.standby.volumes.snapshots.values() if copy.state == "completed"]
    assert sim.volumes.deleted
    assert sim.volumes.deleted <= {copy.tags[tags.SOURCE] for copy in copied}
    assert sim.torn == []


def test_a_copy_does_not_outlive_the_rules_of_its_region_however_long_its_source_stays() -> None:
    sim = play(Scenario(replace(COPIED, copies="last = 1"), there(), nights=4))

    assert len(sim.volumes.snapshots) == 4
    assert len(sim.standby.volumes.deleted) >= 2
    assert {str(point.run) for point in sim.standby.catalog.find_points("us0a")} == {"main/2026-11-26/1"}
    assert len(sim.copies.asked) == 4
