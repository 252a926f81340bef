"""A night's pruning, done: marked first, deleted a night later, and in doubt not at all."""

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Pruning, Snapshot
from chalicelib.errors import TransientError
from chalicelib.flows.prune import NO_POLICY, prune
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_recovery, a_run_id, a_snapshot
from tests.fakes import Crash, FakeWorld, Fuse, a_fused_world, a_world

TONIGHT, TOMORROW = a_moment(7, day=23), a_moment(7, day=24)
KEEP_TWO = A_POLICY_TEXT.replace("daily = 7", "last = 2")
DAYS = (20, 21, 22, 23)
MOST_CALLS = 100


def a_world_with_snapshots(policy: str = KEEP_TWO, complete: tuple[str, ...] = ("us0a", "eu0a")) -> FakeWorld:
    """Four nights of snapshots and their restore points, under a policy that keeps the last two."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", policy.encode())
    world.catalog.set_policy_version("000001", None)
    for day in DAYS:
        shelve(world, a_snapshot(f"snap-{day}", a_run_id(day), complete))
        for host_id in complete:
            world.catalog.record_point(a_point(host_id, f"snap-{day}", a_run_id(day)))
    return world


def shelve(world: FakeWorld, snapshot: Snapshot) -> None:
    world.volumes.snapshots[snapshot.id] = snapshot


def marks(world: FakeWorld) -> dict[str, str]:
    """What is marked, and when."""
    snapshots = world.volumes.snapshots.values()
    return {each.id: each.tags[tags.MARKED] for each in snapshots if each.tags.get(tags.MARKED)}


def test_what_no_host_wants_is_marked_tonight() -> None:
    world = a_world_with_snapshots()

    plan = prune(world, TONIGHT)

    assert plan.mark == ("snap-20", "snap-21")
    assert plan.delete == ()
    assert marks(world) == {"snap-20": "2026-11-23", "snap-21": "2026-11-23"}
    assert len(world.volumes.snapshots) == 4


def test_what_is_marked_goes_the_next_night_together_with_its_points() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    plan = prune(world, TOMORROW)

    assert plan.delete == ("snap-20", "snap-21")
    assert sorted(world.volumes.snapshots) == ["snap-22", "snap-23"]
    assert {point.snapshot_id for point in world.catalog.find_points()} == {"snap-22", "snap-23"}


def test_a_dry_run_says_the_same_and_does_nothing() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    snapshots, points = dict(world.volumes.snapshots), world.catalog.find_points()

    said = prune(world, TOMORROW, dry_run=True)

    assert (world.volumes.snapshots, world.catalog.find_points()) == (snapshots, points)
    assert said == prune(world, TOMORROW)


def test_how_it_went_is_recorded_and_whoever_tells_is_woken() -> None:
    sound, refused = a_world_with_snapshots(), a_world_with_snapshots(complete=())

    for world in (sound, refused):
        prune(world, TONIGHT)

    assert sound.catalog.find_pruning() == Pruning(TONIGHT)
    assert refused.catalog.find_pruning() == Pruning(TONIGHT, prune(refused, TONIGHT, dry_run=True).refused)
    assert sound.lambdas.invoked == refused.lambdas.invoked == [("tell_operators", {"schema": 1})]


def test_a_dry_run_records_and_wakes_nothing() -> None:
    world = a_world_with_snapshots()

    prune(world, TONIGHT, dry_run=True)

    assert world.catalog.find_pruning() is None
    assert world.lambdas.invoked == []


def test_pruning_twice_in_a_night_does_no_more_than_once() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    again = prune(world, TONIGHT)

    assert (again.mark, again.delete, again.unmark) == ((), (), ())


def test_a_hold_put_on_between_the_nights_takes_the_mark_off() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    world.volumes.tag("snap-20", {tags.HOLD: "evidence"})

    plan = prune(world, TOMORROW)

    assert plan.unmark == ("snap-20",)
    assert "snap-20" in world.volumes.snapshots
    assert marks(world) == {}


def test_after_a_stalled_backup_nothing_is_deleted() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    plan = prune(world, a_moment(7, day=28))

    assert plan.refused is not None
    assert len(world.volumes.snapshots) == 4
    assert len(world.catalog.find_points()) == 8


def test_an_empty_listing_is_refused() -> None:
    world = a_world_with_snapshots()
    world.volumes.snapshots.clear()

    plan = prune(world, TONIGHT)

    assert plan.refused is not None
    assert len(world.catalog.find_points()) == 8


def test_a_listing_that_breaks_off_deletes_nothing() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    def breaks_off(tags: object) -> list[Snapshot]:
        raise TransientError("page 2 of the snapshots did not come")

    world.volumes.find_snapshots = breaks_off  # type: ignore[method-assign]

    with pytest.raises(TransientError):
        prune(world, TOMORROW)

    assert len(world.volumes.snapshots) == 4


def test_without_a_policy_nothing_is_marked_or_deleted() -> None:
    world = a_world_with_snapshots()
    world.catalog.version = None
    shelve(world, a_snapshot("snap-broken", a_run_id(19), state="error", extra={tags.MARKED: "2026-11-22"}))

    plan = prune(world, TONIGHT)

    assert plan.refused == NO_POLICY
    assert "snap-broken" in world.volumes.snapshots
    assert marks(world) == {"snap-broken": "2026-11-22"}


def test_a_host_that_left_the_policy_keeps_all_its_points() -> None:
    world = a_world_with_snapshots(complete=("us0a", "gone"))

    plan = prune(world, TONIGHT)

    assert plan.mark == ()


def test_a_hosts_own_rules_come_before_everyones() -> None:
    own_rules = KEEP_TWO.replace('id    = "eu0a"', 'id    = "eu0a"\nretention = { last = 3 }')
    world = a_world_with_snapshots(own_rules)

    plan = prune(world, TONIGHT)

    assert plan.mark == ("snap-20",)


def test_what_a_recovery_is_made_from_stays_until_it_is_over() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    world.catalog.open_recovery(a_recovery(point=a_point(snapshot_id="snap-20", run_id=a_run_id(20))))

    plan = prune(world, TOMORROW)

    assert plan.delete == ("snap-21",)
    assert "snap-20" in world.volumes.snapshots


def test_the_answer_names_what_was_done_and_why_the_rest_stays() -> None:
    world = a_world_with_snapshots()

    answer = wire.pruned(prune(world, TONIGHT))

    assert (answer["marked"], answer["deleted"], answer["refused"]) == (["snap-20", "snap-21"], [], None)
    (newest,) = [each for each in answer["plan"] if each["snapshot"] == "snap-23"]
    assert {"host": "us0a", "why": "last snapshot"} in newest["reasons"]


def interrupted_nights(world: FakeWorld, fuse: Fuse) -> None:
    """Two nights of pruning, in which one call dies and the invocation is tried again."""
    for now in (TONIGHT, TOMORROW):
        try:
            prune(a_fused_world(world, fuse), now)
        except Crash:
            prune(world, now)


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_trying_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_snapshots(), Fuse(at, after)

        interrupted_nights(world, fuse)

        assert sorted(world.volumes.snapshots) == ["snap-22", "snap-23"], f"call {at}"
        assert {point.snapshot_id for point in world.catalog.find_points()} == {"snap-22", "snap-23"}, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"two nights of pruning take more than {MOST_CALLS} calls")


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_the_catalogue_never_names_a_snapshot_that_is_gone(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_snapshots(), Fuse(at, after)
        prune(world, TONIGHT)

        try:
            prune(a_fused_world(world, fuse), TOMORROW)
        except Crash:
            named = {point.snapshot_id for point in world.catalog.find_points()}
            assert named <= world.volumes.snapshots.keys(), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a night of pruning takes more than {MOST_CALLS} calls")
