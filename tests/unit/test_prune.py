"""A night's pruning, done: marked first, deleted a night later, and in doubt not at all."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Lease, Pruning, RecoveryState, RunState, Snapshot, SnapshotLock
from chalicelib.core.verdicts import PROVEN
from chalicelib.errors import TransientError, UnderWayError
from chalicelib.flows.leases import LASTS
from chalicelib.flows.prune import LEASE, NO_POLICY, prune
from chalicelib.flows.tell import tell
from tests.builders import (
    A_POLICY_TEXT,
    a_moment,
    a_point,
    a_recovery,
    a_recovery_id,
    a_run,
    a_run_id,
    a_snapshot,
)
from tests.fakes import Crash, FakeWorld, Fuse, a_fused_world, a_world

KEEP_ONE = A_POLICY_TEXT.replace("daily = 7", "last = 1")
TONIGHT, TOMORROW = a_moment(7, day=23), a_moment(7, day=24)
KEEP_TWO = A_POLICY_TEXT.replace("daily = 7", "last = 2")
DAYS = (20, 21, 22, 23)
POLICY = Path(__file__).parents[2] / ".chalice" / "policy-prune.json"
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
    assert marks(world) == dict.fromkeys(("snap-20", "snap-21"), TONIGHT.isoformat())
    assert len(world.volumes.snapshots) == 4


def test_what_is_marked_goes_the_next_night_together_with_its_points() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    plan = prune(world, TOMORROW)

    assert plan.delete == ("snap-20", "snap-21")
    assert sorted(world.volumes.snapshots) == ["snap-22", "snap-23"]
    assert {point.snapshot_id for point in world.catalog.find_points()} == {"snap-22", "snap-23"}


def test_the_functions_own_policy_lets_go_of_what_it_has_marked_and_of_nothing_unmarked() -> None:
    world = a_world_with_snapshots()
    policy = json.loads(POLICY.read_text())["Statement"]
    [like] = [each["Condition"]["StringLike"] for each in policy if "ec2:DeleteSnapshot" in each["Action"]]

    prune(world, TONIGHT)

    allowed = like["aws:ResourceTag/ebbtide:marked"]
    assert [fnmatchcase(mark, allowed) for mark in (*marks(world).values(), "")] == [True, True, False]


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


def test_a_hold_put_on_while_the_pruner_is_at_work_still_counts() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    list_locks = world.volumes.find_locks

    def find_locks_while_someone_holds() -> list[SnapshotLock]:
        """The snapshots were listed before."""
        world.volumes.tag("snap-21", {tags.HOLD: "evidence"})
        return list_locks()

    world.volumes.find_locks = find_locks_while_someone_holds  # type: ignore[method-assign]

    plan = prune(world, TOMORROW)

    assert plan.delete == ("snap-20",)
    assert "snap-21" in world.volumes.snapshots
    assert {point.snapshot_id for point in world.catalog.find_points()} == {"snap-21", "snap-22", "snap-23"}


def test_locked_imaged_and_shared_snapshots_are_neither_marked_nor_deleted() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    world.volumes.locks = [SnapshotLock("snap-20", "governance", None)]
    world.volumes.shared = {"snap-21"}

    plan = prune(world, TOMORROW)

    assert (plan.mark, plan.delete, plan.unmark) == ((), (), ("snap-20", "snap-21"))
    assert len(world.volumes.snapshots) == 4


def test_a_lock_put_on_after_the_mark_takes_it_off_and_the_way_out_begins_anew() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    world.volumes.images = {"snap-20": "ami-1"}
    prune(world, TOMORROW)
    world.volumes.images = {}

    plan = prune(world, TOMORROW)

    assert (plan.mark, plan.delete) == (("snap-20",), ())


@pytest.mark.parametrize("look", ["find_locks", "find_images", "find_shared"])
def test_what_could_not_be_looked_at_deletes_nothing(look: str) -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)

    def fails(*_: object, **__: object) -> None:
        raise TransientError("not now")

    setattr(world.volumes, look, fails)

    with pytest.raises(TransientError):
        prune(world, TOMORROW)

    assert len(world.volumes.snapshots) == 4


def test_more_than_the_cap_goes_only_when_that_many_are_allowed() -> None:
    world = a_world_with_snapshots()
    for night in range(1, 13):
        broken = a_snapshot(f"snap-broken-{night}", a_run_id(night), state="error", extra={tags.MARKED: "2026-11-22"})
        shelve(world, broken)

    refused = prune(world, TONIGHT)
    too_few = prune(world, TONIGHT, allow=11)
    allowed = prune(world, TONIGHT, allow=12)

    assert "--allow 12" in str(refused.refused)
    assert (refused.delete, refused.mark, too_few.delete) == ((), (), ())
    assert len(allowed.delete) == 12
    assert len(world.volumes.snapshots) == 4


def test_a_table_lost_and_not_rebuilt_deletes_nothing() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    world.catalog.points.clear()

    plan = prune(world, TOMORROW)

    assert "rebuild" in str(plan.refused)
    assert len(world.volumes.snapshots) == 4


def test_two_prunes_at_once_cannot_both_act() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    look, seen = world.volumes.find_images, []

    def find_images_while_another_prunes() -> dict[str, str]:
        world.volumes.find_images = look  # type: ignore[method-assign]
        with pytest.raises(UnderWayError, match="prune is under way"):
            prune(world, TOMORROW)
        seen.append(len(world.volumes.snapshots))
        return look()

    world.volumes.find_images = find_images_while_another_prunes  # type: ignore[method-assign]

    plan = prune(world, TOMORROW)

    assert seen == [4]
    assert plan.delete == ("snap-20", "snap-21")


def test_one_that_was_overtaken_deletes_nothing_more() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    forget = world.catalog.forget_points

    def forget_while_another_takes_over(snapshot_id: str, host_ids: Iterable[str]) -> None:
        forget(snapshot_id, host_ids)
        world.catalog.save_lease(world.catalog.leases[LEASE])

    world.catalog.forget_points = forget_while_another_takes_over  # type: ignore[method-assign]

    with pytest.raises(TransientError, match="taken over"):
        prune(world, TOMORROW)

    assert sorted(world.volumes.snapshots) == ["snap-21", "snap-22", "snap-23"]


def test_one_that_failed_lets_the_next_one_in_at_once() -> None:
    world = a_world_with_snapshots()

    def fails() -> dict[str, str]:
        raise TransientError("not now")

    look, world.volumes.find_images = world.volumes.find_images, fails  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="not now"):
        prune(world, TONIGHT)
    world.volumes.find_images = look  # type: ignore[method-assign]

    assert prune(world, TONIGHT).mark == ("snap-20", "snap-21")


def test_one_that_was_killed_is_taken_over_when_its_lease_is_up() -> None:
    world = a_world_with_snapshots()
    with pytest.raises(Crash):
        prune(a_fused_world(world, Fuse(5, after=True, for_good=True)), TONIGHT)

    with pytest.raises(TransientError, match="until 07:16 UTC"):
        prune(world, TONIGHT + LASTS - timedelta(seconds=1))

    assert prune(world, TONIGHT + LASTS).mark == ("snap-20", "snap-21")


def test_one_that_was_killed_is_gone_on_with_by_its_own_retry_and_by_nobody_else() -> None:
    world = a_world_with_snapshots()
    with pytest.raises(Crash):
        prune(a_fused_world(world, Fuse(5, after=True, for_good=True)), TONIGHT, holder="invocation-1")
    retried = TONIGHT + timedelta(minutes=1)

    with pytest.raises(UnderWayError, match="until 07:16 UTC"):
        prune(world, retried, holder="invocation-2")

    assert prune(world, retried, holder="invocation-1").mark == ("snap-20", "snap-21")
    assert prune(world, retried, holder="invocation-2").refused is None


def test_one_that_is_delivered_twice_deletes_with_one_of_its_two_lives() -> None:
    world = a_world_with_snapshots()
    prune(world, TONIGHT)
    look, second = world.volumes.find_images, []

    def find_images_while_it_is_delivered_again() -> dict[str, str]:
        world.volumes.find_images = look  # type: ignore[method-assign]
        second.append(prune(world, TOMORROW, holder="invocation-1"))
        world.volumes.delete_snapshot = deleted.append  # type: ignore[method-assign]
        return look()

    deleted: list[str] = []
    world.volumes.find_images = find_images_while_it_is_delivered_again  # type: ignore[method-assign]

    with pytest.raises(TransientError, match="taken over"):
        prune(world, TOMORROW, holder="invocation-1")

    assert second[0].delete == ("snap-20", "snap-21")
    assert deleted == []


def test_a_dry_run_asks_nobodys_leave() -> None:
    world = a_world_with_snapshots()
    world.catalog.save_lease(Lease(LEASE, TONIGHT + LASTS))

    assert prune(world, TONIGHT, dry_run=True).mark == ("snap-20", "snap-21")


def test_an_answer_too_large_for_a_function_leaves_out_the_oldest_of_what_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = a_world_with_snapshots()
    plan = prune(world, TONIGHT)
    sizes = [len(json.dumps(entry)) for entry in wire.pruned(plan)["plan"]]
    monkeypatch.setattr(wire.asked, "LARGEST_ANSWER", sum(sizes) - 1)

    answer = wire.pruned(plan)

    assert [(each["snapshot"], each["fate"]) for each in answer["plan"]] == [
        ("snap-20", "mark"),
        ("snap-21", "mark"),
        ("snap-23", "keep"),
    ]
    assert answer["untold"] == 1


def interrupted_nights(world: FakeWorld, fuse: Fuse) -> None:
    """Two nights of pruning, in which the process is killed at one call and another goes on when the lease is up."""
    for now in (TONIGHT, TOMORROW):
        try:
            prune(a_fused_world(world, fuse) if not fuse.has_blown else world, now)
        except Crash:
            prune(world, now + LASTS)


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_trying_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_snapshots(), Fuse(at, after, for_good=True)

        interrupted_nights(world, fuse)

        assert sorted(world.volumes.snapshots) == ["snap-22", "snap-23"], f"call {at}"
        assert {point.snapshot_id for point in world.catalog.find_points()} == {"snap-22", "snap-23"}, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"two nights of pruning take more than {MOST_CALLS} calls")


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_the_catalogue_never_names_a_snapshot_that_is_gone(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_snapshots(), Fuse(at, after, for_good=True)
        prune(world, TONIGHT)

        try:
            prune(a_fused_world(world, fuse), TOMORROW)
        except Crash:
            named = {point.snapshot_id for point in world.catalog.find_points()}
            assert named <= world.volumes.snapshots.keys(), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a night of pruning takes more than {MOST_CALLS} calls")


# -- what completed too late ------------------------------------------------------------------------------------------


def a_world_with_a_late_snapshot(state: RunState) -> FakeWorld:
    """The newest night's snapshot is complete, its run in this state, and the catalogue has none of its points."""
    world = a_world_with_snapshots()
    world.catalog.open_run(a_run(a_run_id(23), state=state))
    world.catalog.forget_points("snap-23", ("us0a", "eu0a"))
    return world


