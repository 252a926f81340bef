"""What drills cost a month: by what the last ones took, and as many as are wanted or as there were."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import prices
from chalicelib.core.advice import Kind
from chalicelib.core.cost import Holding, estimate
from chalicelib.core.drill_cost import Drill, Drills, drills_of, part_of_drills
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState
from chalicelib.core.policy import DrillPolicy, HostPolicy, Policy
from chalicelib.errors import TransientError
from chalicelib.flows.cost import estimate_cost
from chalicelib.flows.policies import get_policy
from chalicelib.flows.preflight import preflight
from chalicelib.ports import StackRole
from tests.builders import A_KEY, A_POLICY_TEXT, a_moment, a_point, a_policy, a_recovery, a_run_id
from tests.fakes import FakeWorld
from tests.past import a_drill as a_whole_drill
from tests.past import a_world_with_a_past
from tests.recoveries import put_into_force

NOON, EVENING, A_DAY = a_moment(12), a_moment(20), timedelta(days=1)
WEEKLY = replace(a_policy(), drill=DrillPolicy(7))
TWO_A_WEEK = 2 * prices.DAYS_A_MONTH / 7


def a_drill(days_ago: float = 1, hours: float = 0.5, **known: object) -> Recovery:
    """Of us0, on a machine of the usual type."""
    opened = NOON - days_ago * A_DAY
    stood = {"machine_id": "i-1", "launched": opened, "instance_type": "t4g.medium"}
    ended = {"state": RecoveryState.DONE, "closed": opened + timedelta(hours=hours)}
    return replace(a_recovery(), opened=opened, **{**stood, **ended, **known})  # type: ignore[arg-type]


def latest(*drills: Recovery, policy: Policy = WEEKLY) -> Drills:
    return drills_of(drills, policy, NOON).get("main", Drills())


def usd(drills: Drills, volume_gib: int = 80, filled_gib: float = 20) -> float:
    return sum(part.usd for part in part_of_drills("receiver main", drills, volume_gib, filled_gib))


# -- what one costs ---------------------------------------------------------------------------------------------------


def test_a_drill_costs_its_machine_its_address_and_its_volume_by_the_hour_and_what_is_filled_by_the_gib() -> None:
    (part,) = part_of_drills("receiver main", latest(a_drill()), 80, 20.0)

    an_hour = 0.0336 + 0.005 + 80 * 0.08 / 730
    assert part.usd == pytest.approx(TWO_A_WEEK * (an_hour / 2 + 20 * 0.0012))
    assert part.is_of_drills
    assert part.what == "receiver main: drills"
    assert part.how == (
        "about 8.7, each at most 0.50 hours of a t4g.medium, an address and 80 GiB, of which 20.0 are filled"
    )


def test_each_machine_costs_what_its_own_type_does() -> None:
    drills = latest(a_drill(), a_drill(instance_type="m7g.medium"))

    alike = [latest(a_drill(instance_type=each), a_drill(instance_type=each)) for each in ("t4g.medium", "m7g.medium")]
    assert usd(drills) == pytest.approx(sum(map(usd, alike)) / 2)
    assert drills.instance_types == ("m7g.medium", "t4g.medium")


def test_a_machine_that_was_launched_late_costs_from_then_and_one_that_still_stands_until_now() -> None:
    late = a_drill(hours=2, launched=NOON - A_DAY + timedelta(hours=1))
    stands = a_drill(days_ago=0.25, state=RecoveryState.OPEN, closed=None)

    assert [drill.hours for drill in latest(late, stands).latest] == [1, 6]


def test_of_one_that_was_rebuilt_the_time_since_it_was_asked_for_counts_on_what_receivers_have() -> None:
    rebuilt = a_drill(hours=2, launched=None, instance_type=None)

    assert latest(rebuilt).latest == (Drill(2, "t4g.small"),)


def test_what_never_had_a_machine_and_what_is_no_drill_costs_nothing() -> None:
    without_room = a_drill(machine_id=None, launched=None, instance_type=None)
    others = [a_drill(kind=kind) for kind in (RecoveryKind.RESTORE, RecoveryKind.OPENING)]

    assert latest(without_room, *others) == Drills()
    assert usd(Drills()) == 0


def test_a_type_without_a_price_is_named_once_and_the_rest_is_counted() -> None:
    exotic = latest(*[a_drill(instance_type="x9g.huge")] * 2)
    holding = Holding("main", 80, drills=exotic)

    cost = estimate([holding, replace(holding, name="other")])

    assert cost.not_counted.count("the machine of a drill: x9g.huge has no price here") == 1
    assert cost.of_drills.usd_a_month > 0


# -- how many ---------------------------------------------------------------------------------------------------------


def test_as_many_as_the_policy_wants_before_there_were_so_many() -> None:
    assert latest(a_drill()).a_month == pytest.approx(TWO_A_WEEK)


def test_as_many_as_there_were_where_somebody_drills_more_often_and_where_no_policy_wants_any() -> None:
    twenty = [a_drill(days_ago=day) for day in range(20)]

    assert latest(*twenty).a_month == latest(*twenty, policy=a_policy()).a_month == pytest.approx(20 * 30.4 / 28)


def test_those_of_more_than_four_weeks_ago_are_over() -> None:
    assert latest(a_drill(days_ago=27.9), a_drill(days_ago=28)).latest == (Drill(0.5, "t4g.medium"),)


def test_where_the_policy_wants_fewer_than_one_in_four_weeks_the_last_one_of_each_host_counts() -> None:
    yearly = replace(a_policy(), drill=DrillPolicy(365))

    assert latest(a_drill(days_ago=300), policy=yearly).a_month == pytest.approx(2 * 30.4 / 365)


def test_the_drills_of_a_host_with_a_volume_of_its_own_are_its_own() -> None:
    web = HostPolicy("web1", "web1", (A_KEY,), target="volume", instance_id="i-0123456789abcdef0")
    policy = replace(WEEKLY, hosts={**WEEKLY.hosts, "web1": web})
    of_web = a_drill(point=a_point(run_id=a_run_id(receiver="host.web1")))

    found = drills_of([a_drill(), of_web], policy, NOON)

    assert found["host.web1"].a_month == pytest.approx(30.4 / 7)
    assert found["main"].a_month == pytest.approx(TWO_A_WEEK)


HOURS = st.lists(st.floats(0, 200), min_size=1, max_size=30)
WANTED, GIB = st.floats(0, 1000), st.integers(0, 65536)


def some(hours: list[float], wanted: float) -> Drills:
    return Drills(tuple(Drill(each, "t4g.medium") for each in hours), wanted_a_month=wanted)


@given(HOURS, st.floats(0, 200), WANTED, GIB, st.floats(0, 65536))
def test_no_drill_is_a_saving_that_takes_as_long_as_the_longest(
    hours: list[float], longer: float, wanted: float, size: int, filled: float
) -> None:
    more = [*hours, max(hours) + longer]

    assert usd(some(hours, wanted), size, filled) <= usd(some(more, wanted), size, filled) * (1 + 1e-9)


@given(HOURS, WANTED, WANTED, GIB, GIB)
def test_neither_more_of_them_nor_a_larger_volume_nor_a_fuller_one_is_a_saving(
    hours: list[float], wanted: float, more: float, size: int, larger: int
) -> None:
    least = usd(some(hours, wanted), size, size)

    for costs in (
        usd(some(hours, wanted + more), size, size),
        usd(some(hours, wanted), size + larger, size),
        usd(some(hours, wanted), size, size + larger),
    ):
        assert least <= costs * (1 + 1e-9)


@given(HOURS, WANTED)
def test_whatever_is_wanted_what_there_was_has_cost_no_less(hours: list[float], wanted: float) -> None:
    a_machine = 0.0336 + 0.005
    really = sum(hours) * a_machine * 30.4 / 28

    assert usd(some(hours, wanted), 0, 0) >= really * (1 - 1e-9)


# -- looked at --------------------------------------------------------------------------------------------------------


def a_world_whose_drills_may_cost(budget: str) -> FakeWorld:
    """Two nights and two drills of us0, each closed as soon as it was begun."""
    world = a_world_with_a_past()
    world.archive.put_once(world.settings.agent, b"the agent")
    put_into_force(world, f'{A_POLICY_TEXT}\n[drill]\nevery = "7 days"\nbudget = "{budget}"\n')
    return world


def test_the_estimate_is_of_the_drills_that_there_were() -> None:
    world = a_world_whose_drills_may_cost("1 USD/year")

    drills = estimate_cost(get_policy("000002", world), world, EVENING).of_drills

    (part,) = drills.parts
    assert part.how == (
        "about 8.7, each at most 0.00 hours of a t3a.medium, an address and 80 GiB, of which 80.0 are filled"
    )
    assert part.usd == pytest.approx(TWO_A_WEEK * 80 * 0.0012)


def test_a_preflight_tells_drills_over_their_budget_where_the_whole_has_none() -> None:
    over, within = (
        preflight(a_world_whose_drills_may_cost(text), EVENING).troubles for text in ("1 USD/year", "99 USD/year")
    )

    assert [(trouble.about, trouble.kind) for trouble in over] == [("budget/drills", Kind.DRILL_BUDGET)]
    assert within == ()


def test_where_nobody_could_look_drills_are_over_their_budget_as_before() -> None:
    world = a_world_whose_drills_may_cost("1 USD/year")
    preflight(world, EVENING)

    def cannot(*_: object) -> list[Recovery]:
        raise TransientError("no answer")

    world.catalog.find_recoveries = cannot  # type: ignore[method-assign]

    assert "budget/drills" in {trouble.about for trouble in preflight(world, EVENING + A_DAY).troubles}


def test_a_standby_is_asked_for_none_by_its_policy() -> None:
    world = a_world_whose_drills_may_cost("1 USD/year")
    standing_by = replace(world, settings=replace(world.settings, role=StackRole.STANDBY))
    a_whole_drill(world, EVENING)

    (part,) = estimate_cost(get_policy("000002", world), standing_by, EVENING).of_drills.parts

    assert part.how.startswith("about 3.3, each")
