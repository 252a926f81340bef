"""A night's volume: where it is made and of what, when another zone has room, when it goes, when a snapshot fails."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core import tags
from chalicelib.core.actions import Wait, WriteBrief
from chalicelib.core.model import Machine, Run, RunState, Volume
from chalicelib.core.night import plan
from chalicelib.core.night_actions import (
    AdoptSnapshot,
    CloseRun,
    CreateVolume,
    DeleteVolume,
    IntendSnapshot,
    LaunchReceiver,
    RecordPoints,
    SetAside,
    TakeSnapshot,
    TerminateReceiver,
)
from chalicelib.core.night_world import NightWorld, held_volume, next_zone, volume_of_tonight
from chalicelib.core.one_snapshot import GIVE_UP, SNAPSHOT_SETTLES
from chalicelib.core.policy import ReceiverPolicy, VolumePolicy
from tests.builders import a_moment, a_receiver, a_result, a_run, a_run_id, a_snapshot, a_volume
from tests.nights import DEADLINE, a_launched_run, a_night, a_receiver_machine, a_spent_night, kinds

LAST_NIGHTS = replace(a_snapshot("snap-22", a_run_id(22)), size_gib=120)
TONIGHT = {tags.MADE_FOR: str(a_run_id())}


def a_volume_in(zone: str, volume_id: str = "vol-1", made_for: str | None = None, **changes: object) -> Volume:
    tagged = {tags.MADE_FOR: made_for} if made_for else {}
    return replace(a_volume(volume_id), zone=zone, tags=tagged, **changes)  # type: ignore[arg-type]


def made_tonight(zone: str, volume_id: str = "vol-2") -> Volume:
    return a_volume_in(zone, volume_id, str(a_run_id()))


def an_ephemeral_receiver() -> ReceiverPolicy:
    return replace(a_receiver(), volume=VolumePolicy(80, mode="ephemeral"))


def a_full_run(*zones: str) -> Run:
    return replace(a_run(), full_zones=zones)


# -- made of what ------------------------------------------------------------------------------------------------------


def test_a_volume_is_made_from_the_newest_snapshot_and_never_smaller() -> None:
    night = a_night(volumes=(), newest=LAST_NIGHTS)

    assert plan(a_run(), night, a_moment(2)) == (CreateVolume("zone-a", 120, "snap-22"),)


def test_an_ephemeral_night_that_failed_leaves_the_volume_the_next_one_goes_on_with() -> None:
    left = a_volume_in("zone-b", made_for=str(a_run_id(22)))
    night = a_night(receiver=an_ephemeral_receiver(), volumes=(left,), newest=LAST_NIGHTS, briefed=frozenset())

    assert plan(a_run(), night, a_moment(2)) == (WriteBrief("vol-1"),)


def test_a_volume_that_vanishes_after_hosts_have_pushed_to_it_is_not_replaced_by_an_older_state() -> None:
    night = a_night(volumes=(), results=(a_result("us0"),), machines=(a_receiver_machine(),))

    actions = plan(a_launched_run(), night, a_moment(3))

    assert actions[-1] == CloseRun(RunState.FAILED, "the data volume is gone")


def test_the_only_copy_in_a_zone_without_a_subnet_ends_the_night_and_says_what_to_do() -> None:
    night = a_night(volumes=(a_volume_in("zone-x"),), newest=None)

    (closing,) = plan(a_run(), night, a_moment(2))

    assert isinstance(closing, CloseRun)
    assert closing.state is RunState.FAILED
    assert "volume vol-1 is in zone-x" in str(closing.why)
    assert "give the deployment a subnet there" in str(closing.why)


# -- another zone ------------------------------------------------------------------------------------------------------


def test_the_receiver_stands_where_its_volume_is_before_where_the_deployment_prefers() -> None:
    night = a_night(volumes=(a_volume_in("zone-b"),))

    (launch,) = plan(a_run(), night, a_moment(2))

    assert isinstance(launch, LaunchReceiver)
    assert launch.zone == "zone-b"


def test_when_its_zone_is_full_a_volume_is_made_in_the_next_one_from_the_newest_snapshot() -> None:
    night = a_night(newest=LAST_NIGHTS)

    assert plan(a_full_run("zone-a"), night, a_moment(2)) == (CreateVolume("zone-b", 120, "snap-22"),)


def test_the_first_night_of_all_moves_with_an_empty_volume() -> None:
    night = a_night(volumes=(made_tonight("zone-a"),), newest=None)

    assert plan(a_full_run("zone-a"), night, a_moment(2)) == (CreateVolume("zone-b", 80, None),)


def test_there_is_no_next_zone_when_no_snapshot_holds_what_the_volume_has() -> None:
    assert next_zone(a_full_run("zone-a"), a_night(newest=None)) is None


def test_there_is_no_next_zone_once_hosts_have_pushed() -> None:
    pushed = a_night(newest=LAST_NIGHTS, results=(a_result("us0"),))

    assert next_zone(a_full_run("zone-a"), pushed) is None


def test_there_is_no_next_zone_after_the_last() -> None:
    night = a_night(volumes=(a_volume(), made_tonight("zone-b")), newest=LAST_NIGHTS)

    assert next_zone(a_full_run("zone-a", "zone-b"), night) is None
    assert next_zone(a_full_run("zone-a"), night) == "zone-b"


def test_what_was_pushed_to_is_the_volume_whatever_a_rebuilt_run_has_forgotten() -> None:
    left = (a_volume_in("zone-a", "vol-1", str(a_run_id(22))), a_volume_in("zone-b", "vol-2", str(a_run_id(22))))
    night = a_night(volumes=left, zones=("zone-b", "zone-a"), newest=replace(LAST_NIGHTS, volume_id="vol-2"))

    assert volume_of_tonight(a_run(), night) == left[1]
    assert volume_of_tonight(a_run(), replace(night, pushed_to="vol-1")) == left[0]


def test_when_what_was_pushed_to_is_gone_no_other_volume_is_snapshotted_for_it() -> None:
    night = a_night(
        volumes=(a_volume_in("zone-b", "vol-2"),), machines=(), ready=frozenset({1}), released=frozenset({1})
    )
    over = replace(night, pushed_to="vol-1", results=(a_result("us0"), a_result("eu0")))

    [closing] = plan(a_run(), over, a_moment(3))

    assert isinstance(closing, CloseRun) and closing.why == "the data volume is gone"


def test_a_rebuilt_run_that_forgot_which_zones_are_full_knows_its_volume_all_the_same() -> None:
    volumes = (a_volume(), made_tonight("zone-b"))

    assert volume_of_tonight(a_run(), a_night(volumes=volumes)) == made_tonight("zone-b")


def test_of_several_volumes_the_latest_nights_is_gone_on_with() -> None:
    volumes = tuple(
        a_volume_in("zone-a", f"vol-{number}", made_for)
        for number, made_for in enumerate((None, "main/2026-11-22/9", "main/2026-11-22/10", "main/2026-11-21/1"))
    )

    assert held_volume(a_run(), a_night(volumes=volumes)) == volumes[2]


@pytest.mark.parametrize("snapshotted", [0, 1])
def test_of_two_volumes_of_one_night_that_is_gone_on_with_which_was_snapshotted(snapshotted: int) -> None:
    night = str(a_run_id(22))
    volumes = (a_volume_in("zone-a", "vol-1", night), a_volume_in("zone-b", "vol-2", night))
    newest = replace(LAST_NIGHTS, volume_id=volumes[snapshotted].id)

    assert held_volume(a_run(), a_night(volumes=volumes, newest=newest)) == volumes[snapshotted]


# -- when a volume goes ------------------------------------------------------------------------------------------------


def a_completed_night(*volumes: Volume, **observed: object) -> NightWorld:
    """The snapshot of vol-2 is complete, with both hosts unless `observed` says otherwise."""
    taken = replace(a_snapshot(), volume_id="vol-2")
    return a_spent_night(**{"volumes": volumes, "snapshots": (taken,), **observed})


def test_what_stayed_behind_in_another_zone_goes_when_every_host_is_complete_elsewhere() -> None:
    night = a_completed_night(a_volume(), made_tonight("zone-b"))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    assert kinds(actions) == [RecordPoints, DeleteVolume, CloseRun]
    assert actions[1] == DeleteVolume("vol-1", "snapshot snap-1 is complete")


def test_what_stayed_behind_stays_while_it_may_hold_the_latest_push_of_a_host() -> None:
    night = a_completed_night(a_volume(), made_tonight("zone-b"), results=(a_result("us0"),))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    assert kinds(actions) == [RecordPoints, CloseRun]


def test_a_persistent_volume_outlives_its_night() -> None:
    night = a_completed_night(made_tonight("zone-a"))

    assert DeleteVolume not in kinds(plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4)))


def test_an_ephemeral_volume_goes_when_its_snapshot_is_complete_even_when_a_host_is_missing() -> None:
    night = a_completed_night(made_tonight("zone-a"), receiver=an_ephemeral_receiver(), results=(a_result("us0"),))

    actions = plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))

    assert kinds(actions) == [RecordPoints, DeleteVolume, CloseRun]
    assert actions[1] == DeleteVolume("vol-2", "snapshot snap-1 is complete")


def test_an_ephemeral_volume_stays_while_its_snapshot_is_pending() -> None:
    pending = replace(a_snapshot(state="pending"), volume_id="vol-2")
    night = a_completed_night(made_tonight("zone-a"), receiver=an_ephemeral_receiver(), snapshots=(pending,))

    assert kinds(plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4))) == [Wait]


def test_an_ephemeral_volume_stays_when_its_snapshot_never_came_to_be() -> None:
    night = a_completed_night(made_tonight("zone-a"), receiver=an_ephemeral_receiver(), snapshots=())

    asked_in_vain = a_launched_run(snapshot_intended=DEADLINE)

    actions = plan(asked_in_vain, night, DEADLINE + timedelta(hours=12))

    assert kinds(actions) == [CloseRun]


def test_a_volume_made_in_vain_beside_another_goes_and_the_other_stays() -> None:
    night = a_night(volumes=(a_volume(), made_tonight("zone-b")))

    actions = plan(a_full_run("zone-a"), night, DEADLINE)

    assert kinds(actions) == [DeleteVolume, CloseRun]
    assert actions[0] == DeleteVolume("vol-2", "nothing was pushed to it")


@pytest.mark.parametrize(
    ("source", "ready", "goes"), [("snap-22", (), True), ("snap-21", (), False), ("snap-22", (1,), False)]
)
def test_a_volume_that_nobody_stood_ready_with_goes_if_the_newest_snapshot_has_all_of_it(
    source: str, ready: tuple[int, ...], goes: bool
) -> None:
    """The next night makes another, and knows that nobody has checked it."""
    volume = replace(a_volume(), tags={**TONIGHT, tags.MADE_FROM: source})
    night = a_night(volumes=(volume,), newest=LAST_NIGHTS, ready=frozenset(ready), read_only=bool(ready))

    actions = plan(a_run(), night, DEADLINE + GIVE_UP)

    assert (DeleteVolume("vol-1", "nothing was pushed to it") in actions) == goes


@pytest.mark.parametrize(
    ("full", "attempt", "machines", "goes"),
    [
        (("zone-a", "zone-b"), 1, (), ["vol-2", "vol-3"]),
        (("zone-b",), 1, (), ["vol-3"]),
        ((), 1, (), []),
        (("zone-a", "zone-b"), 2, (), []),
        (("zone-a", "zone-b"), 1, (a_receiver_machine(1, "terminated"),), []),
    ],
    ids=["refused everywhere", "asked in the other", "forgotten by a rebuild", "another machine", "one that is gone"],
)
def test_on_the_first_night_only_a_volume_goes_where_every_machine_was_refused(
    full: tuple[str, ...], attempt: int, machines: tuple[Machine, ...], goes: list[str]
) -> None:
    volumes = (made_tonight("zone-a"), made_tonight("zone-b", "vol-3"))
    night = a_night(volumes=volumes, newest=None, machines=machines)

    actions = plan(a_launched_run(attempt, full_zones=full), night, DEADLINE + GIVE_UP)

    assert [action.volume_id for action in actions if isinstance(action, DeleteVolume)] == goes


@pytest.mark.parametrize(
    ("attempt", "why"),
    [
        (1, "every volume that was tried is damaged: vol-1: no room"),
        (2, "no receiver could be launched before the deadline: no room"),
    ],
)
def test_a_night_without_room_after_a_damaged_volume_says_what_it_lacked(attempt: int, why: str) -> None:
    first = a_receiver_machine(1, "terminated")
    night = a_night(machines=(first,), volumes=(), damaged=frozenset({1}), unsound=frozenset({"vol-1"}))

    assert plan(a_launched_run(attempt, why="no room"), night, DEADLINE) == (CloseRun(RunState.FAILED, why),)


def test_a_volume_that_is_attached_to_something_is_never_deleted() -> None:
    night = a_completed_night(a_volume(attached_to="i-9"), made_tonight("zone-b"))

    assert DeleteVolume not in kinds(plan(a_launched_run(snapshot_id="snap-1"), night, a_moment(4)))


VOLUMES = st.lists(
    st.builds(
        a_volume_in,
        zone=st.sampled_from(["zone-a", "zone-b", "zone-x"]),
        volume_id=st.sampled_from(["vol-1", "vol-2", "vol-3"]),
        made_for=st.sampled_from([None, "main/2026-11-22/1", str(a_run_id())]),
        state=st.sampled_from(["available", "in-use", "creating"]),
    ),
    max_size=3,
    unique_by=lambda volume: volume.id,
)
SNAPSHOTS = st.lists(
    st.builds(
        lambda number, state, source: replace(a_snapshot(f"snap-{number}", state=state), volume_id=source),
        st.integers(1, 2),
        st.sampled_from(["pending", "completed", "error"]),
        st.sampled_from(["vol-1", "vol-2"]),
    ),
    max_size=2,
    unique_by=lambda snapshot: snapshot.id,
)
NIGHTS = st.builds(
    a_night,
    receiver=st.sampled_from([a_receiver(), an_ephemeral_receiver()]),
    volumes=VOLUMES.map(tuple),
    newest=st.sampled_from([None, LAST_NIGHTS]),
    machines=st.sampled_from([(), (a_receiver_machine(),), (a_receiver_machine(1, "terminated"),)]),
    ready=st.sampled_from([frozenset(), frozenset({1})]),
    released=st.sampled_from([frozenset(), frozenset({1})]),
    results=st.sampled_from([(), (a_result("us0"),), (a_result("us0"), a_result("eu0"))]),
    snapshots=SNAPSHOTS.map(tuple),
    unsound=st.sampled_from([frozenset(), frozenset({"vol-1"})]),
)
RUNS = st.builds(
    a_launched_run,
    full_zones=st.sampled_from([(), ("zone-a",)]),
    snapshot_id=st.sampled_from([None, "snap-1", "snap-2"]),
    snapshot_intended=st.sampled_from([None, a_moment(3)]),
)
MOMENTS = st.integers(0, 24 * 12).map(lambda step: a_moment(2) + step * timedelta(minutes=5))


@settings(max_examples=500, deadline=None)
@given(RUNS, NIGHTS, MOMENTS)
def test_whatever_is_observed_no_volume_goes_that_may_hold_what_no_snapshot_does(
    run: Run, night: NightWorld, now: datetime
) -> None:
    actions = plan(run, night, now)

    is_done = any(isinstance(action, CloseRun) and action.state is RunState.DONE for action in actions)
    volumes = {volume.id: volume for volume in night.volumes}
    for action in actions:
        if isinstance(action, DeleteVolume):
            volume = volumes[action.volume_id]
            is_in_a_snapshot = any(
                each.id == run.snapshot_id and each.volume_id == volume.id and each.state == "completed"
                for each in night.snapshots
            )
            was_never_pushed_to = volume.tags == TONIGHT and not (night.ready or night.released or night.results)
            assert volume.state == "available"
            assert is_in_a_snapshot or is_done or was_never_pushed_to


@settings(max_examples=500, deadline=None)
@given(RUNS, NIGHTS, MOMENTS)
def test_whatever_is_observed_a_run_is_closed_or_something_is_awaited_or_done(
    run: Run, night: NightWorld, now: datetime
) -> None:
    assert plan(run, night, now)


@settings(max_examples=500, deadline=None)
@given(RUNS, NIGHTS)
def test_whatever_is_observed_a_run_is_closed_when_its_time_is_up(run: Run, night: NightWorld) -> None:
    """After at most one step more: the snapshot that is there is adopted, or the one that can be is asked for."""
    now = DEADLINE + GIVE_UP
    actions = plan(run, night, now)

    if kinds(actions) == [AdoptSnapshot]:
        (adopt,) = actions
        actions = plan(replace(run, snapshot_id=getattr(adopt, "snapshot_id", None)), night, now)
    elif kinds(actions) == [IntendSnapshot, TakeSnapshot]:
        actions = plan(replace(run, snapshot_intended=now), night, now)

    assert CloseRun in kinds(actions)


# -- when a file system is damaged -------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(RUNS, NIGHTS, MOMENTS)
def test_whatever_is_observed_nothing_is_done_with_a_damaged_volume_but_to_set_it_aside(
    run: Run, night: NightWorld, now: datetime
) -> None:
    actions = plan(run, replace(night, damaged=frozenset({1}), unsound=frozenset({"vol-1"})), now)

    about = [action for action in actions if "vol-1" in vars(action).values()]
    is_there = any(volume.id == "vol-1" for volume in night.volumes)
    assert about == ([SetAside("vol-1")] if is_there and now < DEADLINE + GIVE_UP else [])


def test_a_damaged_volume_that_cannot_be_set_aside_does_not_keep_the_run_from_its_end() -> None:
    night = a_night(damaged=frozenset({1}), unsound=frozenset({"vol-1"}))

    (closing,) = plan(a_launched_run(why="tagging vol-1: denied"), night, DEADLINE + GIVE_UP)

    assert isinstance(closing, CloseRun)
    assert str(closing.why).endswith("no snapshot could be taken: tagging vol-1: denied")


def test_who_has_found_its_volume_damaged_gets_no_other() -> None:
    night = a_night(machines=(a_receiver_machine(),), volumes=(), damaged=frozenset({1}), unsound=frozenset({"vol-1"}))

    assert kinds(plan(a_launched_run(), night, a_moment(3))) == [TerminateReceiver]


def test_a_damaged_volume_costs_no_machine_of_those_that_a_night_has() -> None:
    gone = tuple(a_receiver_machine(attempt, "terminated") for attempt in (1, 2, 3))
    night = a_night(
        machines=gone, volumes=(a_volume_in("zone-a", "vol-4"),), briefed=frozenset({"vol-4"}), newest=LAST_NIGHTS
    )
    night = replace(night, damaged=frozenset({1, 2, 3}), unsound=frozenset({"vol-1", "vol-2", "vol-3"}))

    assert kinds(plan(a_launched_run(3), night, a_moment(3))) == [LaunchReceiver]


def test_what_hosts_have_pushed_to_and_is_damaged_ends_the_night() -> None:
    """Who has reported does not push again."""
    night = a_night(
        machines=(a_receiver_machine(2, "terminated"),),
        volumes=(),
        ready=frozenset({1}),
        pushed_to="vol-1",
        damaged=frozenset({2}),
        unsound=frozenset({"vol-1"}),
    )

    assert plan(a_launched_run(2), night, a_moment(3)) == (
        CloseRun(RunState.FAILED, "volume vol-1 was found damaged after hosts had pushed to it"),
    )


# -- when a snapshot fails ---------------------------------------------------------------------------------------------

FAILED_ONCE = a_spent_night(snapshots=(a_snapshot("snap-1", state="error"),))


def test_a_snapshot_that_ends_in_an_error_is_taken_once_more_while_the_volume_is_there() -> None:
    run = a_launched_run(snapshot_id="snap-1", snapshot_intended=a_moment(3))

    assert kinds(plan(run, FAILED_ONCE, a_moment(3) + SNAPSHOT_SETTLES)) == [IntendSnapshot, TakeSnapshot]
    assert kinds(plan(run, FAILED_ONCE, a_moment(3, 1))) == [Wait]


def test_the_second_snapshot_takes_the_place_of_the_failed_one() -> None:
    run = a_launched_run(snapshot_id="snap-1", snapshot_intended=a_moment(3))
    night = replace(FAILED_ONCE, snapshots=(*FAILED_ONCE.snapshots, a_snapshot("snap-2", state="pending")))

    assert plan(run, night, a_moment(4)) == (AdoptSnapshot("snap-2"),)


def test_a_snapshot_that_failed_before_it_was_adopted_is_taken_once_more() -> None:
    run = a_launched_run(snapshot_intended=a_moment(3))

    assert kinds(plan(run, FAILED_ONCE, a_moment(4))) == [IntendSnapshot, TakeSnapshot]
