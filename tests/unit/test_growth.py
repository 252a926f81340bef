"""A larger volume in the policy: asked for once a night, before it is attached, and never at the price of the night."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import wire
from chalicelib.core.model import Run
from chalicelib.core.night import GROWS_WITHIN, plan
from chalicelib.core.night_actions import AttachVolume, GrowVolume, LaunchReceiver, Wait, WriteBrief
from chalicelib.core.night_world import NightWorld
from chalicelib.errors import EbbtideError, PermanentError, TransientError
from chalicelib.flows.observe import observe
from chalicelib.flows.policies import get_policy
from chalicelib.flows.rebuild import read_run, rebuild
from chalicelib.flows.reconcile import reconcile
from tests.builders import A_POLICY_TEXT, a_disk, a_moment, a_release, a_run, a_run_id, a_volume
from tests.fakes import FakeCatalog, FakeWorld, a_world
from tests.nights import OPENED, a_night, a_serving_night, kinds
from tests.past import a_night as a_whole_night
from tests.past import an_open_night

LARGER = A_POLICY_TEXT.replace("80GiB", "120GiB")


def a_night_that_wants(size_gib: int, **observed: object) -> NightWorld:
    night = a_night(**observed)
    wanted = replace(night.receiver.volume, size_gib=size_gib)
    return replace(night, receiver=replace(night.receiver, volume=wanted))


def asked_at_the_opening() -> Run:
    return replace(a_run(), growth_asked=OPENED)


# -- planned ----------------------------------------------------------------------------------------------------------


def test_a_volume_smaller_than_the_policy_wants_grows_before_anything_else() -> None:
    assert plan(a_run(), a_night_that_wants(120), OPENED) == (GrowVolume("vol-1", 120),)


@pytest.mark.parametrize("wanted", [80, 40])
def test_a_volume_as_large_as_the_policy_wants_or_larger_stays_as_it_is(wanted: int) -> None:
    assert kinds(plan(a_run(), a_night_that_wants(wanted), OPENED)) == [LaunchReceiver]


def test_it_is_asked_for_once_a_run_whatever_came_of_it() -> None:
    assert kinds(plan(asked_at_the_opening(), a_night_that_wants(120), OPENED)) == [LaunchReceiver]


def test_while_it_grows_the_night_waits_but_not_for_ever() -> None:
    night = a_night_that_wants(120, growing=frozenset({"vol-1"}))

    waits, goes_on = (plan(asked_at_the_opening(), night, OPENED + GROWS_WITHIN - left) for left in (SECOND, NONE))

    assert kinds(waits) == [Wait]
    assert kinds(goes_on) == [LaunchReceiver]


SECOND, NONE = timedelta(seconds=1), timedelta(0)


def test_an_attached_volume_is_left_alone() -> None:
    night = a_serving_night()
    larger = replace(night.receiver, volume=replace(night.receiver.volume, size_gib=120))

    assert kinds(plan(a_run(), replace(night, receiver=larger), OPENED)) == [Wait]


def test_a_volume_that_was_just_made_has_its_size_and_is_only_waited_for() -> None:
    assert kinds(plan(a_run(), a_night_that_wants(120, volumes=(a_volume(state="creating"),)), OPENED)) == [Wait]


# -- done -------------------------------------------------------------------------------------------------------------


def a_world_with_a_small_volume() -> FakeWorld:
    """After a night with 80 GiB the policy wants 120."""
    world = a_world_under_a_policy()
    a_whole_night(world, 22)
    world.machines.now = OPENED
    world.archive.put_once("policies/000002.toml", LARGER.encode())
    world.catalog.set_policy_version("000002", "000001")
    world.catalog.open_run(a_run(policy_version="000002"))
    return world


def test_the_next_night_has_the_larger_volume() -> None:
    world = a_world_with_a_small_volume()

    outcome = reconcile(a_run_id(), world, OPENED)

    (volume,) = world.volumes.volumes.values()
    assert outcome.steps[:2] == (GrowVolume.__name__, WriteBrief.__name__)
    assert (volume.size_gib, world.volumes.grown) == (120, [(volume.id, 120)])
    assert outcome.run.growth_asked == OPENED


@pytest.mark.parametrize("fault", [PermanentError("VolumeModificationRateExceeded"), TransientError("no answer")])
def test_a_volume_that_may_not_grow_costs_no_night_and_is_not_asked_again_tonight(fault: EbbtideError) -> None:
    world = a_world_with_a_small_volume()
    world.volumes.growth_fault = fault

    for minute in range(3):
        outcome = reconcile(a_run_id(), world, a_moment(2, minute))

    assert len(world.volumes.grown) == 1
    assert len(world.machines.requests) == 2
    assert outcome.waiting == ("reports of us0, eu0",)


def test_while_ebs_is_at_it_nothing_is_launched() -> None:
    world = a_world_with_a_small_volume()
    world.volumes.growing = set(world.volumes.volumes)
    (volume_id,) = world.volumes.volumes
    first = reconcile(a_run_id(), world, OPENED)
    world.volumes.growing.clear()

    then = reconcile(a_run_id(), world, a_moment(2, 1))

    assert first.waiting == (f"volume {volume_id} is growing to 120 GiB",)
    assert AttachVolume.__name__ in then.steps


# -- what the receiver measured ---------------------------------------------------------------------------------------

MEASURED = a_disk(used_gib=31)


def a_world_under_a_policy() -> FakeWorld:
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.set_policy_version("000001", None)
    return world


def test_what_the_receiver_measured_stays_with_its_run_and_comes_back_when_the_table_is_lost() -> None:
    world = a_world_under_a_policy()
    a_whole_night(world, 23, disk=MEASURED)
    rebuilt = replace(world, catalog=FakeCatalog())

    rebuild(rebuilt)

    assert [each.catalog.get_run(a_run_id()).disk for each in (world, rebuilt)] == [MEASURED, MEASURED]


def test_of_two_receivers_of_a_night_the_last_ones_measure_counts() -> None:
    world = a_world_under_a_policy()
    run_id = an_open_night(world, 23)
    run = replace(world.catalog.get_run(run_id), machine_attempt=2)
    for attempt, disk in ((2, MEASURED), (1, a_disk(1))):
        world.archive.put_once(wire.word_key(run, "released", attempt), a_release(run_id, attempt, disk=disk))
    policy = get_policy("000001", world)

    observed = observe(run, policy, world)
    rebuilt = read_run(run_id, world)

    assert observed.night.disk == MEASURED
    assert rebuilt is not None
    assert rebuilt.disk == MEASURED


def test_a_night_whose_receiver_said_nothing_of_its_disk_closes_all_the_same() -> None:
    world = a_world_under_a_policy()

    a_whole_night(world, 23)

    run = world.catalog.get_run(a_run_id())
    assert (run.state.is_final, run.disk) == (True, None)
