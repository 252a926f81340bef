"""Two regions: the one that makes the backups, and the standby, which has nothing but what has reached it."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.holds import Target
from chalicelib.core.model import Run, RunState
from chalicelib.core.naming import RecoveryRequest
from chalicelib.errors import ConfigError, PermanentError, Refused
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.copy import Copied, copy_snapshots
from chalicelib.flows.follow import REPLICA_SETTLES, follow
from chalicelib.flows.forget import forget_host
from chalicelib.flows.hold import hold
from chalicelib.flows.open_recovery import open_restore
from chalicelib.flows.prune import prune
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from chalicelib.flows.run_now import run_now
from chalicelib.flows.sweep import sweep
from chalicelib.flows.tell import tell
from chalicelib.flows.tick import tick
from chalicelib.flows.wake import on_snapshot
from chalicelib.ports import StackRole
from tests.builders import A_POLICY_TEXT, a_moment, a_run_id
from tests.fakes import Crash, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world, some_settings
from tests.past import a_drill, a_night, an_open_drill
from tests.recoveries import its

THERE = "eu-central-1"
POLICY = f"""{A_POLICY_TEXT}
[copy]
region = "{THERE}"
retention = {{ daily = 2 }}

[restore]
subnet = "subnet-0aaaaaaaaaaaaaaaa"
"""
ONLY_US0 = POLICY.replace('hosts    = ["us0", "eu0"]', 'hosts    = ["us0"]')
WITHOUT_EU0 = ONLY_US0[: ONLY_US0.index("[host.eu0]")] + ONLY_US0[ONLY_US0.index("[retention]") :]
MOST_CALLS = 80


def a_primary(*days: int) -> FakeWorld:
    """Nights have gone by, and each was copied."""
    primary = a_world()
    apply_policy(POLICY, None, primary, a_moment(1))
    for day in days or (23,):
        a_night(primary, day)
        copy_all(primary, day)
    return primary


def copy_all(primary: FakeWorld, day: int) -> None:
    """Everything that the copies' rules want at the end of that night, one after the other."""
    primary.copies.now = a_moment(5, day=day)
    while copy_snapshots(primary, a_moment(5, day=day)) != Copied():
        primary.copies.end(THERE)


def a_standby() -> FakeWorld:
    """Deployed beforehand: its own subnet and groups, an empty table, an empty archive, no snapshots."""
    settings = replace(some_settings(), region=THERE, role=StackRole.STANDBY, subnets=("subnet-dr",))
    return replace(a_world(), settings=settings)


def copies_arrive(primary: FakeWorld, standby: FakeWorld) -> None:
    standby.volumes.snapshots.update(primary.copies.by_region[THERE])


def archive_arrives(primary: FakeWorld, standby: FakeWorld, but: str = "nothing") -> None:
    standby.archive.objects.update({key: body for key, body in primary.archive.objects.items() if but not in key})


def a_standby_of(primary: FakeWorld) -> FakeWorld:
    standby = a_standby()
    copies_arrive(primary, standby)
    archive_arrives(primary, standby)
    return standby


def a_tick(standby: FakeWorld, now: datetime) -> list[str]:
    """What one tick called later."""
    standby.lambdas.invoked.clear()
    tick(standby, now, new_nonce=lambda: "0" * 32)
    return [function for function, _ in standby.lambdas.invoked]


def hosts_restorable(world: FakeWorld) -> list[tuple[str, datetime]]:
    return [(point.host_id, point.at) for point in world.catalog.find_points()]


def ids_of(standby: FakeWorld, days: tuple[int, ...]) -> list[str]:
    """The copies there are of these nights."""
    runs = {str(a_run_id(day)) for day in days}
    return [copy.id for copy in standby.volumes.snapshots.values() if copy.tags[tags.RUN] in runs]


# -- restoring --------------------------------------------------------------------------------------------------------


