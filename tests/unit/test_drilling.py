"""Drills that nobody asks for: whose turn it is, how many at a time, and that the tick begins them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.drilling import find_due, in_turn, room
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState
from chalicelib.core.policy import DrillPolicy, Policy
from chalicelib.flows.begin_drills import Begun, begin_drills
from chalicelib.flows.tick import tick
from chalicelib.ports import StackRole
from tests.builders import A_KEY, A_POLICY_TEXT, a_moment, a_point, a_policy, a_recovery, a_recovery_id, a_snapshot
from tests.fakes import FakeWorld, a_world

NOON = a_moment(12)
WEEKLY = replace(a_policy(), drill=DrillPolicy(7))
A_WEEK = timedelta(days=7)


def a_drill(host_id: str, opened: datetime, state: RecoveryState = RecoveryState.DONE) -> Recovery:
    recovery_id = replace(a_recovery_id(host_id), day=opened.date())
    return replace(a_recovery(recovery_id=recovery_id), opened=opened, state=state)


def due(*recoveries: Recovery, policy: Policy = WEEKLY) -> list[str]:
    return [host.name for host in find_due(policy, recoveries, NOON)]


def test_who_was_never_drilled_comes_first_and_then_who_has_waited_longest() -> None:
    eight, nine = a_drill("us0a", NOON - timedelta(days=8)), a_drill("eu0a", NOON - timedelta(days=9))

    assert due() == ["us0", "eu0"]
    assert due(eight) == ["eu0", "us0"]
    assert due(eight, nine) == ["eu0", "us0"]


@pytest.mark.parametrize(
    ("ago", "is_due"), [(A_WEEK, True), (A_WEEK - timedelta(hours=1), True), (A_WEEK - timedelta(hours=2), False)]
)
def test_a_drill_is_due_before_the_time_is_over_and_whatever_came_of_the_last_one_is_no_haste(
    ago: timedelta, is_due: bool
) -> None:
    failed = replace(a_drill("us0a", NOON - ago), state=RecoveryState.FAILED, verdict="failed")
    longer_ago = a_drill("us0a", NOON - timedelta(days=20))

    assert ("us0" in due(failed, longer_ago)) == is_due


@pytest.mark.parametrize(
    ("of_days", "is_due"),
    [
        pytest.param((22, 21), True, id="an older point"),
        pytest.param((22, 22), False, id="the same point"),
        pytest.param((21, 22), False, id="a newer point"),
    ],
)
def test_a_drill_of_an_older_point_takes_no_turn_of_the_newest(of_days: tuple[int, int], is_due: bool) -> None:
    its_turn, by_hand = (replace(a_point(), at=a_moment(3, day=day)) for day in of_days)
    weekly = replace(a_drill("us0a", NOON - A_WEEK), point=its_turn)
    since = replace(a_drill("us0a", NOON - timedelta(days=3)), point=by_hand)

    assert ("us0" in due(since, weekly)) == is_due


def test_where_nothing_newer_is_left_to_drill_it_is_not_drilled_each_hour() -> None:
    lost = replace(a_drill("us0a", NOON - timedelta(days=8)), point=replace(a_point(), at=a_moment(3, day=15)))
    older = replace(a_drill("us0a", NOON - timedelta(hours=1)), point=replace(a_point(), at=a_moment(3, day=14)))

    assert "us0" not in due(lost, older)


def test_a_restore_or_an_opening_is_no_drill_and_without_the_key_none_is_due() -> None:
    others = [replace(a_drill("us0a", NOON), kind=kind) for kind in (RecoveryKind.RESTORE, RecoveryKind.OPENING)]

    assert "us0" in due(*others)
    assert due(policy=a_policy()) == []
    assert room(a_policy(), ()) == 0


@pytest.mark.parametrize(("hosts", "at_a_time"), [(1, 1), (84, 1), (85, 2), (10_000, 120)])
def test_as_few_at_a_time_as_let_every_host_have_its_turn(hosts: int, at_a_time: int) -> None:
    policy = replace(WEEKLY, hosts=dict.fromkeys(map(str, range(hosts)), a_policy().hosts["us0"]))
    under_way = a_drill("us0a", NOON, RecoveryState.OPEN)

    assert room(policy, ()) == at_a_time
    assert room(policy, (under_way, a_drill("us0a", NOON))) == at_a_time - 1


@pytest.mark.parametrize("many", [1, 5, 6, 10, 23])
def test_behind_any_number_that_can_never_be_drilled_everybody_has_a_turn_some_hour(many: int) -> None:
    waiting = [replace(a_policy().hosts["us0"], id=f"host{number}") for number in range(many)]

    hours = [in_turn(waiting, 5, NOON + timedelta(hours=hour)) for hour in range(-(-many // 5))]

    assert all(sorted(turns, key=waiting.index) == waiting and turns[:5] == waiting[:5] for turns in hours)
    assert {host.id for turns in hours for host in turns[:10]} == {host.id for host in waiting}


def a_world_with(*points: str, role: StackRole = StackRole.PRIMARY) -> FakeWorld:
    """Drills are wanted weekly. Each point is the only one of its host, in a snapshot of its own."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", f'{A_POLICY_TEXT}\n[drill]\nevery = "7 days"\n'.encode())
    world.catalog.set_policy_version("000001", None)
    for host_id in points:
        world.catalog.record_point(a_point(host_id, f"snap-{host_id}"))
        world.volumes.snapshots[f"snap-{host_id}"] = a_snapshot(f"snap-{host_id}", complete=(host_id,))
    return replace(world, settings=replace(world.settings, role=role))