def test_what_completed_after_its_run_had_given_it_up_becomes_restore_points_before_older_ones_go_for_it() -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)

    plan = prune(world, TONIGHT)

    assert plan.mark == ("snap-20", "snap-21")
    assert {point.host_id for point in world.catalog.find_points() if point.snapshot_id == "snap-23"} == {
        "us0a",
        "eu0a",
    }


def test_what_a_run_is_still_at_is_left_to_it() -> None:
    world = a_world_with_a_late_snapshot(RunState.OPEN)

    prune(world, TONIGHT)

    assert not [point for point in world.catalog.find_points() if point.snapshot_id == "snap-23"]


def test_a_dry_run_records_no_points() -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)

    plan = prune(world, TONIGHT, dry_run=True)

    assert [point.snapshot_id for point in plan.unrecorded] == ["snap-23", "snap-23"]
    assert not [point for point in world.catalog.find_points() if point.snapshot_id == "snap-23"]


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_while_late_points_are_recorded_is_made_good_by_the_next_pruning(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_a_late_snapshot(RunState.FAILED), Fuse(at, after, for_good=True)

        with suppress(Crash):
            prune(a_fused_world(world, fuse), TONIGHT)
        prune(world, TONIGHT + LASTS)

        recorded = [point.host_id for point in world.catalog.find_points() if point.snapshot_id == "snap-23"]
        assert sorted(recorded) == ["eu0a", "us0a"], f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a pruning takes more than {MOST_CALLS} calls")


def recorded(world: FakeWorld, snapshot_id: str) -> list[str]:
    return sorted(point.host_id for point in world.catalog.find_points() if point.snapshot_id == snapshot_id)


def without_the_two_oldest(world: FakeWorld) -> FakeWorld:
    """One point of everyone is all that is wanted, and there are two nights."""
    world.archive.objects["policies/000001.toml"] = KEEP_ONE.encode()
    for day in (20, 21):
        del world.volumes.snapshots[f"snap-{day}"]
        world.catalog.forget_points(f"snap-{day}", ("us0a", "eu0a"))
    return world


def forget_eu0(world: FakeWorld) -> None:
    text = KEEP_TWO.replace('hosts    = ["us0", "eu0"]', 'hosts    = ["us0"]')
    text = text[: text.index("[host.eu0]")] + text[text.index("[retention]") :]
    world.archive.put_once("policies/000002.toml", text.encode())
    world.catalog.set_policy_version("000002", "000001")
    world.archive.put_once(wire.forgotten_key("eu0a"), wire.forgotten_record("eu0a", "ann", TONIGHT))


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_wherever_a_pruning_dies_every_host_has_a_restore_point(after: bool) -> None:
    """snap-22 has the only ones that the catalogue knows, and goes tonight for the sake of the late snap-23."""
    marked = {tags.MARKED: a_moment(7, day=22).isoformat()}
    for at in range(1, MOST_CALLS):
        world, fuse = (
            without_the_two_oldest(a_world_with_a_late_snapshot(RunState.FAILED)),
            Fuse(at, after, for_good=True),
        )
        shelve(world, a_snapshot("snap-22", a_run_id(22), extra=marked))

        with suppress(Crash):
            prune(a_fused_world(world, fuse), TONIGHT)

        assert {point.host_id for point in world.catalog.find_points()} == {"us0a", "eu0a"}, f"call {at}"
        if not fuse.has_blown:
            assert "snap-22" not in world.volumes.snapshots
            return
    pytest.fail(f"a pruning takes more than {MOST_CALLS} calls")


@pytest.mark.parametrize("state", [RunState.OPEN, None], ids=["its run is stuck", "its run is lost"])
def test_no_point_goes_for_the_sake_of_one_that_the_catalogue_does_not_have(state: RunState | None) -> None:
    world = without_the_two_oldest(a_world_with_a_late_snapshot(state or RunState.OPEN))
    if state is None:
        world.catalog.runs.clear()

    prune(world, TONIGHT)
    prune(world, TOMORROW)

    assert {point.host_id for point in world.catalog.find_points()} == {"us0a", "eu0a"}


def test_a_pruning_that_is_refused_records_what_is_late_all_the_same() -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)
    for day in (20, 21):
        shelve(world, a_snapshot(f"snap-{day}", a_run_id(day), extra={tags.MARKED: a_moment(7, day=22).isoformat()}))

    plan = prune(world, TONIGHT, allow=0)

    assert plan.refused
    assert recorded(world, "snap-23") == ["eu0a", "us0a"]


