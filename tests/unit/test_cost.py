"""What a month costs: every part by its list price, every guess from above, and an alarm when it is over the budget."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wire
from chalicelib.core import prices, tags
from chalicelib.core.advice import Kind
from chalicelib.core.bill import Cost, Part, a_month_of, budgets, over_budget
from chalicelib.core.cost import Holding, Night, estimate, sent_by, stored_gib
from chalicelib.core.model import Quota, Snapshot
from chalicelib.core.policy import AlarmPolicy, DrillPolicy, Policy, VolumePolicy
from chalicelib.errors import Refused
from chalicelib.flows.cost import cost_of_a_month, estimate_cost
from chalicelib.flows.policies import get_policy
from chalicelib.flows.preflight import preflight
from chalicelib.ports import StackRole
from ebbtide_console import session
from ebbtide_console.cli.main import main
from tests.builders import (
    A_POLICY_TEXT,
    a_disk,
    a_moment,
    a_policy,
    a_receiver,
    a_result,
    a_run,
    a_snapshot,
    a_volume,
)
from tests.fakes import FakeWorld, a_world
from tests.past import a_night as a_whole_night

NOON, THERE, GIB = a_moment(12), "eu-central-1", 2**30


def a_holding(**known: object) -> Holding:
    """A receiver of 80 GiB that stands an hour a night, 20 GiB of them used, of which 1 GiB a night is sent."""
    nights = tuple(Night(1.0, GIB, a_disk(20)) for _ in range(7))
    holding = Holding("main", 80, policy=a_receiver(), nights=nights, volumes_gib=(80,))
    return replace(holding, **known)  # type: ignore[arg-type]


def of(cost: Cost, what: str) -> Part:
    (part,) = (part for part in cost.parts if part.what.endswith(what))
    return part


def daily(count: int) -> tuple[datetime, ...]:
    return tuple(a_moment(3, day=1) + timedelta(days=day) for day in range(count))


# -- parts ------------------------------------------------------------------------------------------------------------


def test_machine_and_address_are_paid_for_by_the_hour_and_the_volume_by_the_month() -> None:
    cost = estimate([a_holding()])

    assert of(cost, "machine").usd == pytest.approx(30.4 * 0.0168)
    assert of(cost, "public address").usd == pytest.approx(30.4 * 0.005)
    assert of(cost, ": volume").usd == pytest.approx(80 * 0.08)


def test_what_was_set_aside_is_paid_for_as_long_as_it_is_there() -> None:
    cost = estimate([a_holding(aside_gib=(80, 60)), a_holding(name="gone", policy=None, aside_gib=(10,))])

    assert of(cost, "main: volumes set aside").usd == pytest.approx(140 * 0.08)
    assert of(cost, "gone: volumes set aside").usd == pytest.approx(0.8)


def test_the_snapshots_of_a_hosts_own_volume_are_called_by_the_host() -> None:
    cost = estimate([a_holding(name="host.web1", policy=None, snapshots=daily(2))])

    assert of(cost, "snapshots").what == "host web1: snapshots"


def test_seven_dailies_are_one_whole_and_six_nights() -> None:
    part = of(estimate([a_holding(snapshots=daily(7))]), "snapshots")

    assert part.usd == pytest.approx((20 + 6) * 0.05)
    assert part.how == "about 26.0 GiB: 7 of them, the first 20.0 GiB used, then 1.00 GiB a night"


def test_where_no_receiver_has_measured_the_first_snapshot_counts_as_the_whole_volume() -> None:
    unmeasured = a_holding(nights=(Night(1.0, GIB, None),), snapshots=daily(1))

    part = of(estimate([unmeasured]), "snapshots")

    assert part.usd == pytest.approx(80 * 0.05)
    assert "at most 80 GiB, the whole volume" in part.how


def test_a_night_that_sent_next_to_nothing_costs_what_ebs_sees_of_one() -> None:
    idle = a_holding(nights=(Night(1.0, 0, a_disk(20)),), snapshots=daily(2))

    assert of(estimate([idle]), "snapshots").usd == pytest.approx((20 + 74 / 1024) * 0.05)


def test_whatever_its_hosts_say_a_night_has_changed_no_more_than_there_is() -> None:
    lying = Night(1.0, 10**30, a_disk(20))
    honest = a_holding().nights[:6]

    cost = estimate([a_holding(nights=(lying, *honest), snapshots=daily(2), copies=daily(2), is_copied=True)])

    a_night = (20 + 6) / 7
    assert of(cost, "snapshots").usd == pytest.approx((20 + a_night) * 0.05)
    assert of(cost, "other region").usd == pytest.approx(a_night * 30.4 * 0.02)


def test_whatever_its_hosts_say_a_night_has_changed_no_less_than_the_volume_has_grown_by() -> None:
    silent = (Night(1.0, 0, a_disk(26)), Night(1.0, 0, None), Night(1.0, 0, a_disk(20)))

    assert a_holding(nights=silent).changed_gib_a_night == pytest.approx(2.0)


def test_the_largest_snapshot_bounds_what_the_host_of_a_volume_of_its_own_says() -> None:
    own = a_holding(policy=None, nights=(Night(1.0, 10**30, None),), snapshots=daily(2))

    assert of(estimate([own]), "snapshots").usd == pytest.approx(2 * 80 * 0.05)


def test_a_host_has_sent_no_more_than_its_receiver_found_of_it_and_all_no_more_than_the_volume_holds() -> None:
    run = replace(a_run(), disk=a_disk(20))
    lying = replace(a_result("us0"), bytes_sent=10**30)
    found = replace(lying, quota=Quota(None, 3 * GIB))
    unfound = replace(lying, quota=Quota(30 * GIB, None, "without root"))

    assert sent_by([found, a_result("eu0")], run) == 3 * GIB + 1000
    assert [sent_by([each], run) for each in (lying, unfound)] == [20 * GIB] * 2
    assert sent_by([lying], replace(run, disk=None)) == 10**30


def test_copies_cost_as_snapshots_do_and_the_way_there_as_well() -> None:
    cost = estimate([a_holding(copies=daily(2), is_copied=True)])

    assert of(cost, "copies").usd == pytest.approx(21 * 0.05)
    assert of(cost, "other region").usd == pytest.approx(30.4 * 0.02)


def test_an_ephemeral_volume_is_paid_for_while_its_run_is_open() -> None:
    ephemeral = replace(a_receiver(), volume=VolumePolicy(80, mode="ephemeral"))

    part = of(estimate([a_holding(policy=ephemeral, volumes_gib=())]), ": volume")

    assert part.usd == pytest.approx(80 * 0.08 * 30.4 / 730)


def test_a_type_without_a_price_is_said_to_have_none_and_is_not_counted() -> None:
    exotic = replace(a_receiver(), instances=("x9g.huge",))

    cost = estimate([a_holding(policy=exotic)])

    assert cost.not_counted[0] == "the machine of receiver main: x9g.huge has no price here"
    assert [part.what for part in cost.parts if part.what.endswith("machine")] == []


def test_a_receiver_that_left_the_policy_costs_its_snapshots() -> None:
    gone = a_holding(policy=None, volumes_gib=(), snapshots=daily(1))

    assert [part.what for part in estimate([gone]).parts if part.what.startswith("receiver")] == [
        "receiver main: snapshots"
    ]


def test_before_the_first_night_a_receiver_costs_its_volume() -> None:
    new = a_holding(nights=(), volumes_gib=())

    assert [part.what for part in estimate([new]).parts if part.what.startswith("receiver")] == [
        "receiver main: volume"
    ]


TIMES = st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), min_size=1, max_size=20)


@given(TIMES, st.floats(0, 1000), st.floats(0, 100))
def test_what_is_stored_is_at_least_one_whole_and_at_most_as_many_as_there_are(
    taken: list[datetime], whole: float, changed: float
) -> None:
    stored = stored_gib(taken, whole, changed)

    assert whole <= stored <= whole * len(taken) * (1 + 1e-9)


@given(TIMES, st.floats(0, 1000), st.floats(0, 100))
def test_another_snapshot_is_never_a_saving(taken: list[datetime], whole: float, changed: float) -> None:
    fewer = stored_gib(taken[1:], whole, changed)

    assert fewer <= stored_gib(taken, whole, changed) * (1 + 1e-9)


def test_the_parts_are_the_whole_and_the_largest_comes_first() -> None:
    cost = estimate([a_holding(snapshots=daily(7), copies=daily(2), is_copied=True)])

    costs = [part.usd for part in cost.parts]
    assert cost.usd_a_month == pytest.approx(sum(costs))
    assert costs == sorted(costs, reverse=True)


# -- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "usd"), [("200 USD/year", 200 / 12), ("17.50 USD/month", 17.5)])
def test_a_budget_is_what_it_says_a_month(text: str, usd: float) -> None:
    assert a_month_of(text) == pytest.approx(usd)


def within(whole: str | None = None, drills: str | None = None) -> Policy:
    return replace(a_policy(), alarm=AlarmPolicy(budget=whole), drill=DrillPolicy(7, drills))


def test_more_than_the_budget_is_told_with_the_three_largest_parts() -> None:
    cost = estimate([a_holding(snapshots=daily(7))])

    (trouble,) = over_budget(budgets(cost, within("100 USD/year")), NOON)

    assert trouble.kind is Kind.BUDGET
    assert trouble.what == (
        f"it costs about {cost.usd_a_month:.2f} USD a month, {12 * cost.usd_a_month:.0f} a year; "
        "the budget is 100 USD/year"
    )
    assert [detail.partition(" (")[0] for detail in trouble.details] == [
        "receiver main: volume: 6.40 USD",
        "CloudWatch: 2.40 USD",
        "receiver main: snapshots: 1.30 USD",
    ]


@pytest.mark.parametrize("budget", [None, "500 USD/year", "11.71 USD/month"])
def test_within_the_budget_or_without_one_nothing_is_told(budget: str | None) -> None:
    cost = Cost((Part("all of it", 11.71, "", is_of_drills=True),))

    assert list(over_budget(budgets(cost, within(budget, budget)), NOON)) == []


def test_drills_over_their_budget_are_told_by_themselves_with_the_parts_that_they_have() -> None:
    cost = Cost((Part("volume", 90.0, ""), Part("drills", 5.0, "about 8.7", is_of_drills=True)))

    (trouble,) = over_budget(budgets(cost, within("2000 USD/year", "24 USD/year")), NOON)

    assert (trouble.about, trouble.kind) == ("budget/drills", Kind.DRILL_BUDGET)
    assert trouble.what == "drills cost about 5.00 USD a month, 60 a year; the budget of drills is 24 USD/year"
    assert trouble.details == ("drills: 5.00 USD (about 8.7)",)


PARTS = st.lists(st.builds(Part, st.just("part"), st.floats(0, 1000), st.just(""), st.booleans()), max_size=5)
LIMITS = st.one_of(st.none(), st.integers(1, 10_000).map("{} USD/month".format))


@given(PARTS, LIMITS, LIMITS)
def test_each_budget_is_told_by_its_own_parts_alone(parts: list[Part], whole: str | None, drills: str | None) -> None:
    cost = Cost(tuple(parts))

    told = {trouble.kind for trouble in over_budget(budgets(cost, within(whole, drills)), NOON)}

    usd, of_drills = sum(each.usd for each in parts), sum(each.usd for each in parts if each.is_of_drills)
    assert (Kind.BUDGET in told) == (whole is not None and usd > a_month_of(whole))
    assert (Kind.DRILL_BUDGET in told) == (drills is not None and of_drills > a_month_of(drills))


# -- looked at --------------------------------------------------------------------------------------------------------


def a_world_with_two_nights(budget: str = "5 USD/year", copies: bool = False) -> FakeWorld:
    text = A_POLICY_TEXT + f'\n[alarm]\nbudget = "{budget}"\n'
    text += f'\n[copy]\nregion = "{THERE}"\nretention = {{ daily = 2 }}\n' if copies else ""
    world = a_world()
    world.archive.put_once("policies/000001.toml", text.encode())
    world.catalog.set_policy_version("000001", None)
    world.archive.put_once(world.settings.agent, b"the agent")
    for day in (22, 23):
        a_whole_night(world, day, disk=a_disk(20))
    return world


def test_the_estimate_is_of_what_is_there_and_what_the_nights_did() -> None:
    world = a_world_with_two_nights()
    aside = {tags.ROLE: tags.Role.ASIDE, tags.RECEIVER: "main"}
    world.volumes.volumes["vol-9"] = replace(a_volume("vol-9"), size_gib=70, tags=aside)

    whole, drills = cost_of_a_month(world, NOON)
    cost = whole.cost

    assert (whole.limit, drills.limit) == ("5 USD/year", None)
    assert of(cost, "machine").how == f"at most {1.5 * 30.4:.1f} hours of a t4g.small"
    assert of(cost, ": volume").how == "80 GiB of gp3"
    assert of(cost, ": volumes set aside").how == "70 GiB that were damaged"
    assert of(cost, "snapshots").how.startswith("about 20.")
    assert ": 2 of them, the first 20.0 GiB used" in of(cost, "snapshots").how


def test_copies_over_there_count_and_so_do_snapshots_of_receivers_that_left() -> None:
    world = a_world_with_two_nights(copies=True)
    tagged = {**a_snapshot().tags, tags.ROLE: tags.Role.COPY}
    world.copies.by_region[THERE] = {"snap-dr": Snapshot("snap-dr", "completed", NOON, "vol-f", 80, 100, tagged)}
    left = {**a_snapshot().tags, tags.RECEIVER: "gone"}
    world.volumes.snapshots["snap-left"] = replace(a_snapshot("snap-left"), size_gib=500, tags=left)

    cost = cost_of_a_month(world, NOON)[0].cost

    assert of(cost, "main: copies").usd == pytest.approx(1.0)
    assert of(cost, "gone: snapshots").usd == pytest.approx(25.0)


def test_a_preflight_tells_what_is_over_the_budget() -> None:
    over, within = (preflight(a_world_with_two_nights(text), NOON) for text in ("5 USD/year", "900 USD/year"))

    assert [trouble.about for trouble in over.troubles] == ["budget"]
    assert within.troubles == ()


def test_a_standby_costs_its_copies_and_tells_no_budget() -> None:
    world = a_world_with_two_nights()
    standing_by = replace(world, settings=replace(world.settings, role=StackRole.STANDBY))
    for snapshot in world.volumes.snapshots.values():
        snapshot.tags[tags.ROLE] = tags.Role.COPY  # type: ignore[index]

    cost = estimate_cost(get_policy("000001", world), standing_by, NOON)

    assert [part.what for part in cost.parts if part.what.startswith("receiver")] == ["receiver main: snapshots"]
    assert preflight(standing_by, NOON).troubles == ()


def test_without_a_policy_nothing_costs() -> None:
    with pytest.raises(Refused, match="no policy is in force"):
        cost_of_a_month(a_world(), NOON)


# -- shown ------------------------------------------------------------------------------------------------------------


def test_the_command_shows_every_part_the_sum_the_budget_and_what_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = (
        Part("receiver main: volume", 6.4, "80 GiB of gp3"),
        Part("receiver main: drills", 1.25, "about 8.7", is_of_drills=True),
    )
    answer = wire.priced(*budgets(Cost(parts, ("restores",)), within("5 USD/month", "24 USD/year")))
    monkeypatch.setattr(session, "invoke", lambda function, payload: {"cost": answer}[function])

    code = main(["cost"])

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines[:6] == [
        "part USD a month how it came about",
        "receiver main: volume 6.40 80 GiB of gp3",
        "receiver main: drills 1.25 about 8.7",
        "together 7.65 about 92 USD a year",
        "budget: 5 USD/month, over it",
        "drills: 1.25 USD of that a month; budget: 24 USD/year, within it",
    ]
    assert "not counted: restores" in lines
    assert lines[-1] == f"an estimate by {prices.AS_OF}; the truth is in AWS's bill"


def test_of_a_deployment_that_does_not_tell_drills_apart_the_command_shows_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = wire.priced(*budgets(Cost(()), within()))
    del answer["drills"]
    monkeypatch.setattr(session, "invoke", lambda function, payload: {"cost": answer}[function])

    assert main(["cost"]) == 0
    assert "drills" not in capsys.readouterr().out
