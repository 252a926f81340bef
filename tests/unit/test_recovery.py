"""A recovery of any kind: which point, how it is opened, what it waits for, and what interruptions do to it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.actions import Wait
from chalicelib.core.model import RecoveryId, RecoveryKind, RecoveryState
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.recovery import choose_point, plan
from chalicelib.core.recovery_actions import CreateVolume, RecordVerdict, RecoveryWorld
from chalicelib.errors import Refused
from chalicelib.flows.open_recovery import open_drill, open_recovery, open_restore
from chalicelib.flows.recover import Outcome, recover
from tests.builders import A_POLICY_TEXT, a_machine, a_moment, a_point, a_recovery, a_run_id, a_snapshot, a_volume
from tests.fakes import FakeWorld, Fuse, a_fused_world
from tests.recoveries import (
    DRILL,
    FINISHED,
    MOST_CALLS,
    NOW,
    a_drill_awaiting_its_report,
    a_report,
    a_world_with_backups,
    by_ticks_alone,
    is_taken_down,
    put_into_force,
    retried_once,
    the_machine_reports,
    the_night_reports,
)

# -- which point ------------------------------------------------------------------------------------------------------


def test_the_newest_point_is_chosen() -> None:
    points = [a_point(snapshot_id=f"snap-{day}", run_id=a_run_id(day)) for day in (21, 23, 22)]

    chosen = choose_point(points)

    assert chosen is not None
    assert chosen.snapshot_id == "snap-23"


def test_with_a_date_the_newest_at_or_before_it_is_chosen() -> None:
    points = [a_point(snapshot_id=f"snap-{day}", run_id=a_run_id(day)) for day in (21, 22, 23)]

    exactly, before = choose_point(points, points[1].at), choose_point(points, points[1].at - timedelta(seconds=1))

    assert exactly == points[1]
    assert before == points[0]


def test_without_a_point_old_enough_none_is_chosen() -> None:
    assert choose_point([a_point()], a_moment(day=1)) is None
    assert choose_point([]) is None


# -- opening ----------------------------------------------------------------------------------------------------------


def test_a_drill_starts_from_the_newest_point_and_is_handed_on() -> None:
    world = a_world_with_backups(21, 22)

    recovery_id = open_drill("us0", world, NOW)

    recovery = world.catalog.get_recovery(recovery_id)
    assert recovery_id == DRILL
    assert (recovery.kind, recovery.point.snapshot_id) == (RecoveryKind.DRILL, "snap-22")
    assert (recovery.probe, recovery.start) == ("http://127.0.0.1/", ("service nginx start",))
    assert world.lambdas.invoked == [("recover", {"schema": 1, "recovery": str(DRILL)})]


def test_a_drill_asked_for_twice_is_opened_once() -> None:
    world = a_world_with_backups()

    first, second = open_drill("us0", world, NOW), open_drill("us0", world, NOW)

    assert first == second
    assert len(world.catalog.recoveries) == 1


def test_a_second_drill_of_the_day_is_another_attempt() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    recover(DRILL, world, NOW)

    again = open_drill("us0", world, NOW)

    assert again == RecoveryId("us0a", NOW.date(), 2)


def test_an_id_that_the_archive_has_seen_is_never_used_again() -> None:
    world = a_world_with_backups()
    world.archive.put_once(f"recoveries/us0a/{NOW.date()}/3/closed.json", b"{}")

    recovery_id = open_drill("us0", world, NOW)

    assert recovery_id.attempt == 4


@pytest.mark.parametrize("name", ["x", "0", "10000", "999999999", "9" * 900, "1/2"])
def test_names_that_a_stolen_role_has_written_ahead_keep_no_host_from_a_recovery(name: str) -> None:
    world = a_world_with_backups()
    world.archive.put_once(f"recoveries/us0a/{NOW.date()}/{name}/opened.json", b"{}")

    recovery_id = open_drill("us0", world, NOW)
    recover(recovery_id, world, NOW)

    assert recovery_id.attempt in (1, 2)
    assert len(world.machines.requests) == 1


@pytest.mark.fault("X6")
@pytest.mark.parametrize(("highest", "ahead"), [("9999", ("10000",)), ("9999", ("10000", "10001")), ("2", ("3",))])
def test_a_proof_that_a_stolen_role_has_written_ahead_is_none_of_the_drill_that_comes(
    highest: str, ahead: tuple[str, ...]
) -> None:
    world = a_world_with_backups()
    world.archive.put_once(f"recoveries/us0a/{NOW.date()}/{highest}/found.jsonl.gz", b"")
    for each in ahead:
        forged = RecoveryId("us0a", NOW.date(), int(each))
        world.archive.put_once(f"recoveries/{forged}/report.json", a_report(forged))

    drill = recover(open_drill("us0", world, NOW), world, NOW).recovery

    assert (drill.id.attempt, drill.verdict) == (int(ahead[-1]) + 1, None)
    assert [point.proven for point in world.catalog.find_points("us0a")] == [None]


@pytest.mark.attack(
    "with the role of one recovery's machine, report of another",
    row="X8",
    outcome="it is not read: its key would hold a nonce that is in no name which that role may see",
)
@pytest.mark.fault("X8")
def test_a_proof_that_another_recoverys_machine_writes_while_a_drill_is_open_is_none() -> None:
    world = a_world_with_backups()
    drill, its_own = a_drill_awaiting_its_report(world), "0badc0de" * 4
    for place in ("", f"{its_own}/"):
        world.archive.put_once(f"recoveries/{drill}/{place}report.json", a_report(drill))

    after = recover(drill, world, NOW).recovery

    assert (after.state, after.verdict) == (RecoveryState.OPEN, None)
    assert [point.proven for point in world.catalog.find_points("us0a")] == [None]


def test_a_drill_that_an_earlier_version_has_begun_is_heard_where_that_said() -> None:
    world = a_world_with_backups()
    drill = open_drill("us0", world, NOW)
    world.catalog.recoveries[drill] = replace(world.catalog.get_recovery(drill), nonce="")
    recover(drill, world, NOW)

    world.archive.put_once(f"recoveries/{drill}/report.json", a_report(drill))

    assert recover(drill, world, NOW).recovery.verdict == "proven"


def test_a_host_without_points_is_refused() -> None:
    world = a_world_with_backups()

    with pytest.raises(Refused, match="eu0 has no restore point"):
        open_drill("eu0", world, NOW)


def test_a_host_whose_snapshots_are_all_gone_is_refused_and_they_are_named() -> None:
    world = a_world_with_backups(21, 22)
    world.volumes.snapshots.clear()

    with pytest.raises(Refused, match=r"host us0: EC2 shows none of .*: snap-22, snap-21"):
        open_drill("us0", world, NOW)


def test_a_damaged_snapshot_is_passed_over_though_the_catalogue_still_has_its_points() -> None:
    world = a_world_with_backups(21, 22)
    world.volumes.tag("snap-22", {tags.DAMAGED: "main/2026-11-23/1"})

    recovery_id = open_drill("us0", world, NOW)

    assert world.catalog.get_recovery(recovery_id).point.snapshot_id == "snap-21"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_host_of_which_nothing_sound_is_left_is_refused_and_what_is_damaged_is_named(is_known: bool) -> None:
    world = a_world_with_backups(22)
    world.volumes.tag("snap-22", {tags.DAMAGED: "main/2026-11-23/1"})
    if not is_known:
        world.catalog.forget_points("snap-22", ["us0a"])

    with pytest.raises(
        Refused, match=r"host us0 has no sound restore point .* found damaged: snap-22\. .*take the tag"
    ):
        open_restore(RecoveryRequest("us0"), world, NOW)


def test_a_restore_to_before_the_first_point_is_refused_and_says_when_that_was() -> None:
    world = a_world_with_backups()

    with pytest.raises(Refused, match="no restore point that old: its first is of 2026-11-22"):
        open_restore(RecoveryRequest("us0", a_moment(day=1)), world, NOW)


def test_a_host_that_left_the_policy_is_restored_by_its_id() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("old0", "snap-22", a_run_id(22)))

    recovery_id = open_restore(RecoveryRequest("old0"), world, NOW).id

    assert recovery_id.host_id == "old0"


# -- what is asked for ------------------------------------------------------------------------------------------------


def a_request(**values: Any) -> RecoveryRequest:
    return wire.parse_recovery_request({"schema": 1, "host": "us0", **values})


@pytest.mark.parametrize(
    ("at", "snapshot"),
    [
        (None, "snap-22"),
        ("newest", "snap-22"),
        ("2026-11-21", "snap-21"),
        ("2026-11-21T00:00:00Z", "snap-20"),
        ("snap-20", "snap-20"),
        ("main/2026-11-21/1", "snap-21"),
    ],
)
@pytest.mark.parametrize("mode", [RecoveryKind.RESTORE, RecoveryKind.DRILL])
def test_what_is_brought_up_is_the_point_of_a_time_a_day_a_snapshot_or_a_run(
    at: str | None, snapshot: str, mode: RecoveryKind
) -> None:
    world = a_world_with_backups(20, 21, 22)

    recovery = open_recovery(a_request(at=at, mode=mode.value), world, NOW)

    assert (recovery.kind, recovery.point.snapshot_id) == (mode, snapshot)


@pytest.mark.parametrize("point", ["snap-21", "main/2026-11-21/1"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_point_that_is_named_and_was_found_damaged_is_refused_as_that_and_no_other_is_told(
    point: str, is_known: bool
) -> None:
    world = a_world_with_backups(20, 21, 22)
    for snapshot_id in ("snap-20", "snap-21"):
        world.volumes.tag(snapshot_id, {tags.DAMAGED: "main/2026-11-23/1"})
    if not is_known:
        world.catalog.forget_points("snap-21", ["us0a"])

    with pytest.raises(Refused, match=f"no sound restore point {point}: .* found damaged: snap-21\\. "):
        open_restore(RecoveryRequest("us0", point=point), world, NOW)


@pytest.mark.parametrize("unknown", ["snap-99", "main/2026-11-19/1"])
def test_a_point_that_is_named_and_is_not_there_is_refused_by_its_name(unknown: str) -> None:
    world = a_world_with_backups(21, 22)
    world.volumes.tag("snap-22", {tags.DAMAGED: "main/2026-11-23/1"})

    with pytest.raises(Refused, match=f"us0 has no restore point {unknown}"):
        open_recovery(a_request(at=unknown), world, NOW)


@pytest.mark.parametrize("more", [{"name": "us0-of-march"}, {"ports": [80]}, {"allow": ["0.0.0.0/0"]}])
def test_a_drill_lets_nobody_in_and_says_so(more: dict[str, Any]) -> None:
    world = a_world_with_backups()

    with pytest.raises(Refused, match=r"a drill .* lets nobody in"):
        open_recovery(a_request(mode="drill", **more), world, NOW)

    assert world.catalog.recoveries == {}


# -- patience ---------------------------------------------------------------------------------------------------------


def what_is_seen(**changes: Any) -> RecoveryWorld:
    seen: dict[str, Any] = {
        "machines": (a_machine(),),
        "volume": a_volume(),
        "snapshot": a_snapshot(),
        "briefed": True,
        "report": None,
    }
    return RecoveryWorld(**{**seen, **changes})


@pytest.mark.parametrize(
    "seen",
    [
        what_is_seen(machines=(a_machine(state="pending"),)),
        what_is_seen(machines=(a_machine(state="shutting-down"),)),
        what_is_seen(volume=a_volume(state="creating")),
        what_is_seen(volume=a_volume(attached_to="i-1")),
    ],
)
def test_what_ec2_is_busy_with_is_waited_for(seen: RecoveryWorld) -> None:
    (action,) = plan(replace(a_recovery(), launched=NOW), seen, NOW)

    assert isinstance(action, Wait)


def test_a_volume_is_made_as_large_as_its_snapshot() -> None:
    seen = what_is_seen(volume=None, briefed=False)

    assert plan(a_recovery(), seen, NOW) == (CreateVolume("zone-a", "snap-1", 80, 100),)


@pytest.mark.parametrize(
    ("kind", "rate"), [(RecoveryKind.DRILL, 100), (RecoveryKind.RESTORE, 300), (RecoveryKind.OPENING, None)]
)
def test_what_is_read_whole_comes_out_of_its_snapshot_at_a_rate_and_a_server_at_the_highest(
    kind: RecoveryKind, rate: int | None
) -> None:
    world = a_world_with_backups()
    opened = a_recovery(kind, point=a_point(snapshot_id="snap-22", run_id=a_run_id(22)))
    world.catalog.open_recovery(opened)

    recover(opened.id, world, NOW)

    assert list(world.volumes.rates.values()) == [rate]


def test_nothing_is_planned_for_a_closed_recovery() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    recover(DRILL, world, NOW)

    closed = world.catalog.get_recovery(DRILL)

    assert plan(closed, what_is_seen(), NOW + timedelta(days=9)) == ()


def test_a_late_report_changes_nothing_about_a_verdict() -> None:
    failed = plan(a_recovery(), what_is_seen(), a_recovery().deadline)

    assert failed == (RecordVerdict("failed", ("there was no report before the deadline",)),)


def test_a_volume_that_does_not_show_yet_is_asked_for_once_a_call() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    world.volumes.unshown = True

    outcome = recover(DRILL, world, NOW)

    assert outcome.steps == ("LaunchMachine", "CreateVolume")
    assert len(world.volumes.volumes) == 1


def test_when_it_closes_whoever_tells_is_woken_once() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    recover(DRILL, world, NOW)
    world.lambdas.invoked.clear()
    the_machine_reports(world)

    for _ in range(3):
        recover(DRILL, world, NOW)

    assert world.catalog.get_recovery(DRILL).state is RecoveryState.DONE
    assert [payload for function, payload in world.lambdas.invoked if function == "tell_operators"] == [{"schema": 1}]


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_with_every_event_lost_the_tick_alone_does_a_drill() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)

    by_ticks_alone(world, NOW)
    the_machine_reports(world)
    by_ticks_alone(world, NOW + timedelta(minutes=5))

    assert world.catalog.get_recovery(DRILL).verdict == "proven"
    assert is_taken_down(world)


def test_with_every_call_repeated_a_drill_happens_once() -> None:
    world = a_world_with_backups()

    for _ in range(3):
        open_drill("us0", world, NOW)
    for _ in range(3):
        recover(DRILL, world, NOW)
    the_machine_reports(world)
    outcomes = [recover(DRILL, world, NOW) for _ in range(3)]

    assert outcomes[1:] == [Outcome(outcomes[0].recovery)] * 2
    assert len(world.machines.requests) == 1
    assert len(world.volumes.made_from) == 1
    assert is_taken_down(world)


def test_what_ec2_does_not_show_yet_is_not_made_a_second_time() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    world.volumes.unshown = True
    recover(DRILL, world, NOW)
    recover(DRILL, world, NOW)
    world.volumes.unshown = False
    world.machines.find = lambda tags: []  # type: ignore[method-assign]

    forgotten = world.catalog.get_recovery(DRILL)
    recover(DRILL, world, NOW)
    world.catalog.recoveries[DRILL] = forgotten
    recover(DRILL, world, NOW)

    assert len(world.volumes.made_from) == 1
    assert len(world.machines.requests) == 1


def test_a_closing_cut_short_is_finished_as_the_archive_has_it() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    save = world.catalog.save_recovery
    world.catalog.save_recovery = lambda recovery: None if recovery.state.is_final else save(recovery)  # type: ignore[method-assign]
    recover(DRILL, world, NOW)
    world.catalog.save_recovery = save  # type: ignore[method-assign]

    outcome = recover(DRILL, world, NOW + timedelta(minutes=5))

    archived = wire.parse_closed_recovery(world.archive.get(wire.recovery_closed_key(DRILL)))
    assert outcome.recovery.closed == archived.closed == NOW


def test_whoever_loses_a_write_stops_and_leaves_the_rest_to_the_winner() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, verdict="different")
    world.catalog.save_recovery = lambda recovery: None  # type: ignore[method-assign]

    outcome = recover(DRILL, world, NOW)

    assert outcome.overtaken
    assert not is_taken_down(world)


def a_drill_with_one_crash(world: FakeWorld, fuse: Fuse) -> None:
    fused = a_fused_world(world, fuse)
    retried_once(lambda: open_drill("us0", fused, NOW))
    retried_once(lambda: recover(DRILL, fused, NOW))
    the_machine_reports(world)
    retried_once(lambda: recover(DRILL, fused, NOW))


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_trying_again(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_backups(), Fuse(at, after)

        a_drill_with_one_crash(world, fuse)

        assert world.catalog.get_recovery(DRILL).verdict == "proven", f"call {at}"
        assert len(world.catalog.recoveries) == 1, f"call {at}"
        assert len(world.machines.requests) == 1, f"call {at}"
        assert len(world.volumes.made_from) == 1, f"call {at}"
        assert world.catalog.find_points("us0a")[0].proven == FINISHED, f"call {at}"
        assert is_taken_down(world), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a drill takes more than {MOST_CALLS} calls")


def test_what_will_never_work_is_the_verdict_and_everything_is_taken_down() -> None:
    world = a_world_with_backups()
    the_night_reports(world, 22, "riscv64")
    recovery_id = open_drill("us0", world, NOW)

    outcome = recover(recovery_id, world, NOW)

    assert (outcome.recovery.state, outcome.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert "EC2 has none that runs its image" in outcome.recovery.findings[0]
    assert world.volumes.volumes == {}


def test_a_policy_that_changes_meanwhile_changes_no_request_of_a_recovery() -> None:
    world = a_world_with_backups()
    recovery_id = open_drill("us0", world, NOW)

    put_into_force(world, A_POLICY_TEXT + '\n[restore]\nsubnet = "subnet-0e"\ninstance = { arm64 = "m7g.large" }\n')
    recover(recovery_id, world, NOW)

    assert [(asked.subnet, asked.instance_type) for asked in world.machines.requests] == [("subnet-a", "t4g.small")]


def test_a_verdict_that_is_none_is_a_failure() -> None:
    world = a_world_with_backups()
    recovery_id = open_drill("us0", world, NOW)
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id, verdict="splendid")

    outcome = recover(recovery_id, world, NOW)

    assert outcome.recovery.verdict == "failed"
    assert outcome.recovery.findings == ("its report says 'splendid', which is no verdict",)