def test_a_host_is_restored_from_copies_archive_and_parameters_alone() -> None:
    primary = a_primary(22, 23)
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(12))

    recovery_id = open_restore(RecoveryRequest("us0"), standby, a_moment(12)).id
    outcome = recover(recovery_id, standby, a_moment(12))

    (volume,) = standby.volumes.find_volumes({tags.RECOVERY: str(recovery_id)})
    (newest,) = [copy for copy in standby.volumes.snapshots.values() if copy.tags[tags.RUN] == "main/2026-11-23/1"]
    briefed = wire.parse_recovery_brief(standby.archive.get(its(wire.recovery_brief_key, standby, recovery_id)))
    assert standby.volumes.made_from[volume.id] == newest.id
    assert [(request.subnet, request.instance_type) for request in standby.machines.requests] == [
        ("subnet-dr", "t3a.medium")
    ]
    assert briefed.point.manifest == "manifests/us0a/main/2026-11-23/1.jsonl.gz"
    assert outcome.waiting == ("the report of machine i-1",)


def test_its_restore_points_are_those_of_the_other_region_at_the_same_times() -> None:
    primary = a_primary(22, 23)
    standby = a_standby_of(primary)

    a_tick(standby, a_moment(12))

    assert hosts_restorable(standby) == hosts_restorable(primary)
    assert [point.manifest for point in standby.catalog.find_points()] == [
        point.manifest for point in primary.catalog.find_points()
    ]


def test_an_earlier_night_is_found_by_its_own_time_not_by_that_of_the_copy() -> None:
    standby = a_standby_of(a_primary(22, 23))
    a_tick(standby, a_moment(12))

    recovery_id = open_restore(RecoveryRequest("us0", a_moment(12, day=22)), standby, a_moment(12)).id

    assert standby.catalog.get_recovery(recovery_id).point.run == a_run_id(22)


def test_its_recoveries_are_never_those_that_replication_may_yet_bring() -> None:
    primary = a_primary()
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(9))

    theirs = an_open_drill(primary, a_moment(9))
    ours = an_open_drill(standby, a_moment(9))
    archive_arrives(primary, standby)
    again = open_restore(RecoveryRequest("us0"), standby, a_moment(10)).id

    assert (theirs.attempt, ours.attempt, again.attempt) == (1, 1001, 1002)


# -- following --------------------------------------------------------------------------------------------------------


def test_a_copy_nobody_heard_of_is_made_good_by_the_tick() -> None:
    standby = a_standby_of(a_primary())

    assert a_tick(standby, a_moment(6, 5)) == ["prune"]
    assert a_tick(standby, a_moment(6, 10)) == []
    assert len(hosts_restorable(standby)) == 2


def test_the_event_of_a_copy_makes_its_restore_points_at_once() -> None:
    standby = a_standby_of(a_primary())
    (copy_id,) = standby.volumes.snapshots

    on_snapshot(copy_id, standby, a_moment(6))

    assert len(hosts_restorable(standby)) == 2


def test_a_copy_on_its_way_is_no_restore_point() -> None:
    standby = a_standby_of(a_primary())
    for copy_id, copy in standby.volumes.snapshots.items():
        standby.volumes.snapshots[copy_id] = replace(copy, state="pending")

    assert follow(standby, a_moment(6)) == ()
    assert hosts_restorable(standby) == []


def test_a_copy_waits_for_the_reports_of_its_hosts_but_not_for_ever() -> None:
    primary, standby = a_primary(), a_standby()
    copies_arrive(primary, standby)
    archive_arrives(primary, standby, but="reports/")

    early = follow(standby, a_moment(6))
    overdue = follow(standby, a_moment(3) + REPLICA_SETTLES)

    assert (early, overdue) == ((), (a_run_id(),))
    assert [point.manifest for point in standby.catalog.find_points()] == [None, None]


