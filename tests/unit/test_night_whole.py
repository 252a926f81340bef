"""Whole nights in memory, each with the process dying at any single call: it converges, and no data is lost."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Run, RunState, Snapshot, Volume
from chalicelib.core.night import MACHINE_SETTLES
from chalicelib.core.one_snapshot import SNAPSHOT_SETTLES
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.reconcile import reconcile
from chalicelib.ports import World
from tests.builders import A_POLICY_TEXT, a_moment, a_release, a_result, a_run, a_run_id, a_snapshot, a_volume
from tests.fakes import Crash, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world

EPHEMERAL = A_POLICY_TEXT.replace('{ size = "80GiB" }', '{ size = "80GiB", mode = "ephemeral" }')
MOST_CALLS = 300
OF_THE_RECEIVER = {tags.ROLE: tags.Role.DATA, tags.RECEIVER: "main"}


def a_world_with(policy: str = A_POLICY_TEXT, run: Run | None = None) -> FakeWorld:
    world = a_world()
    world.archive.put_once("policies/000001.toml", policy.encode())
    world.catalog.open_run(run or a_run())
    return world


def with_last_nights(world: FakeWorld, snapshot: Snapshot | None = None, volume: Volume | None = None) -> FakeWorld:
    """What the night before has left."""
    if snapshot:
        world.volumes.snapshots[snapshot.id] = snapshot
    if volume:
        world.volumes.volumes[volume.id] = replace(volume, tags=OF_THE_RECEIVER)
    return world


def retried(step: Callable[[], object]) -> None:
    """As the platform does with an invocation that died."""
    try:
        step()
    except Crash:
        step()


def a_night(world: FakeWorld, through: World, hosts: tuple[str, ...] = ("us0", "eu0")) -> None:
    """From the opening to the end; the ticks' distance lets EC2 show what it was asked for."""
    retried(lambda: reconcile(a_run_id(), through, a_moment(2)))
    retried(lambda: reconcile(a_run_id(), through, a_moment(2) + MACHINE_SETTLES))
    world.archive.put_once(wire.word_key(a_run(), "ready", 1), b"{}")
    for host in hosts:
        world.catalog.record_result(a_result(host))
    world.archive.put_once(wire.word_key(a_run(), "released", 1), a_release())
    world.machines.terminate("i-1")
    retried(lambda: reconcile(a_run_id(), through, a_moment(3)))
    retried(lambda: reconcile(a_run_id(), through, a_moment(3) + SNAPSHOT_SETTLES))
    for snapshot_id in world.volumes.snapshots:
        world.volumes.complete(snapshot_id)
    retried(lambda: reconcile(a_run_id(), through, a_moment(4)))


@dataclass(frozen=True)
class Night:
    """How a night begins, and the zone it ends in; None when no volume is left."""

    world: Callable[[], FakeWorld]
    made_from: str | None
    left_in: str | None


def a_persistent_night() -> FakeWorld:
    return with_last_nights(a_world_with(), a_snapshot("snap-22", a_run_id(22)), a_volume("vol-22"))


def an_ephemeral_night() -> FakeWorld:
    return with_last_nights(a_world_with(EPHEMERAL), a_snapshot("snap-22", a_run_id(22)))


def a_night_without_room() -> FakeWorld:
    world = a_persistent_night()
    world.machines.no_capacity_for = {"zone-a"}
    return world


def an_ephemeral_night_without_room() -> FakeWorld:
    world = an_ephemeral_night()
    world.machines.no_capacity_for = {"zone-a"}
    return world


def a_night_without_its_subnet() -> FakeWorld:
    world = a_persistent_night()
    world.machines.gone = {"subnet-a"}
    return world


def a_night_whose_subnet_was_there_a_moment_ago() -> FakeWorld:
    world = a_persistent_night()
    world.machines.against = {"subnet-a": PermanentError("InvalidSubnetID.NotFound")}
    return world


def an_ephemeral_night_without_room_for_its_volume() -> FakeWorld:
    world = an_ephemeral_night()
    world.volumes.no_capacity_for = {"zone-a"}
    return world