def is_asked_for(world: FakeWorld, now: datetime) -> bool:
    world.lambdas.invoked.clear()
    tick(world, now, lambda: "0" * 32)
    return ("begin_drills", {"schema": 1}) in world.lambdas.invoked


def begun(world: FakeWorld) -> list[str]:
    return [drill.host_id for drill in begin_drills(world, NOON).drills]


def test_the_hours_first_tick_has_drills_begun_where_the_policy_wants_them() -> None:
    by_hand = a_world()
    by_hand.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    by_hand.catalog.set_policy_version("000001", None)

    assert is_asked_for(a_world_with(), NOON)
    assert not is_asked_for(a_world_with(), a_moment(12, 5))
    assert not is_asked_for(a_world_with(role=StackRole.STANDBY), NOON)
    assert not is_asked_for(by_hand, NOON)


def test_one_is_begun_of_a_host_with_a_restore_point_and_while_it_is_under_way_no_other() -> None:
    world = a_world_with("eu0a", "us0a")

    assert begun(world) == ["us0a"]
    assert begun(world) == []
    assert [(each.id.host_id, each.kind) for each in world.catalog.find_recoveries()] == [("us0a", RecoveryKind.DRILL)]
    assert begun(a_world_with("eu0a")) == ["eu0a"]
    assert begun(a_world_with()) == begun(a_world()) == []


def test_however_many_have_no_restore_point_the_table_is_asked_for_points_once() -> None:
    world = a_world_with()
    asked = []
    find_points = world.catalog.find_points
    world.catalog.find_points = lambda of=None: (asked.append(of), find_points(of))[1]  # type: ignore[method-assign]

    tick(world, NOON, lambda: "0" * 32)
    none = begin_drills(world, NOON)

    assert none == Begun()
    assert asked == [None]


@pytest.mark.parametrize("is_damaged", [False, True], ids=["lost", "damaged"])
def test_one_who_has_nothing_sound_to_restore_takes_nobodys_turn_and_that_is_no_dead_letter(is_damaged: bool) -> None:
    world = a_world_with("us0a", "eu0a")
    if is_damaged:
        world.volumes.tag("snap-us0a", {tags.DAMAGED: "main/2026-11-23/1"})
    else:
        del world.volumes.snapshots["snap-us0a"]

    first = begin_drills(world, NOON)
    later = begin_drills(world, NOON + timedelta(hours=1))

    assert [drill.host_id for drill in first.drills] == ["eu0a"]
    assert [fault.startswith("host us0") and "snap-us0a" in fault for fault in first.faults] == [True]
    assert later == Begun()


def test_behind_those_that_have_nothing_sound_another_is_begun_within_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world_with("us0a", "eu0a", "ap0a")
    more = f'[host.ap0]\nid = "ap0a"\nkeys = ["{A_KEY.replace("A" * 43, "C" * 43)}"]\n'
    text = world.archive.get("policies/000001.toml").decode().replace('"eu0"]', '"eu0", "ap0"]')
    world.archive.put_once("policies/000002.toml", f"{text}\n{more}".encode())
    world.catalog.set_policy_version("000002", "000001")
    del world.volumes.snapshots["snap-us0a"], world.volumes.snapshots["snap-eu0a"]
    monkeypatch.setattr("chalicelib.flows.begin_drills.MOST_FAULTS", 2)

    drills = [begin_drills(world, NOON + timedelta(hours=hour)).drills for hour in range(2)]

    assert [drill.host_id for each in drills for drill in each] == ["ap0a"]


def test_where_many_have_nothing_sound_not_all_of_them_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world_with("us0a", "eu0a")
    world.volumes.snapshots.clear()
    monkeypatch.setattr("chalicelib.flows.begin_drills.MOST_FAULTS", 1)

    in_vain = begin_drills(world, NOON)

    assert (in_vain.drills, len(in_vain.faults)) == ((), 1)