def test_a_run_that_does_not_fit_into_the_catalogue_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a vault the archive's replica is another account's word."""
    primary, standby = a_primary(22, 23), a_standby()
    copies_arrive(primary, standby)
    archive_arrives(primary, standby)
    open_run = standby.catalog.open_run

    def opened(run: Run) -> bool:
        if run.id == a_run_id(22):
            raise PermanentError("Item size has exceeded the maximum allowed size")
        return open_run(run)

    monkeypatch.setattr(standby.catalog, "open_run", opened)

    early = follow(standby, a_moment(6, day=22))
    overdue = follow(standby, a_moment(3, day=22) + REPLICA_SETTLES)

    assert (early, overdue) == ((a_run_id(23),), (a_run_id(22),))


def test_a_run_is_recorded_once_its_closing_has_arrived_so_that_it_never_stands_in_the_way_of_later_ones() -> None:
    primary, standby = a_primary(22, 23), a_standby()
    copies_arrive(primary, standby)
    archive_arrives(primary, standby, but="2026-11-22/1/closed")

    early = follow(standby, a_moment(6, day=22))
    archive_arrives(primary, standby)
    late = follow(standby, a_moment(6, day=22))

    assert (early, late) == ((a_run_id(23),), (a_run_id(22),))
    assert [run.state for run in standby.catalog.find_runs("main")] == [RunState.DONE, RunState.DONE]
    assert all(point.manifest for point in standby.catalog.find_points())


def test_the_newest_policy_that_arrived_is_in_force() -> None:
    primary = a_primary()
    apply_policy(POLICY.replace("daily = 2", "daily = 3"), None, primary, a_moment(1))
    standby = a_standby_of(primary)

    a_tick(standby, a_moment(6))

    assert standby.catalog.policy_version() == "000002"


def test_its_lost_table_comes_back_with_the_next_tick() -> None:
    standby = a_standby_of(a_primary(22, 23))
    a_tick(standby, a_moment(6))
    before = standby.catalog.find_points()
    after = replace(standby, catalog=FakeCatalog())

    a_tick(after, a_moment(6, 5))

    assert after.catalog.find_points() == before


def test_with_its_archive_lost_too_the_copies_tags_alone_give_the_restore_points() -> None:
    primary, standby = a_primary(22, 23), a_standby()
    copies_arrive(primary, standby)

    rebuild(standby)

    assert hosts_restorable(standby) == hosts_restorable(primary)


def test_rebuilding_it_does_not_take_up_the_other_regions_drills() -> None:
    primary = a_primary()
    an_open_drill(primary, a_moment(9))
    standby = a_standby_of(primary)

    rebuilt = rebuild(standby)

    assert (rebuilt.recoveries, standby.catalog.find_recoveries()) == (0, [])
    assert hosts_restorable(standby) == hosts_restorable(primary)


def test_a_night_that_is_open_in_the_replica_is_left_to_the_tick_and_never_keeps_later_ones_out() -> None:
    primary, standby = a_primary(22, 23), a_standby()
    copies_arrive(primary, standby)
    archive_arrives(primary, standby, but="2026-11-22/1/closed")

    rebuilt = rebuild(standby)
    apart = [run.id for run in standby.catalog.find_runs("main")], hosts_restorable(standby)
    archive_arrives(primary, standby)
    a_tick(standby, a_moment(6))

    assert (rebuilt.runs, *apart) == (1, [a_run_id(23)], hosts_restorable(primary)[2:])
    assert [run.state for run in standby.catalog.find_runs("main")] == [RunState.DONE, RunState.DONE]
    assert hosts_restorable(standby) == hosts_restorable(primary)
    assert all(point.manifest for point in standby.catalog.find_points())


def test_rebuilding_takes_up_the_copy_of_a_runs_other_snapshot_if_that_is_what_was_copied() -> None:
    """The answer to the first request was lost and the second one's snapshot adopted: the first, older, was copied."""
    primary = a_primary()
    standby = a_standby_of(primary)
    (copied,) = standby.volumes.snapshots.values()
    of_the_other = replace(copied, tags={**copied.tags, tags.SOURCE: "snap-older"})
    standby.volumes.snapshots[copied.id] = of_the_other

    rebuild(standby)

    assert hosts_restorable(standby) == hosts_restorable(primary)