def test_where_all_is_late_the_first_pruning_already_knows_of_it() -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)
    for day in DAYS[:-1]:
        world.catalog.open_run(a_run(a_run_id(day), state=RunState.FAILED))
        world.catalog.forget_points(f"snap-{day}", ("us0a", "eu0a"))

    plan = prune(world, TONIGHT)

    assert plan.refused is None
    assert recorded(world, "snap-22") == recorded(world, "snap-23") == ["eu0a", "us0a"]


def test_what_nobody_wants_becomes_no_restore_point() -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)
    world.catalog.open_run(a_run(a_run_id(20), state=RunState.FAILED))
    world.catalog.forget_points("snap-20", ("us0a", "eu0a"))

    plan = prune(world, TONIGHT)

    assert "snap-20" in plan.mark
    assert recorded(world, "snap-20") == []


@pytest.mark.parametrize("known", [(), ("eu0a",)], ids=["nothing of it is known", "the forgotten one's point still is"])
def test_of_a_host_that_was_forgotten_nothing_is_recorded_and_of_the_others_all(known: tuple[str, ...]) -> None:
    world = a_world_with_a_late_snapshot(RunState.FAILED)
    for host_id in known:
        world.catalog.record_point(a_point(host_id, "snap-23", a_run_id(23)))
    forget_eu0(world)

    prune(world, TONIGHT)

    assert [each for each in recorded(world, "snap-23") if each not in known] == ["us0a"]