NIGHTS = {
    "persistent": Night(a_persistent_night, made_from=None, left_in="zone-a"),
    "ephemeral": Night(an_ephemeral_night, made_from="snap-22", left_in=None),
    "in another zone": Night(a_night_without_room, made_from="snap-22", left_in="zone-b"),
    "ephemeral, in another zone": Night(an_ephemeral_night_without_room, made_from="snap-22", left_in=None),
    "behind no subnet": Night(a_night_without_its_subnet, made_from="snap-22", left_in="zone-b"),
    "refused in its subnet": Night(a_night_whose_subnet_was_there_a_moment_ago, made_from="snap-22", left_in="zone-b"),
    "without room for a volume": Night(
        an_ephemeral_night_without_room_for_its_volume, made_from="snap-22", left_in=None
    ),
}


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("name", NIGHTS)
def test_a_night_that_dies_at_any_single_call_ends_as_one_that_does_not(name: str, after: bool) -> None:
    night = NIGHTS[name]
    for at in range(1, MOST_CALLS):
        world, fuse = night.world(), Fuse(at, after)

        a_night(world, a_fused_world(world, fuse))

        (taken,) = world.volumes.find_snapshots({tags.RUN: str(a_run_id())})
        assert world.catalog.get_run(a_run_id()).state is RunState.DONE, f"call {at}"
        assert len(world.machines.requests) == 1, f"call {at}"
        assert world.volumes.made_from.get(taken.volume_id) == night.made_from, f"call {at}"
        assert [volume.zone for volume in world.volumes.volumes.values()] == [
            zone for zone in (night.left_in,) if zone
        ], f"call {at}"
        if fuse.calls < at:
            return
    pytest.fail(f"a night takes more than {MOST_CALLS} calls")


def test_the_receiver_is_briefed_on_the_volume_in_its_own_zone() -> None:
    world = a_night_without_room()

    reconcile(a_run_id(), world, a_moment(2))

    (request,) = world.machines.requests
    (mine,) = world.volumes.find_volumes({tags.MADE_FOR: str(a_run_id())})
    assert (request.subnet, mine.zone, mine.attached_to) == ("subnet-b", "zone-b", "i-1")
    assert wire.brief_key(a_run_id(), mine.id) in request.user_data
    assert f'"id":"{mine.id}"' in world.archive.get(wire.brief_key(a_run_id(), mine.id)).decode()


def test_a_table_lost_after_the_move_does_not_bring_back_the_volume_that_was_left() -> None:
    before = a_night_without_room()
    reconcile(a_run_id(), before, a_moment(2))
    world = replace(before, catalog=FakeCatalog())

    rebuild(world)
    a_night(world, world)

    (taken,) = world.volumes.find_snapshots({tags.RUN: str(a_run_id())})
    assert world.volumes.made_from.get(taken.volume_id) == "snap-22"
    assert world.catalog.get_run(a_run_id()).state is RunState.DONE
    assert len(world.machines.requests) == 1


def test_the_volume_left_in_a_full_zone_stays_until_every_host_is_complete() -> None:
    world = a_night_without_room()

    a_night(world, world, hosts=("us0",))

    assert world.catalog.get_run(a_run_id()).state is RunState.DEGRADED
    assert sorted(volume.zone for volume in world.volumes.volumes.values()) == ["zone-a", "zone-b"]


def test_the_next_night_goes_on_where_the_last_one_had_to_go() -> None:
    world = a_night_without_room()
    a_night(world, world, hosts=("us0",))
    world.machines.no_capacity_for = set()
    world.catalog.open_run(a_run(a_run_id(24)))

    reconcile(a_run_id(24), world, a_moment(2, day=24))

    assert world.machines.requests[-1].subnet == "subnet-b"


def test_a_volume_whose_data_no_snapshot_holds_is_not_left_and_the_reason_is_told() -> None:
    world = with_last_nights(a_world_with(), volume=a_volume("vol-22"))
    world.machines.no_capacity_for = {"zone-a"}
    with pytest.raises(TransientError, match="in zone-a"):
        reconcile(a_run_id(), world, a_moment(2))

    outcome = reconcile(a_run_id(), world, a_moment(6))

    assert outcome.run.state is RunState.FAILED
    assert "no capacity for any of t4g.small, t4g.medium in zone-a" in str(outcome.run.why)
    assert list(world.volumes.volumes) == ["vol-22"]


def test_when_no_zone_has_room_the_last_one_is_tried_again() -> None:
    world = a_night_without_room()
    world.machines.no_capacity_for = {"zone-a", "zone-b"}
    with pytest.raises(TransientError, match="in zone-b"):
        reconcile(a_run_id(), world, a_moment(2))
    world.machines.no_capacity_for = {"zone-a"}

    reconcile(a_run_id(), world, a_moment(2, 5))

    assert [request.subnet for request in world.machines.requests] == ["subnet-b"]


