"""Where a recovery is brought up: in the first zone with room for its machine, and its volume is made there."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wire
from chalicelib.aws import items
from chalicelib.core.model import Machine, Recovery, RecoveryKind
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.recovery import plan
from chalicelib.core.recovery_actions import CreateVolume, LaunchMachine, RecoveryWorld
from chalicelib.errors import CapacityError
from chalicelib.flows.open_recovery import open_drill, open_recovery
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from chalicelib.ports import LaunchRequest
from tests.builders import A_POLICY_TEXT, a_machine, a_recovery, a_snapshot, a_volume
from tests.fakes import FakeCatalog, FakeMachines, FakeWorld, Fuse, a_fused_world
from tests.recoveries import (
    DRILL,
    MOST_CALLS,
    NOW,
    a_world_with_backups,
    is_taken_down,
    its,
    put_into_force,
    retried_once,
    the_machine_reports,
)

ZONES = ["zone-a", "zone-b", "zone-c"]


@dataclass
class AskedMachines(FakeMachines):
    """What was asked for, in order, whatever came of it."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    def launch(self, request: LaunchRequest) -> Machine:
        self.asked.append((request.subnet, request.instance_type))
        return super().launch(request)


def a_world_that_is_full_in(*zones: str) -> FakeWorld:
    world = a_world_with_backups()
    world.machines.no_capacity_for = set(zones)
    return world


def where(world: FakeWorld) -> tuple[list[str], list[str]]:
    """The zones of its machines and of its volumes."""
    machines, volumes = world.machines.by_id.values(), world.volumes.volumes.values()
    return [machine.zone for machine in machines], [volume.zone for volume in volumes]


@pytest.mark.parametrize("mode", ["restore", "drill"])
def test_its_machine_and_its_volume_are_in_the_first_zone_with_room_and_that_is_told(mode: str) -> None:
    world = a_world_that_is_full_in("zone-a")
    request = wire.parse_recovery_request({"schema": 1, "host": "us0", "mode": mode})
    recovery_id = open_recovery(request, world, NOW).id

    recovery = recover(recovery_id, world, NOW).recovery

    assert where(world) == (["zone-b"], ["zone-b"])
    told = wire.standing(recovery)
    assert told["zone"] == "zone-b"
    assert told["findings"] == ["EC2 gave it no machine in zone-a: it is brought up in zone-b"]


def test_where_it_was_to_stand_nothing_is_told_of_zones() -> None:
    world = a_world_that_is_full_in("zone-b")
    open_drill("us0", world, NOW)

    recovery = recover(DRILL, world, NOW).recovery

    assert (recovery.zone, recovery.findings) == ("zone-a", ())


def test_a_drill_remembers_the_type_that_there_was_room_for() -> None:
    world = a_world_that_is_full_in("t4g.small")
    open_drill("us0", world, NOW)

    assert recover(DRILL, world, NOW).recovery.instance_type == "t4g.medium"


def test_a_fallback_subnet_that_is_gone_costs_nothing_while_there_is_room_before_it() -> None:
    world = a_world_with_backups()
    world.machines.gone = {"subnet-b"}
    open_drill("us0", world, NOW)

    recovery = recover(DRILL, world, NOW).recovery

    assert (recovery.zone, recovery.verdict, recovery.findings) == ("zone-a", None, ())


def test_where_the_first_subnet_is_gone_it_is_in_the_next_one_and_that_is_told() -> None:
    world = a_world_with_backups()
    world.machines.gone = {"subnet-a"}
    open_drill("us0", world, NOW)

    recovery = recover(DRILL, world, NOW).recovery

    assert (recovery.zone, recovery.verdict) == ("zone-b", None)
    assert recovery.findings == ("EC2 gave it no machine in subnet-a: it is brought up in zone-b",)


def test_with_one_zone_full_and_the_other_subnet_gone_it_is_waited_for() -> None:
    world = a_world_that_is_full_in("zone-a")
    world.machines.gone = {"subnet-b"}
    open_drill("us0", world, NOW)
    with pytest.raises(CapacityError, match="in zone-a; EC2 refuses it in subnet-b"):
        recover(DRILL, world, NOW)
    world.machines.no_capacity_for = set()

    recovery = recover(DRILL, world, NOW).recovery

    assert (recovery.zone, recovery.verdict) == ("zone-a", None)


def test_every_zone_and_type_is_tried_once_before_any_again() -> None:
    world = a_world_with_backups()
    machines = AskedMachines(no_capacity_for={"zone-a", "zone-b"})
    world = replace(world, machines=machines)
    open_drill("us0", world, NOW)

    for _ in range(2):
        with pytest.raises(CapacityError):
            recover(DRILL, world, NOW)

    each_once = [(subnet, each) for subnet in ("subnet-a", "subnet-b") for each in ("t4g.small", "t4g.medium")]
    assert machines.asked == each_once * 2