# -- what somebody else has deleted -----------------------------------------------------------------------------------


def test_the_points_of_a_snapshot_that_somebody_has_deleted_leave_the_catalogue_and_that_is_recorded() -> None:
    world = a_world_with_snapshots()
    del world.volumes.snapshots["snap-22"]

    prune(world, TONIGHT)

    pruning = world.catalog.find_pruning()
    assert pruning == Pruning(TONIGHT, None, ("snapshot snap-22 with points of eu0a, us0a",), TONIGHT)
    assert "snap-22" not in {point.snapshot_id for point in world.catalog.find_points()}


def test_it_is_recorded_for_a_day_however_many_prunings_follow() -> None:
    world = a_world_with_snapshots()
    del world.volumes.snapshots["snap-22"]
    recorded = []

    for hours in (0, 1, 23, 24):
        prune(world, TONIGHT + timedelta(hours=hours))
        recorded.append(world.catalog.find_pruning())

    assert [bool(each and each.gone) for each in recorded] == [True, True, True, False]


def test_what_a_listing_leaves_out_and_is_there_all_the_same_keeps_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world_with_snapshots()
    listed = [each for each in world.volumes.find_snapshots({}) if each.id != "snap-22"]
    monkeypatch.setattr(world.volumes, "find_snapshots", lambda tags: listed)
    before = world.catalog.find_points()

    prune(world, TONIGHT)

    assert world.catalog.find_pruning() == Pruning(TONIGHT)
    assert world.catalog.find_points() == before