def test_of_two_copies_of_one_run_rebuilding_takes_up_that_of_the_snapshot_it_adopted() -> None:
    standby = a_standby_of(a_primary())
    (copied,) = standby.volumes.snapshots.values()
    of_the_other = {tags.SOURCE: "snap-older", tags.TAKEN: a_moment(1, 55).isoformat()}
    standby.volumes.snapshots["snap-other"] = replace(copied, id="snap-other", tags={**copied.tags, **of_the_other})

    rebuild(standby)

    assert {point.snapshot_id for point in standby.catalog.find_points()} == {copied.id}


# -- what it does not do ----------------------------------------------------------------------------------------------


def test_it_opens_no_run_although_a_window_is_due() -> None:
    standby = a_standby_of(a_primary())

    for hour in range(2, 6):
        a_tick(standby, a_moment(hour, 1, day=24))

    assert [run.id for run in standby.catalog.find_runs("main")] == [a_run_id(23)]
    assert standby.catalog.get_run(a_run_id(23)).state is RunState.DONE
    assert standby.machines.requests == []


def test_nobody_can_begin_a_run_apply_a_policy_or_forget_a_host_there() -> None:
    standby = a_standby_of(a_primary())
    a_tick(standby, a_moment(6))

    with pytest.raises(Refused, match="standby"):
        run_now("main", standby, a_moment(7), new_nonce=lambda: "0" * 32)
    with pytest.raises(ConfigError, match="standby"):
        apply_policy(POLICY, None, standby, a_moment(1))
    with pytest.raises(Refused, match="standby"):
        forget_host("eu0", "ada", standby, a_moment(7))


def test_it_tells_of_points_that_grow_old_and_never_pings_for_the_other_region() -> None:
    primary = a_primary()
    apply_policy(f'{POLICY}\n[alarm]\nping = "https://example.org/ping"\n', None, primary, a_moment(1))
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(6))

    good, silent = tell(standby, a_moment(6)), tell(standby, a_moment(6, day=30))
    tell(primary, a_moment(6))

    assert (good.troubles, silent.troubles) == (0, 3)
    assert any("newest restore point is 7 days old" in body for _, _, body in standby.alarms.published)
    assert "no preflight is known" in " ".join(standby.alarms.subjects)
    assert (standby.watch.pinged, len(primary.watch.pinged)) == ([], 1)


def test_it_makes_no_copies_of_its_copies() -> None:
    standby = a_standby_of(a_primary())
    a_tick(standby, a_moment(6))

    assert copy_snapshots(standby, a_moment(6)) == Copied()
    assert standby.copies.asked == []


def test_copies_to_the_region_of_the_backups_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"copy\.region: 'us-east-1' is where the backups are"):
        apply_policy(POLICY.replace(THERE, "us-east-1"), None, a_world(), a_moment(1))


# -- pruning there ----------------------------------------------------------------------------------------------------


def test_over_many_nights_it_keeps_what_the_copies_rules_keep_and_nothing_is_copied_twice() -> None:
    primary, standby = a_primary(14), a_standby()

    for day in range(15, 24):
        a_night(primary, day)
        copy_all(primary, day)
        copies_arrive(primary, standby)
        archive_arrives(primary, standby)
        assert a_tick(standby, a_moment(6, 5, day=day)) == ["prune"]
        prune(standby, a_moment(6, 5, day=day))
        primary.copies.by_region[THERE] = dict(standby.volumes.snapshots)

    kept = sorted(copy.tags[tags.RUN] for copy in standby.volumes.snapshots.values())
    assert kept == [f"main/2026-11-{day}/1" for day in (21, 22, 23)]  # the oldest is marked, and goes tomorrow
    assert len(primary.copies.asked) == 10
    assert {point.snapshot_id for point in standby.catalog.find_points()} == standby.volumes.snapshots.keys()


