"""Drills that nobody asks for: whose turn it is, how many at a time, and that the tick begins them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.core.drilling import find_due, room
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState
from chalicelib.core.policy import Policy
from chalicelib.flows.tick import tick
from chalicelib.ports import StackRole
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_policy, a_recovery, a_recovery_id
from tests.fakes import FakeWorld, a_world

NOON = a_moment(12)
WEEKLY = replace(a_policy(), drill_every_days=7)
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


def a_world_with(*points: str, role: StackRole = StackRole.PRIMARY) -> FakeWorld:
    world = a_world()
    world.archive.put_once("policies/000001.toml", f'{A_POLICY_TEXT}\n[drill]\nevery = "7 days"\n'.encode())
    world.catalog.set_policy_version("000001", None)
    for host_id in points:
        world.catalog.record_point(a_point(host_id))
    return replace(world, settings=replace(world.settings, role=role))


def drills_asked_for(world: FakeWorld, now: datetime) -> list[object]:
    world.lambdas.invoked.clear()
    tick(world, now, lambda: "0" * 32)
    return [payload["host"] for function, payload in world.lambdas.invoked if function == "drill"]


def test_the_hours_first_tick_begins_one_of_a_host_with_a_restore_point() -> None:
    world = a_world_with("eu0a", "us0a")

    assert drills_asked_for(world, a_moment(12, 5)) == []
    assert drills_asked_for(world, NOON) == ["us0a"]
    assert drills_asked_for(a_world_with("eu0a"), NOON) == ["eu0a"]
    assert drills_asked_for(a_world_with(), NOON) == []
    assert drills_asked_for(a_world_with("us0a", role=StackRole.STANDBY), NOON) == []


def test_while_one_is_under_way_no_other_one_is_begun() -> None:
    world = a_world_with("eu0a", "us0a")
    world.catalog.open_recovery(a_drill("us0a", NOON, RecoveryState.OPEN))

    assert drills_asked_for(world, NOON) == []