def test_what_a_night_has_just_recorded_is_not_gone_because_ec2_does_not_show_it_yet() -> None:
    world = a_world_with_snapshots()
    del world.volumes.snapshots["snap-23"]
    (taken,) = {point.at for point in world.catalog.find_points() if point.snapshot_id == "snap-23"}

    prune(world, taken + timedelta(minutes=59))

    assert world.catalog.find_pruning() == Pruning(taken + timedelta(minutes=59))
    assert "snap-23" in {point.snapshot_id for point in world.catalog.find_points()}

    prune(world, taken + timedelta(hours=1))

    assert "snap-23" not in {point.snapshot_id for point in world.catalog.find_points()}


def test_a_pruning_that_is_refused_forgets_nothing() -> None:
    world = a_world_with_snapshots()
    world.volumes.snapshots.clear()
    before = world.catalog.find_points()

    assert prune(world, TONIGHT).refused
    assert world.catalog.find_points() == before


# -- what was found damaged -------------------------------------------------------------------------------------------


def find_damaged(world: FakeWorld, snapshot_id: str, run: str = "main/2026-11-23/1") -> None:
    world.volumes.tag(snapshot_id, {tags.DAMAGED: run})


def test_the_points_of_a_damaged_snapshot_leave_the_catalogue_and_older_ones_stay_in_their_place() -> None:
    world = a_world_with_snapshots()
    find_damaged(world, "snap-23")

    prune(world, TONIGHT)

    assert set(marks(world)) == {"snap-20"}
    assert "snap-23" not in {point.snapshot_id for point in world.catalog.find_points()}
    assert "snap-23" in world.volumes.snapshots


