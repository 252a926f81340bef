"""A night whose subnet is gone, or takes no machine: it is in the next zone, or says at once that there is none."""

from dataclasses import dataclass, replace

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import RunState
from chalicelib.errors import CapacityError, PermanentError
from chalicelib.flows.reconcile import reconcile
from tests.builders import (
    A_POLICY_TEXT,
    a_moment,
    a_result,
    a_run,
    a_run_id,
    a_snapshot,
    a_volume,
    a_word_of_readiness,
)
from tests.fakes import FakeMachines, FakeWorld, a_world

OF_THE_RECEIVER = {tags.ROLE: tags.Role.DATA, tags.RECEIVER: "main"}
DENIED = PermanentError("UnauthorizedOperation")


def a_world_with_a_past() -> FakeWorld:
    """A run is open; the night before has left a volume in zone-a, and a snapshot of it."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.open_run(a_run())
    world.volumes.snapshots["snap-22"] = a_snapshot("snap-22", a_run_id(22))
    world.volumes.volumes["vol-22"] = replace(a_volume("vol-22"), tags=OF_THE_RECEIVER)
    return world


def subnets(world: FakeWorld) -> list[str]:
    return [request.subnet for request in world.machines.requests]


def test_a_subnet_that_is_gone_costs_nothing_while_there_is_room_before_it() -> None:
    world = a_world_with_a_past()
    world.machines.gone = {"subnet-b"}

    reconcile(a_run_id(), world, a_moment(2))

    assert (subnets(world), list(world.volumes.volumes)) == (["subnet-a"], ["vol-22"])


def test_a_night_whose_subnet_is_gone_is_in_the_next_one() -> None:
    world = a_world_with_a_past()
    world.machines.gone = {"subnet-a"}

    reconcile(a_run_id(), world, a_moment(2))

    (mine,) = world.volumes.find_volumes({tags.MADE_FOR: str(a_run_id())})
    assert (subnets(world), mine.zone, world.volumes.made_from[mine.id]) == (["subnet-b"], "zone-b", "snap-22")


def test_without_any_subnet_a_night_says_so_at_once_and_leaves_everything_as_it_is() -> None:
    world = a_world_with_a_past()
    world.machines.gone = {"subnet-a", "subnet-b"}

    run = reconcile(a_run_id(), world, a_moment(2)).run

    assert (run.state, run.closed) == (RunState.FAILED, a_moment(2))
    assert str(run.why).startswith("EC2 knows none of the deployment's subnets: deploy with one that there is")
    assert (subnets(world), list(world.volumes.volumes)) == ([], ["vol-22"])
    assert "tell_operators" in [name for name, _ in world.lambdas.invoked]


def test_what_was_pushed_before_the_subnet_went_is_snapshotted() -> None:
    world = a_world_with_a_past()
    reconcile(a_run_id(), world, a_moment(2))
    world.archive.put_once(wire.word_key(a_run(), "ready", 1), a_word_of_readiness("vol-22"))
    world.catalog.record_result(a_result("us0"))
    world.machines.terminate("i-1")
    world.machines.gone = {"subnet-a", "subnet-b"}

    reconcile(a_run_id(), world, a_moment(3))

    (taken,) = world.volumes.find_snapshots({tags.RUN: str(a_run_id())})
    assert (taken.volume_id, tags.unpack(taken.tags)) == ("vol-22", ("us0a",))
    assert subnets(world) == ["subnet-a"]


def test_what_ec2_refuses_everywhere_is_told_with_the_run() -> None:
    world = a_world_with_a_past()
    world.machines.against = {"subnet-a": DENIED, "subnet-b": DENIED}
    with pytest.raises(PermanentError, match="UnauthorizedOperation"):
        reconcile(a_run_id(), world, a_moment(2))

    run = reconcile(a_run_id(), world, a_moment(6)).run

    assert run.state is RunState.FAILED
    assert run.why == "no receiver could be launched before the deadline: UnauthorizedOperation"
    assert list(world.volumes.volumes) == ["vol-22"]


def a_world_before_its_first_night() -> FakeWorld:
    world = a_world_with_a_past()
    world.volumes.snapshots.clear()
    world.volumes.volumes.clear()
    return world


def test_the_first_night_that_ec2_refuses_everywhere_leaves_no_volume() -> None:
    world = a_world_before_its_first_night()
    world.machines.against = {"subnet-a": DENIED, "subnet-b": DENIED}
    with pytest.raises(PermanentError, match="UnauthorizedOperation"):
        reconcile(a_run_id(), world, a_moment(2))
    made = [volume.zone for volume in world.volumes.volumes.values()]

    run = reconcile(a_run_id(), world, a_moment(6)).run

    assert made == ["zone-a", "zone-b"]
    assert run.why == "no receiver could be launched before the deadline: UnauthorizedOperation"
    assert list(world.volumes.volumes) == []


def test_a_zone_that_takes_a_machine_after_all_is_full_no_more() -> None:
    world = a_world_before_its_first_night()
    world.machines.against = {"subnet-a": DENIED, "subnet-b": DENIED}
    with pytest.raises(PermanentError, match="UnauthorizedOperation"):
        reconcile(a_run_id(), world, a_moment(2))
    world.machines.against = {}

    run = reconcile(a_run_id(), world, a_moment(2, 5)).run

    assert subnets(world)[-1] == "subnet-b"
    assert run.full_zones == ("zone-a",)


def test_a_zone_that_a_volume_holds_the_night_to_is_asked_again() -> None:
    world = a_world_with_a_past()
    world.volumes.snapshots.clear()
    world.machines.against = {"subnet-a": DENIED}
    with pytest.raises(PermanentError, match="UnauthorizedOperation"):
        reconcile(a_run_id(), world, a_moment(2))
    world.machines.against = {}

    run = reconcile(a_run_id(), world, a_moment(2, 5)).run

    assert (run.state, subnets(world)[-1]) == (RunState.OPEN, "subnet-a")
    assert list(world.volumes.volumes) == ["vol-22"]


def test_where_no_volume_can_be_made_in_any_zone_that_is_told_with_the_run() -> None:
    world = a_world_with_a_past()
    del world.volumes.volumes["vol-22"]
    world.volumes.no_capacity_for = {"zone-a", "zone-b"}
    with pytest.raises(CapacityError, match="zone-b"):
        reconcile(a_run_id(), world, a_moment(2))

    run = reconcile(a_run_id(), world, a_moment(6)).run

    assert (run.state, subnets(world)) == (RunState.FAILED, [])
    assert "InsufficientVolumeCapacity: no gp3 in zone-b" in str(run.why)


@dataclass
class MachinesThatTellNoZones(FakeMachines):
    def zone_of(self, subnet: str) -> str:
        raise DENIED


def test_a_subnet_that_nobody_may_look_at_is_not_taken_for_gone() -> None:
    world = replace(a_world_with_a_past(), machines=MachinesThatTellNoZones())

    with pytest.raises(PermanentError, match="UnauthorizedOperation"):
        reconcile(a_run_id(), world, a_moment(2))

    assert world.catalog.get_run(a_run_id()).state is RunState.OPEN