def test_without_any_room_nothing_is_made_and_a_drill_says_in_the_end_what_it_lacked() -> None:
    world = a_world_that_is_full_in("zone-a", "zone-b")
    open_drill("us0", world, NOW)
    for _ in range(3):
        with pytest.raises(CapacityError):
            recover(DRILL, world, NOW)
    waiting = world.catalog.get_recovery(DRILL)

    over = recover(DRILL, world, waiting.deadline).recovery

    full = f"recovery {DRILL}: no capacity for any of t4g.small, t4g.medium in zone-a, zone-b"
    assert (waiting.findings, waiting.version) == ((full,), 1)
    assert over.findings == ("there was no report before the deadline", full)
    assert (where(world), world.volumes.created) == (([], []), 0)


def test_the_policys_subnet_is_the_only_place() -> None:
    world = a_world_that_is_full_in("zone-0123456789abcdef0")
    put_into_force(world, A_POLICY_TEXT + '\n[restore]\nsubnet = "subnet-0123456789abcdef0"\n')
    recovery_id = open_recovery(RecoveryRequest("us0"), world, NOW).id

    with pytest.raises(CapacityError, match=r"in zone-0123456789abcdef0$"):
        recover(recovery_id, world, NOW)

    assert where(world) == ([], [])


def test_a_machine_that_does_not_show_yet_has_its_volume_made_where_it_was_launched() -> None:
    world = a_world_that_is_full_in("zone-a")
    world.machines.find = lambda tags: []  # type: ignore[method-assign]
    open_drill("us0", world, NOW)

    waiting = recover(DRILL, world, NOW).waiting

    assert where(world) == (["zone-b"], ["zone-b"])
    assert waiting == ("machine i-1 was launched and does not show yet",)


def test_what_an_older_version_has_begun_goes_on_where_its_volume_is() -> None:
    """It made volume and brief before the machine, in one zone whatever came."""
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    recover(DRILL, world, NOW)
    begun = replace(world.catalog.get_recovery(DRILL), machine_id=None, launched=None, zone=None)
    world.catalog.recoveries[DRILL] = begun
    for forgotten in (world.machines.by_id, world.machines.by_token, world.machines.requests):
        forgotten.clear()
    world.machines.no_capacity_for = {"zone-a"}

    with pytest.raises(CapacityError, match=r"in zone-a$"):
        recover(DRILL, world, NOW)
    world.machines.no_capacity_for = set()
    recover(DRILL, world, NOW)

    assert where(world) == (["zone-a"], ["zone-a"])
    assert world.volumes.volumes["vol-1"].attached_to == "i-1"


def test_the_item_of_a_version_that_knew_no_zone_is_read() -> None:
    values = items.recovery_values(a_recovery())
    del values["zone"]

    assert items.read_recovery(items.item("recovery", "1", values)) == a_recovery()


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_on_the_way_to_another_zone_is_made_good_by_trying_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_that_is_full_in("zone-a"), Fuse(at, after)
        fused = a_fused_world(world, fuse)
        open_drill("us0", world, NOW)
        retried_once(lambda: recover(DRILL, fused, NOW))  # noqa: B023

        assert where(world) == (["zone-b"], ["zone-b"]), f"call {at}"
        the_machine_reports(world)
        retried_once(lambda: recover(DRILL, fused, NOW))  # noqa: B023
        assert is_taken_down(world), f"call {at}"
        assert world.volumes.created == 1, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a drill takes more than {MOST_CALLS} calls")


# -- the table is lost while it waits ----------------------------------------------------------------------------------


def that_waits_for_room(request: RecoveryRequest) -> tuple[FakeWorld, Recovery]:
    world = a_world_that_is_full_in("zone-a", "zone-b")
    recovery_id = open_recovery(request, world, NOW).id
    with pytest.raises(CapacityError):
        recover(recovery_id, world, NOW)
    return world, world.catalog.get_recovery(recovery_id)


def without_its_recoveries(world: FakeWorld) -> FakeWorld:
    """The points are there already: as after a rebuild by a version that found no recovery without a brief."""
    catalog = FakeCatalog(points=world.catalog.points, version=world.catalog.version)
    return replace(world, catalog=catalog)


