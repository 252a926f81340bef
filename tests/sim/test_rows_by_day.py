"""The rows of the table of faults that are found out by day: what would cost a night is told before its window."""

from datetime import timedelta
from itertools import count

import pytest

from chalicelib.core.model import RunState
from chalicelib.core.preflight import SILENT_AFTER, Key, QuotaName
from tests.builders import a_moment
from tests.fakes import some_settings
from tests.sim.faults import CallFault, FaultPlan, Pace, Says
from tests.sim.night import A_DAY, Scenario, Simulation
from tests.sim.play import play

REGION = some_settings().region
SECOND_NIGHT = a_moment(2, day=24)
TWO_NIGHTS = Scenario(nights=2)


def a_simulation(scenario: Scenario = TWO_NIGHTS) -> Simulation:
    sim = Simulation(scenario)
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        sim.go_through(sim.nights[0])
    return sim


def until_the_next_window(sim: Simulation) -> None:
    with sim.doors_open():
        sim.pass_time(SECOND_NIGHT)


@pytest.mark.fault("A12")
@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a12_a_key_that_is_disabled_by_day_is_told_before_the_next_window_opens(state: str) -> None:
    sim = a_simulation()
    key_id = sim.account.default
    sim.agenda.at(a_moment(11, 59), lambda: sim.account.keys.update({key_id: Key(key_id, REGION, state)}))

    until_the_next_window(sim)

    told = sim.alarms.when(f"key {key_id} in {REGION} is {state}")
    assert told is not None
    assert a_moment(12) <= told < a_moment(12, 5)


@pytest.mark.fault("A12")
def test_a12_the_next_day_tells_that_an_enabled_key_is_well_again() -> None:
    sim = a_simulation()
    key_id = sim.account.default
    sim.account.keys[key_id] = Key(key_id, REGION, "Disabled")
    until_the_next_window(sim)

    sim.account.keys.clear()
    with sim.doors_open():
        sim.pass_time(SECOND_NIGHT + A_DAY)

    assert sim.alarms.when("the encryption keys is well again") == a_moment(12, day=24) + timedelta(seconds=1)


@pytest.mark.fault("A13")
@pytest.mark.parametrize("name", [QuotaName.VCPUS, QuotaName.SNAPSHOTS, QuotaName.GP3])
def test_a13_a_quota_that_the_next_night_does_not_fit_into_is_told_by_day(name: QuotaName) -> None:
    sim = a_simulation()
    sim.account.limits[REGION, name] = sim.account.used[REGION, name] = 100

    until_the_next_window(sim)

    told = sim.alarms.when(f"100 of 100 {name} in {REGION} are used, and the next night needs")
    assert told is not None
    assert a_moment(12) <= told < a_moment(12, 5)


MORNING = a_moment(12)


def a_night_that_fills_the_disk(scenario: Scenario) -> Simulation:
    """77 of 80 GiB; and by noon the policy wants 120."""
    sim = Simulation(scenario)
    sim.volumes.used_gib = 77
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        sim.go_through(sim.nights[0])
        sim.pass_time(MORNING)
        sim.call("apply_policy", text=sim.scenario.policy.text.replace("80GiB", "120GiB"), expected="000001")
    return sim


def go_through_the_next(sim: Simulation) -> None:
    with sim.doors_open():
        sim.go_through(sim.nights[1])
        sim.pass_time(SECOND_NIGHT + A_DAY)


@pytest.mark.fault("R5", lacks="ext4's quotas on a kernel that has them")
def test_r5_a_disk_that_is_almost_full_is_told_and_larger_the_next_night() -> None:
    sim = a_night_that_fills_the_disk(TWO_NIGHTS)

    go_through_the_next(sim)

    (volume,) = sim.volumes.volumes.values()
    assert sim.alarms.when("the volume of receiver main is 96% full") is not None
    assert volume.size_gib == 120
    assert sim.alarms.when("the volume of receiver main is well again") is not None
    assert [run.state for run in sim.runs()] == [RunState.DONE] * 2


@pytest.mark.fault("R5", lacks="ext4's quotas on a kernel that has them")
@pytest.mark.parametrize(
    "plan",
    [
        FaultPlan(calls=(CallFault("volumes.grow", Says.DENIED, times=99),)),
        FaultPlan(calls=(CallFault("volumes.grow", Says.NO_ANSWER, times=99),)),
        FaultPlan(pace=Pace(to_grow=timedelta(days=9))),
    ],
    ids=["refused", "no answer", "stuck"],
)
def test_r5_a_volume_that_does_not_grow_costs_no_night_and_stays_told(plan: FaultPlan) -> None:
    sim = a_night_that_fills_the_disk(Scenario(plan=plan, nights=2))

    go_through_the_next(sim)

    (volume,) = sim.volumes.volumes.values()
    assert volume.size_gib == 80
    assert [run.state for run in sim.runs()] == [RunState.DONE] * 2
    assert sim.alarms.when("the volume of receiver main is well again") is None


@pytest.mark.fault("R5", lacks="ext4's quotas on a kernel that has them")
def test_r5_wherever_the_lambda_dies_the_volume_is_asked_to_grow_once_at_most() -> None:
    since = SECOND_NIGHT - a_moment(1, 55)
    for at in count():
        dies = CallFault("*", Says.DIES, skip=at, has_effect=True, since=since, until=since + timedelta(minutes=10))
        sim = a_night_that_fills_the_disk(Scenario(plan=FaultPlan(calls=(dies,)), nights=2))
        go_through_the_next(sim)

        assert str(sim.story).count("grow to 120 GiB") <= 1, f"call {at}\n{sim.story}"
        assert [run.state for run in sim.runs()] == [RunState.DONE] * 2, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at > 30


def test_a_preflight_that_finds_the_worst_delays_no_night() -> None:
    sim, quiet = a_simulation(), a_simulation()
    sim.account.keys[sim.account.default] = Key(sim.account.default, REGION, "PendingDeletion")
    for each in (sim, quiet):
        with each.doors_open():
            each.go_through(each.nights[1])

    assert sim.runs() == quiet.runs()


def test_a_preflight_that_comes_no_more_is_told() -> None:
    lost = CallFault("catalog.record_preflight", Says.NO_ANSWER, times=1_000_000)

    sim = play(Scenario(plan=FaultPlan(calls=(lost,)), nights=4))

    first_run = min(run.opened for run in sim.runs())
    assert sim.alarms.when("no preflight is known") == first_run + SILENT_AFTER + timedelta(seconds=1)
