"""What outlived its run or recovery goes, what is in use stays, and data is never touched."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from chalicelib.core import tags
from chalicelib.core.model import Machine, RecoveryState, RunState, Volume
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.sweep import GRACE, OVERDUE, SweepPlan, find_forgotten, find_overdue, plan_sweep
from chalicelib.errors import Refused, TransientError
from chalicelib.flows.close_recoveries import find_closable
from chalicelib.flows.open_recovery import open_drill, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.recover import recover
from chalicelib.flows.sweep import find_left_standing, sweep
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_recovery, a_run, a_snapshot
from tests.fakes import Crash, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world
from tests.past import a_world_with_a_past

NOW = a_moment(12)
MOST_CALLS = 50
RUN = "main/2026-11-23/1"
RECOVERY = "us0a/2026-11-23/1"


def tagged(owner: str | None = RUN, expires: datetime | None = NOW + timedelta(hours=1), **more: str) -> dict[str, str]:
    of = {tags.RECOVERY if owner == RECOVERY else tags.RUN: owner} if owner else {}
    expiry = {tags.EXPIRES: expires.isoformat()} if expires else {}
    return {tags.SCHEMA: "1", **of, **expiry, **more}


def a_machine(state: str = "running", launched: datetime = NOW - timedelta(hours=1), **of: str) -> Machine:
    return Machine("i-1", state, None, "zone-a", launched, of or tagged())


def a_volume(state: str = "available", tags_of: Mapping[str, str] | None = None) -> Volume:
    return Volume("vol-1", state, "zone-a", 8, None, tags_of or tagged())


def swept(
    machine: Machine | None = None, volume: Volume | None = None, owners: Mapping[str, datetime | None] | None = None
) -> SweepPlan:
    machines = [machine] if machine else []
    return plan_sweep(machines, [volume] if volume else [], {RUN: None} if owners is None else owners, NOW)


# -- what is decided --------------------------------------------------------------------------------------------------


def test_what_its_open_run_still_needs_stays() -> None:
    assert swept(a_machine(), a_volume()) == SweepPlan((), ())


def test_what_has_expired_goes_even_while_its_run_is_open() -> None:
    late = tagged(expires=NOW)

    plan = swept(a_machine(**late), a_volume(tags_of=late))

    assert [each.id for each in (*plan.machines, *plan.volumes)] == ["i-1", "vol-1"]
    assert plan.machines[0].why == "it expired at 2026-11-23T12:00:00+00:00"


def test_what_belongs_to_a_closed_recovery_goes_after_a_grace() -> None:
    of_a_recovery = tagged(RECOVERY)

    just_closed = swept(a_machine(**of_a_recovery), owners={RECOVERY: NOW - GRACE + timedelta(seconds=1)})
    long_closed = swept(a_machine(**of_a_recovery), owners={RECOVERY: NOW - GRACE})

    assert just_closed.machines == ()
    assert [each.why for each in long_closed.machines] == [f"{RECOVERY} was closed at 2026-11-23T11:45:00+00:00"]


def test_what_the_catalogue_has_lost_stays_until_it_expires() -> None:
    assert swept(a_machine(), a_volume(), owners={}) == SweepPlan((), ())


@pytest.mark.parametrize("expires", [{}, {tags.EXPIRES: "tomorrow"}, {tags.EXPIRES: "2026-11-30T00:00:00"}])
def test_a_machine_of_no_one_that_does_not_say_when_it_ends_is_ended_after_a_grace(expires: dict[str, str]) -> None:
    of_no_one = {**tagged(owner=None, expires=None), **expires}

    new = swept(a_machine(launched=NOW - GRACE + timedelta(seconds=1), **of_no_one))
    old = swept(a_machine(launched=NOW - GRACE, **of_no_one))

    assert new.machines == ()
    assert [each.why for each in old.machines] == ["it runs for no run and no recovery"]


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_a_machine_that_is_going_already_is_left_to_it(state: str) -> None:
    assert swept(a_machine(state, **tagged(expires=NOW))).machines == ()


@pytest.mark.parametrize("state", ["creating", "in-use", "deleting"])
def test_a_volume_that_cannot_be_deleted_now_is_left_for_later(state: str) -> None:
    assert swept(volume=a_volume(state, tagged(expires=NOW))).volumes == ()


def test_a_volume_without_an_owner_is_left_alone() -> None:
    assert swept(volume=a_volume(tags_of=tagged(owner=None, expires=NOW))).volumes == ()


def test_of_one_receiver_no_more_stay_aside_than_the_newest_few() -> None:
    def aside(volume_id: str, days: int, receiver: str = "main") -> Volume:
        of = tagged(None, NOW + timedelta(days=days), **{tags.ROLE: tags.Role.ASIDE, tags.RECEIVER: receiver})
        return replace(a_volume(tags_of=of), id=volume_id)

    volumes = [*(aside(f"vol-{days}", days) for days in (9, 29, 28, 27)), aside("vol-other", 1, "other")]

    plan = plan_sweep([], volumes, {}, NOW)

    assert [each.id for each in plan.volumes] == ["vol-9", "vol-27"]
    assert plan.volumes[0].why == "2 were set aside since"


@pytest.mark.parametrize(("owner", "expires"), [(None, None), (RUN, NOW + timedelta(days=1))])
def test_what_is_aside_without_an_end_or_for_an_open_run_stays_and_counts_for_none(
    owner: str | None, expires: datetime | None
) -> None:
    def aside(number: int, owner: str | None, expires: datetime | None) -> Volume:
        of = tagged(owner, expires, **{tags.ROLE: tags.Role.ASIDE, tags.RECEIVER: "main"})
        return replace(a_volume(tags_of=of), id=f"vol-{number}")

    volumes = [aside(1, owner, expires), *(aside(days, None, NOW + timedelta(days=days)) for days in (28, 29))]

    assert plan_sweep([], volumes, {RUN: None}, NOW).volumes == ()


MOMENTS = some.none() | some.integers(-48, 48).map(lambda hours: NOW + timedelta(hours=hours))
OWNERS = some.sampled_from([None, RUN, RECOVERY, "main/2026-11-22/1", "nonsense"])
ROLES = some.sampled_from([None, *tags.Role]).map(lambda role: {tags.ROLE: str(role)} if role else {})
TAGS = some.builds(lambda owner, expires, role: tagged(owner, expires, **role), OWNERS, MOMENTS, ROLES)
MACHINES = some.builds(
    Machine,
    id=some.integers(1, 99).map("i-{}".format),
    state=some.sampled_from(["pending", "running", "stopped", "shutting-down", "terminated"]),
    address=some.none(),
    zone=some.just("zone-a"),
    launched=some.integers(0, 48).map(lambda hours: NOW - timedelta(hours=hours)),
    tags=TAGS,
)
VOLUMES = some.builds(
    Volume,
    id=some.integers(1, 99).map("vol-{}".format),
    state=some.sampled_from(["creating", "available", "in-use", "deleting", "error"]),
    zone=some.just("zone-a"),
    size_gib=some.just(8),
    attached_to=some.none(),
    tags=TAGS,
)
MANY_MACHINES = some.lists(MACHINES, max_size=6, unique_by=lambda machine: machine.id)
MANY_VOLUMES = some.lists(VOLUMES, max_size=6, unique_by=lambda volume: volume.id)
KNOWN = some.dictionaries(some.sampled_from([RUN, RECOVERY, "main/2026-11-22/1"]), MOMENTS)


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_nothing_of_an_open_run_or_recovery_is_ever_chosen_within_its_time(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    plan = plan_sweep(machines, volumes, owners, NOW)

    in_use = {
        each.id
        for each in (*machines, *volumes)
        if _owner(each) in owners and owners[_owner(each)] is None and not _has_expired(each)
    }
    assert in_use.isdisjoint(each.id for each in (*plan.machines, *plan.volumes))


def _owner(resource: Machine | Volume) -> str:
    return resource.tags.get(tags.RUN) or resource.tags.get(tags.RECOVERY) or ""


def _has_expired(resource: Machine | Volume) -> bool:
    text = resource.tags.get(tags.EXPIRES)
    return text is not None and datetime.fromisoformat(text) <= NOW


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_no_data_volume_is_ever_chosen(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    plan = plan_sweep(machines, volumes, owners, NOW)

    data = {volume.id for volume in volumes if volume.tags.get(tags.ROLE) == "data"}
    assert data.isdisjoint(each.id for each in plan.volumes)


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_whatever_has_expired_is_chosen_as_soon_as_it_can_go(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    plan = plan_sweep(machines, volumes, owners, NOW)

    ours = [each for each in machines if each.tags.get(tags.ROLE) != tags.Role.HOST]
    expired = {each.id for each in ours if _has_expired(each) and each.state in ("pending", "running", "stopped")}
    assert expired <= {each.id for each in plan.machines}


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_a_second_sweep_finds_nothing_more(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    plan = plan_sweep(machines, volumes, owners, NOW)

    ended = {each.id for each in plan.machines}
    after = [replace(each, state="terminated") if each.id in ended else each for each in machines]
    left = [each for each in volumes if each.id not in {gone.id for gone in plan.volumes}]
    assert plan_sweep(after, left, owners, NOW) == SweepPlan((), ())


# -- what is there all the same ---------------------------------------------------------------------------------------


def left(
    *these: Machine | Volume, owners: Mapping[str, datetime | None] | None = None, now: datetime = NOW
) -> list[tuple[str, str]]:
    machines = [each for each in these if isinstance(each, Machine)]
    volumes = [each for each in these if isinstance(each, Volume)]
    return [(each.id, each.why) for each in find_overdue(machines, volumes, owners or {}, now)]


def test_what_has_expired_is_overdue_when_two_sweeps_have_passed_it_by() -> None:
    late = tagged(expires=NOW)
    machine, volume = a_machine(**late), a_volume(tags_of=late)

    just_before = left(machine, volume, now=NOW + OVERDUE - timedelta(seconds=1))

    assert just_before == []
    assert left(machine, volume, now=NOW + OVERDUE) == [
        ("i-1", "it expired at 2026-11-23T12:00:00+00:00"),
        ("vol-1", "it expired at 2026-11-23T12:00:00+00:00"),
    ]


def test_what_a_closed_drill_has_left_is_overdue_before_it_expires() -> None:
    closed = {RECOVERY: NOW - GRACE - OVERDUE}

    assert left(a_machine(**tagged(RECOVERY)), owners=closed) == [
        ("i-1", f"{RECOVERY} was closed at 2026-11-23T09:45:00+00:00")
    ]
    assert left(a_machine(**tagged(RECOVERY)), owners={RECOVERY: None}) == []


@pytest.mark.parametrize(("state", "stands"), [("in-use", True), ("creating", True), ("deleting", False)])
def test_a_volume_that_no_sweep_can_delete_is_overdue_all_the_same(state: str, stands: bool) -> None:
    assert bool(left(a_volume(state, tagged(expires=NOW - OVERDUE)))) == stands


def test_a_damaged_volume_is_not_overdue_for_being_one_too_many() -> None:
    """That is so since the last one was set aside, and no sweep need have come since."""
    aside = [
        replace(a_volume(tags_of={**tagged(None, NOW + timedelta(days=days)), tags.ROLE: "aside"}), id=f"vol-{days}")
        for days in range(1, 5)
    ]

    assert plan_sweep([], aside, {}, NOW).volumes
    assert left(*aside) == []


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_overdue_is_nothing_but_what_a_sweep_removes_as_soon_as_it_can(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    overdue = find_overdue(machines, volumes, owners, NOW)

    free = [replace(volume, state="available") for volume in volumes]
    plan = plan_sweep(machines, free, owners, NOW)
    assert {each.id for each in overdue} <= {each.id for each in (*plan.machines, *plan.volumes)}


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_what_a_sweep_would_have_ended_two_hours_ago_is_overdue(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    none_aside = [each for each in volumes if each.tags.get(tags.ROLE) != tags.Role.ASIDE]

    then = plan_sweep(machines, none_aside, owners, NOW - OVERDUE)

    overdue = {each.id for each in find_overdue(machines, none_aside, owners, NOW)}
    assert {each.id for each in (*then.machines, *then.volumes)} <= overdue


def test_what_is_of_a_recovery_that_the_catalogue_has_lost_is_told_and_not_taken_away() -> None:
    machine, volume = a_machine(launched=NOW - OVERDUE, **tagged(RECOVERY)), a_volume("in-use", tagged(RECOVERY))
    why = f"{RECOVERY} is not in the catalogue, so that nobody goes on with it: `ebbtide rebuild`"

    forgotten = find_forgotten([machine], [volume], {}, NOW)

    assert [(each.id, each.why) for each in forgotten] == [("i-1", why), ("vol-1", why)]
    assert find_forgotten([machine], [volume], {RECOVERY: None}, NOW) == ()
    assert swept(machine, volume, owners={}) == SweepPlan((), ())


@pytest.mark.parametrize("role", [tags.Role.DATA, tags.Role.HOST])
def test_no_data_volume_and_nothing_of_a_hosts_own_is_ever_told_as_forgotten(role: tags.Role) -> None:
    assert find_forgotten([], [a_volume(tags_of=tagged(RUN, **{tags.ROLE: role}))], {}, NOW) == ()


@given(MANY_MACHINES, MANY_VOLUMES, KNOWN)
def test_nothing_is_told_twice_as_overdue_and_as_forgotten(
    machines: list[Machine], volumes: list[Volume], owners: dict[str, datetime | None]
) -> None:
    overdue = {each.id for each in find_overdue(machines, volumes, owners, NOW)}

    assert not overdue & {each.id for each in find_forgotten(machines, volumes, owners, NOW)}


# -- what is done -----------------------------------------------------------------------------------------------------


def a_world_after_a_night_gone_wrong() -> FakeWorld:
    """A closed run and a closed drill have left a machine and a volume each; the data volume and a backup are there."""
    world = a_world()
    world.catalog.open_run(a_run(state=RunState.FAILED))
    world.catalog.open_recovery(replace(a_recovery(), state=RecoveryState.FAILED, closed=a_moment(11)))
    for number, owner in enumerate((RUN, RECOVERY), 1):
        machine_id, volume_id = f"i-{number}", f"vol-{number}"
        world.machines.by_id[machine_id] = replace(a_machine(), id=machine_id, tags=tagged(owner))
        world.volumes.volumes[volume_id] = replace(a_volume(), id=volume_id, tags=tagged(owner))
    data = tagged(RUN, a_moment(1), **{tags.ROLE: "data"})
    world.volumes.volumes["vol-data"] = replace(a_volume(), id="vol-data", tags=data)
    world.volumes.snapshots["snap-1"] = a_snapshot(extra={tags.EXPIRES: a_moment(1).isoformat()})
    return world


def what_is_left(world: FakeWorld) -> tuple[set[str], set[str], set[str]]:
    machines = {machine.id for machine in world.machines.by_id.values() if machine.state != "terminated"}
    return machines, set(world.volumes.volumes), set(world.volumes.snapshots)


CLEAN = (set[str](), {"vol-data"}, {"snap-1"})


def test_what_is_left_of_closed_runs_and_recoveries_is_removed() -> None:
    world = a_world_after_a_night_gone_wrong()

    done = sweep(world, NOW)

    assert what_is_left(world) == CLEAN
    assert [each.id for each in done.removed] == ["i-1", "i-2", "vol-1", "vol-2"]
    assert sweep(world, NOW).removed == find_left_standing(world, NOW) == ()


def test_what_stands_of_a_table_that_was_lost_is_found_until_it_is_rebuilt() -> None:
    world = a_world_with_a_past()
    world.machines.now = NOW
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    machine_id = recover(recovery_id, world, NOW).recovery.machine_id
    lost = replace(world, catalog=FakeCatalog())

    before = find_left_standing(lost, NOW + OVERDUE)
    with pytest.raises(Refused, match="it is not known what stands: `ebbtide rebuild`"):
        find_closable(lost)
    rebuild(lost)

    assert [each.id for each in before] == [machine_id, "vol-6"]
    assert find_left_standing(lost, NOW + OVERDUE) == ()
    assert [each.id for each in find_closable(lost)] == [recovery_id]


def test_one_that_cannot_be_removed_does_not_keep_the_others() -> None:
    world = a_world_after_a_night_gone_wrong()
    delete = world.volumes.delete_volume

    def stuck(volume_id: str) -> None:
        if volume_id == "vol-1":
            raise TransientError("volume vol-1 is in use")
        delete(volume_id)

    world.volumes.delete_volume = stuck  # type: ignore[method-assign]

    done = sweep(world, NOW)

    assert done.faults == ("volume vol-1 is in use",)
    assert set(world.volumes.volumes) == {"vol-1", "vol-data"}
    assert [each.id for each in find_left_standing(world, NOW)] == ["vol-1"]


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_the_next_sweep(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_after_a_night_gone_wrong(), Fuse(at, after)

        try:
            sweep(a_fused_world(world, fuse), NOW)
        except Crash:
            sweep(world, NOW)

        assert what_is_left(world) == CLEAN, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a sweep takes more than {MOST_CALLS} calls")


def test_the_volume_a_night_has_made_outlives_it() -> None:
    world = a_world_with_a_past()
    (volume,) = world.volumes.find_volumes({tags.ROLE: tags.Role.DATA})

    sweep(world, a_moment(12, day=30))

    assert tags.MADE_FOR in volume.tags
    assert volume.id in world.volumes.volumes


def test_everything_a_night_and_a_drill_make_says_when_it_expires() -> None:
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.set_policy_version("000001", None)
    world.catalog.open_run(a_run())
    world.volumes.snapshots["snap-1"] = a_snapshot()
    world.catalog.record_point(a_point())

    reconcile(a_run().id, world, a_moment(2))
    recover(open_drill("us0", world, a_moment(9)), world, a_moment(9))

    made = [*world.machines.by_id.values(), *world.volumes.volumes.values()]
    bounded = [each for each in made if each.tags[tags.ROLE] != tags.Role.DATA]
    assert len(bounded) == 3
    assert [each.id for each in bounded if tags.EXPIRES not in each.tags] == []
    assert sweep(world, a_moment(6)).removed == ()