def test_when_no_zone_has_room_all_night_only_the_volume_from_before_is_left() -> None:
    world = a_night_without_room()
    world.machines.no_capacity_for = {"zone-a", "zone-b"}
    with pytest.raises(TransientError):
        reconcile(a_run_id(), world, a_moment(2))

    outcome = reconcile(a_run_id(), world, a_moment(6))

    assert outcome.run.state is RunState.FAILED
    assert list(world.volumes.volumes) == ["vol-22"]


def test_a_machine_whose_answer_was_lost_is_found_by_its_own_request_and_no_second_is_launched() -> None:
    world = a_persistent_night()
    world.machines.no_capacity_for = {"t4g.small"}
    reconcile(a_run_id(), world, a_moment(2))
    (launched,) = world.machines.by_id.values()
    world.machines.by_id["i-1"] = replace(launched, tags={})  # EC2 does not show it yet
    world.machines.no_capacity_for = set()

    reconcile(a_run_id(), world, a_moment(2) + MACHINE_SETTLES)

    assert [request.instance_type for request in world.machines.requests] == ["t4g.medium"]
    assert list(world.machines.by_id) == ["i-1"]


def test_a_failed_snapshot_is_taken_again_and_the_second_one_counts() -> None:
    world = a_persistent_night()
    a_night_until_its_snapshot_fails(world)

    reconcile(a_run_id(), world, a_moment(3) + SNAPSHOT_SETTLES)
    failed, again = world.volumes.find_snapshots({tags.RUN: str(a_run_id())})
    world.volumes.complete(again.id)
    outcome = reconcile(a_run_id(), world, a_moment(4))

    assert failed.state == "error"
    assert (outcome.run.state, outcome.run.snapshot_id) == (RunState.DONE, again.id)
    assert {point.snapshot_id for point in world.catalog.find_points()} == {again.id}


def test_an_ephemeral_volume_survives_a_night_whose_snapshots_both_failed() -> None:
    world = an_ephemeral_night()
    a_night_until_its_snapshot_fails(world)
    reconcile(a_run_id(), world, a_moment(3) + SNAPSHOT_SETTLES)
    fail_snapshots(world)

    outcome = reconcile(a_run_id(), world, a_moment(4))

    assert outcome.run.state is RunState.FAILED
    assert "ended in an error" in str(outcome.run.why)
    assert len(world.volumes.volumes) == 1


def a_night_until_its_snapshot_fails(world: FakeWorld) -> None:
    reconcile(a_run_id(), world, a_moment(2))
    for host in ("us0", "eu0"):
        world.catalog.record_result(a_result(host))
    world.machines.terminate("i-1")
    reconcile(a_run_id(), world, a_moment(3))
    fail_snapshots(world)


def fail_snapshots(world: FakeWorld) -> None:
    for snapshot in world.volumes.find_snapshots({tags.RUN: str(a_run_id())}):
        world.volumes.snapshots[snapshot.id] = replace(snapshot, state="error")


@pytest.mark.parametrize("state", [RunState.DONE, RunState.DEGRADED])
def test_a_report_after_the_end_is_on_record_and_changes_nothing(state: RunState) -> None:
    world = a_persistent_night()
    a_night(world, world, hosts=("us0", "eu0") if state is RunState.DONE else ("us0",))
    closed, points = world.catalog.get_run(a_run_id()), world.catalog.find_points()
    world.catalog.results.pop((a_run_id(), "eu0a"), None)
    world.archive.put_once(wire.report_key(a_run(), "eu0a"), a_late_report())

    reconcile(a_run_id(), world, a_moment(9))

    assert (a_run_id(), "eu0a") in world.catalog.results
    assert world.catalog.get_run(a_run_id()) == closed
    assert world.catalog.find_points() == points


def a_late_report() -> bytes:
    report = json.loads((Path(__file__).parents[1] / "contract" / "wire" / "report.json").read_text())
    expected = next(host for host in a_run().hosts if host.name == "eu0")
    changed = {"run": str(a_run_id()), "host": "eu0", "id": expected.id, "nonce": expected.nonce}
    return json.dumps({**report, **changed}).encode()