def test_once_the_tag_is_taken_off_its_points_are_restore_points_again() -> None:
    world = a_world_with_snapshots()
    world.catalog.open_run(a_run(a_run_id(23), state=RunState.DONE))
    find_damaged(world, "snap-23")
    prune(world, TONIGHT)
    del world.volumes.snapshots["snap-23"].tags[tags.DAMAGED]

    prune(world, TONIGHT)

    assert recorded(world, "snap-23") == ["eu0a", "us0a"]


def test_a_proof_outlasts_the_tag_of_damage() -> None:
    """What only the point in the catalogue said would be lost with it, and what is proven would go by the rules."""
    world = a_world_with_snapshots()
    world.catalog.open_run(a_run(a_run_id(20), state=RunState.DONE))
    point, when = a_point("us0a", "snap-20", a_run_id(20)), a_moment(12, day=20)
    drill = replace(a_recovery(), point=point, state=RecoveryState.DONE, verdict=PROVEN, closed=when)
    world.catalog.open_recovery(drill)
    find_damaged(world, "snap-20")
    prune(world, TONIGHT)
    del world.volumes.snapshots["snap-20"].tags[tags.DAMAGED]

    for night in (TONIGHT, TOMORROW):
        prune(world, night)

    assert {*world.volumes.snapshots} == {"snap-20", "snap-22", "snap-23"}
    assert [each.proven for each in world.catalog.find_points("us0a") if each.snapshot_id == "snap-20"] == [when]


def test_what_is_proven_is_kept_as_long_though_it_is_called_damaged() -> None:
    world = a_world_with_snapshots()
    point = a_point("us0a", "snap-20", a_run_id(20))
    world.catalog.open_recovery(
        replace(a_recovery(), point=point, state=RecoveryState.DONE, verdict=PROVEN, closed=a_moment(12, day=20))
    )
    find_damaged(world, "snap-20", run="a person said so")

    prune(world, TONIGHT)
    prune(world, TONIGHT)

    assert set(marks(world)) == {"snap-21"}


@pytest.mark.parametrize(("verdict", "staying"), [("different", {"snap-20"}), ("failed", {"snap-20", "snap-21"})])
def test_a_proof_that_did_not_hold_lets_no_older_one_go(verdict: str, staying: set[str]) -> None:
    world = a_world_with_snapshots()
    for attempt, (day, found) in enumerate([(20, PROVEN), (21, PROVEN), (21, verdict)], start=1):
        drill = a_recovery(
            recovery_id=a_recovery_id(attempt=attempt), point=a_point("us0a", f"snap-{day}", a_run_id(day))
        )
        world.catalog.open_recovery(replace(drill, state=RecoveryState.DONE, verdict=found, closed=a_moment(12)))

    prune(world, TONIGHT)

    assert {"snap-20", "snap-21"} - set(marks(world)) == staying


def test_a_dry_run_lets_the_catalogue_be() -> None:
    world = a_world_with_snapshots()
    find_damaged(world, "snap-23")
    before = world.catalog.find_points()

    prune(world, TONIGHT, dry_run=True)

    assert world.catalog.find_points() == before


def test_the_age_of_the_last_good_point_is_that_of_the_sound_one() -> None:
    world = a_world_with_snapshots()
    before = tell(world, TONIGHT)
    for day in (21, 22, 23):
        find_damaged(world, f"snap-{day}")

    prune(world, TONIGHT)
    after = tell(world, TONIGHT)

    (newest,) = {point.at for point in world.catalog.find_points()}
    assert before.sent == ()
    assert "stale: host us0: its newest restore point is 3 days old" in after.sent
    assert [each.newest for each in after.ages] == [TONIGHT - newest]