@pytest.mark.parametrize("mode", Mode)
def test_what_waits_for_room_is_found_again_after_the_table_is_lost_and_comes_up(mode: Mode) -> None:
    networks = ("198.51.100.0/24",) if mode is Mode.RESTORE else ()
    world, waiting = that_waits_for_room(RecoveryRequest("us0", networks=networks, mode=mode))
    after = replace(world, catalog=FakeCatalog())

    rebuilt = rebuild(after)
    found = after.catalog.get_recovery(waiting.id)
    after.machines.no_capacity_for.clear()
    recover(waiting.id, after, NOW)

    assert (rebuilt.recoveries, rebuilt.faults) == (1, ())
    assert found == replace(waiting, findings=(), version=0)
    assert where(after) == (["zone-a"], ["zone-a"])


def test_what_was_launched_and_not_yet_briefed_goes_on_with_its_machine_after_the_table_is_lost() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    recover(DRILL, world, NOW)
    for made in (world.volumes.volumes, world.volumes.by_token):
        made.clear()
    del world.archive.objects[its(wire.recovery_brief_key, world)]
    after = replace(world, catalog=FakeCatalog())

    rebuild(after)
    recover(DRILL, after, NOW)

    assert where(after) == (["zone-a"], ["zone-a"])
    assert its(wire.recovery_brief_key, world) in after.archive.objects


def test_that_it_failed_for_lack_of_room_is_known_after_the_table_is_lost() -> None:
    world, waiting = that_waits_for_room(RecoveryRequest("us0", mode=Mode.DRILL))
    over = recover(waiting.id, world, waiting.deadline).recovery
    after = replace(world, catalog=FakeCatalog())

    rebuild(after)

    assert after.catalog.get_recovery(waiting.id) == replace(over, version=0)


def test_of_what_an_older_version_asked_for_and_never_briefed_nothing_is_made_up() -> None:
    world, waiting = that_waits_for_room(RecoveryRequest("us0", mode=Mode.DRILL))
    recover(waiting.id, world, waiting.deadline)
    del world.archive.objects[wire.recovery_asked_key(waiting.id)]

    rebuilt = rebuild(replace(world, catalog=FakeCatalog()))

    assert (rebuilt.recoveries, rebuilt.faults) == (0, ())


def test_an_id_that_waits_for_room_is_not_given_out_again_after_the_table_is_lost() -> None:
    world, drill = that_waits_for_room(RecoveryRequest("us0", mode=Mode.DRILL))

    restore = open_recovery(RecoveryRequest("us0"), without_its_recoveries(world), NOW)

    assert (drill.id.attempt, restore.id.attempt) == (1, 2)


def test_the_same_that_is_asked_for_again_before_the_table_has_it_goes_on_as_it_was_asked_for() -> None:
    world, first = that_waits_for_room(RecoveryRequest("us0"))
    after = without_its_recoveries(world)

    again = open_recovery(RecoveryRequest("us0", networks=("203.0.113.0/24",)), after, NOW + timedelta(hours=1))

    assert (again.id, again.opened, again.deadline) == (first.id, first.opened, first.deadline)
    assert {way.network for way in after.catalog.get_recovery(first.id).ways} == {"203.0.113.0/24"}


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_of_opening_opens_it_once_when_it_is_asked_for_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_backups(), Fuse(at, after)
        fused = a_fused_world(world, fuse)
        retried_once(lambda: open_drill("us0", fused, NOW))  # noqa: B023
        rebuilt = rebuild(replace(world, catalog=FakeCatalog()))

        assert [*world.catalog.recoveries] == [DRILL], f"call {at}"
        assert rebuilt.recoveries == 1, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"opening a drill takes more than {MOST_CALLS} calls")


# -- whatever is seen --------------------------------------------------------------------------------------------------


def in_zone(zone: str) -> Machine:
    return replace(a_machine(), zone=zone)


RECOVERIES = st.builds(
    lambda kind, zone: replace(a_recovery(kind), machine_id="i-1" if zone else None, zone=zone),
    st.sampled_from(RecoveryKind),
    st.sampled_from([None, *ZONES]),
)
SEEN = st.builds(
    lambda machine, volume, briefed: RecoveryWorld(
        machines=(in_zone(machine),) if machine else (),
        volume=replace(a_volume(), zone=volume) if volume else None,
        snapshot=a_snapshot(),
        briefed=briefed,
        report=None,
    ),
    st.sampled_from([None, *ZONES]),
    st.sampled_from([None, *ZONES]),
    st.booleans(),
)


@given(RECOVERIES, SEEN)
def test_whatever_is_seen_a_volume_is_made_where_its_machine_is_and_a_machine_is_launched_where_its_volume_is(
    recovery: Recovery, seen: RecoveryWorld
) -> None:
    for action in plan(recovery, seen, NOW):
        if isinstance(action, CreateVolume):
            assert seen.volume is None
            assert action.zone == (seen.machines[0].zone if seen.machines else recovery.zone)
        if isinstance(action, LaunchMachine):
            assert not seen.machines
            assert action.zone == (seen.volume.zone if seen.volume else None)