def test_what_pruning_is_deleting_is_not_taken_up_again_in_the_middle_of_it() -> None:
    standby = a_standby_of(a_primary(21, 22, 23))
    a_tick(standby, a_moment(6))
    (marked,) = prune(standby, a_moment(6)).mark
    standby.catalog.forget_points(marked, ["us0a", "eu0a"])

    a_tick(standby, a_moment(6, 5))

    assert marked in standby.volumes.snapshots
    assert marked not in {point.snapshot_id for point in standby.catalog.find_points()}


def test_a_host_that_left_the_policy_keeps_all_its_copies() -> None:
    primary = a_primary(21, 22, 23)
    apply_policy(WITHOUT_EU0, None, primary, a_moment(1))
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(6))

    assert prune(standby, a_moment(6)).mark == ()


def test_a_forgotten_hosts_copies_go_too_and_are_not_made_again() -> None:
    primary = a_primary(20)
    apply_policy(WITHOUT_EU0, None, primary, a_moment(1))
    for day in (21, 22, 23):
        a_night(primary, day, ("complete",))
        copy_all(primary, day)
    asked = list(primary.copies.asked)
    forget_host("eu0", "ada", primary, a_moment(6))
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(6))

    assert prune(standby, a_moment(6)).mark == tuple(ids_of(standby, (20, 21)))
    prune(standby, a_moment(6, day=24))
    primary.copies.by_region[THERE] = dict(standby.volumes.snapshots)
    copy_all(primary, 24)

    assert ids_of(standby, (20, 21)) == []
    assert primary.copies.asked == asked


def test_a_held_copy_stays() -> None:
    standby = a_standby_of(a_primary(21, 22, 23))
    a_tick(standby, a_moment(6))
    (oldest,) = ids_of(standby, (21,))

    hold(Target(oldest), "the auditors", "ada", standby, a_moment(6))

    assert prune(standby, a_moment(6)).mark == ()


def test_when_no_more_copies_come_the_old_ones_stay() -> None:
    standby = a_standby_of(a_primary(21, 22, 23))
    a_tick(standby, a_moment(6))
    prune(standby, a_moment(6))

    plan = prune(standby, a_moment(6, day=29))

    assert plan.refused is not None
    assert len(standby.volumes.snapshots) == 3


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_the_next_tick(after: bool) -> None:
    primary = a_primary(22, 23)
    for at in range(1, MOST_CALLS):
        standby, fuse = a_standby_of(primary), Fuse(at, after)

        try:
            tick(a_fused_world(standby, fuse), a_moment(6), new_nonce=lambda: "0" * 32)
        except Crash:
            a_tick(standby, a_moment(6))

        assert hosts_restorable(standby) == hosts_restorable(primary), f"call {at}"
        assert all(point.manifest for point in standby.catalog.find_points()), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a standby's tick takes more than {MOST_CALLS} calls")


def test_what_a_restore_there_leaves_is_swept_there() -> None:
    standby = a_standby_of(a_primary())
    a_tick(standby, a_moment(6))
    recovery_id = open_restore(RecoveryRequest("us0"), standby, a_moment(6)).id
    recover(recovery_id, standby, a_moment(6))

    early = sweep(standby, a_moment(12))
    late = sweep(standby, a_moment(7) + timedelta(days=8))

    assert early.removed == ()
    assert [removal.id for removal in late.removed] == ["i-1"]
    assert standby.volumes.snapshots


def test_no_copy_goes_for_the_sake_of_one_that_waits_for_its_reports() -> None:
    primary = a_world()
    apply_policy(POLICY.replace("daily = 2", "last = 1"), None, primary, a_moment(1))
    for day in (22, 23):
        a_night(primary, day)
        copy_all(primary, day)
        if day == 22:
            standby = a_standby_of(primary)
            a_tick(standby, a_moment(6, day=22))
    copies_arrive(primary, standby)
    archive_arrives(primary, standby, but="2026-11-23")

    for moment in (a_moment(5, 30), a_moment(1, 45, day=24)):
        a_tick(standby, moment)
        prune(standby, moment)

    assert {host for host, _ in hosts_restorable(standby)} == {"us0a", "eu0a"}


def test_at_a_standby_pruning_makes_no_points() -> None:
    primary = a_primary(22, 23)
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(6))
    late = next(copy.id for copy in standby.volumes.snapshots.values() if copy.tags[tags.RUN] == str(a_run_id(23)))
    standby.catalog.forget_points(late, ("us0a", "eu0a"))

    prune(standby, a_moment(6))

    assert late not in {point.snapshot_id for point in standby.catalog.find_points()}


# -- what was found damaged after it was copied -----------------------------------------------------------------------


def find_damaged(primary: FakeWorld, day: int, found: str = "main/2026-11-24/1") -> str:
    """The snapshot of that night; the next pruning there passes it on."""
    (snapshot,) = [each for each in primary.volumes.snapshots.values() if each.tags[tags.RUN] == str(a_run_id(day))]
    primary.volumes.tag(snapshot.id, {tags.DAMAGED: found})
    prune(primary, a_moment(9, day=24))
    return snapshot.id


def a_standby_that_heard_of_damage(day: int) -> FakeWorld:
    """Its copies of two nights count; the source of that day's is found damaged."""
    primary = a_primary(22, 23)
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(12))
    find_damaged(primary, day)
    archive_arrives(primary, standby)
    return standby


def said_damaged(standby: FakeWorld) -> dict[str, str]:
    """The nights whose copies are tagged, and the word."""
    copies = standby.volumes.snapshots.values()
    return {copy.tags[tags.RUN]: copy.tags[tags.DAMAGED] for copy in copies if tags.DAMAGED in copy.tags}


def test_a_copy_whose_source_is_found_damaged_counts_no_more_and_the_sound_one_before_it_is_restored() -> None:
    standby = a_standby_that_heard_of_damage(23)

    woken = a_tick(standby, a_moment(10, day=24))
    prune(standby, a_moment(10, day=24))

    restore = open_restore(RecoveryRequest("us0"), standby, a_moment(10, day=24))
    assert "prune" in woken
    assert said_damaged(standby) == {str(a_run_id(23)): "main/2026-11-24/1"}
    assert {at.day for _, at in hosts_restorable(standby)} == {22}
    assert restore.point.run == a_run_id(22)
    assert "prune" not in a_tick(standby, a_moment(11, day=24))


def test_no_point_is_made_of_a_copy_that_arrives_after_the_word_that_its_source_is_damaged() -> None:
    primary = a_primary(23)
    find_damaged(primary, 23)
    standby = a_standby_of(primary)

    woken = a_tick(standby, a_moment(10, day=24))

    assert "prune" in woken
    assert hosts_restorable(standby) == []


def another_copy(standby: FakeWorld, day: int) -> str:
    """Of the same source as the one that is there already."""
    (copy_id,) = ids_of(standby, (day,))
    first = standby.volumes.snapshots[copy_id]
    untagged = {name: value for name, value in first.tags.items() if name != tags.DAMAGED}
    standby.volumes.snapshots["snap-again"] = replace(first, id="snap-again", tags=untagged)
    return "snap-again"


def test_another_copy_of_what_is_damaged_is_tagged_as_well_and_makes_no_point() -> None:
    standby = a_standby_that_heard_of_damage(23)
    prune(standby, a_moment(10, day=24))
    later = another_copy(standby, 23)

    woken = a_tick(standby, a_moment(11, day=24))
    prune(standby, a_moment(11, day=24))

    assert "prune" in woken
    assert standby.volumes.snapshots[later].tags[tags.DAMAGED] == "main/2026-11-24/1"
    assert {at.day for _, at in hosts_restorable(standby)} == {22}


def test_the_last_word_on_one_copy_is_none_on_another() -> None:
    standby = a_standby_that_heard_of_damage(23)
    prune(standby, a_moment(10, day=24))
    (looked_at,) = ids_of(standby, (23,))
    del standby.volumes.snapshots[looked_at].tags[tags.DAMAGED]
    later = another_copy(standby, 23)

    a_tick(standby, a_moment(11, day=24))
    prune(standby, a_moment(11, day=24))

    damaged = {copy.id for copy in standby.volumes.snapshots.values() if tags.DAMAGED in copy.tags}
    assert damaged == {later}


def test_while_a_copy_cannot_be_tagged_pruning_is_woken_once_an_hour_and_not_by_every_tick() -> None:
    standby = a_standby_that_heard_of_damage(23)

    woken = [minute for minute in range(0, 60, 5) if "prune" in a_tick(standby, a_moment(10, minute, day=24))]

    assert woken == [0]
    assert "prune" in a_tick(standby, a_moment(11, 2, day=24))


def test_who_takes_the_tag_off_a_copy_has_the_last_word() -> None:
    standby = a_standby_that_heard_of_damage(23)
    prune(standby, a_moment(10, day=24))
    (copy_id,) = ids_of(standby, (23,))
    del standby.volumes.snapshots[copy_id].tags[tags.DAMAGED]

    a_tick(standby, a_moment(11, day=24))
    prune(standby, a_moment(11, day=24))

    assert said_damaged(standby) == {}
    assert {at.day for _, at in hosts_restorable(standby)} == {22, 23}


def test_a_proof_outlasts_the_tag_of_a_copy() -> None:
    primary = a_primary(23)
    standby = a_standby_of(primary)
    a_tick(standby, a_moment(12))
    drill = standby.catalog.get_recovery(a_drill(standby, a_moment(12)))
    find_damaged(primary, 23)
    archive_arrives(primary, standby)
    prune(standby, a_moment(10, day=24))
    (copy_id,) = ids_of(standby, (23,))
    forgotten = hosts_restorable(standby)
    del standby.volumes.snapshots[copy_id].tags[tags.DAMAGED]

    a_tick(standby, a_moment(11, day=24))

    proofs = {point.host_id: point.proven for point in standby.catalog.find_points()}
    assert forgotten == []
    assert (proofs[drill.id.host_id], len(proofs)) == (drill.closed, 2)


@pytest.mark.parametrize("found", ["ada: its fsck said so", "", "main/9999-12-31/1"])
def test_a_word_that_dates_nothing_is_passed_on_all_the_same_and_prunes_on(found: str) -> None:
    primary = a_primary(22, 23)
    standby = a_standby_of(primary)
    find_damaged(primary, 23, found)
    archive_arrives(primary, standby)

    prune(standby, a_moment(10, day=24))

    assert said_damaged(standby) == {str(a_run_id(23)): found if "9999" in found else "as its source"}


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_wherever_pruning_dies_every_copy_of_what_is_damaged_is_tagged_in_the_end(after: bool) -> None:
    primary = a_primary(22, 23)
    find_damaged(primary, 23)
    for at in range(1, MOST_CALLS):
        standby, fuse = a_standby_of(primary), Fuse(at, after, for_good=True)
        with suppress(Crash):
            prune(a_fused_world(standby, fuse), a_moment(10, day=24), holder="invocation-1")

        prune(standby, a_moment(10, day=24), holder="invocation-1")

        assert said_damaged(standby) == {str(a_run_id(23)): "main/2026-11-24/1"}, f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a pruning takes more than {MOST_CALLS} calls")
