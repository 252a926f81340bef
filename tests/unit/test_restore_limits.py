"""What a restore is told of its point, and how one ends whose machines come to nothing."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import wire
from chalicelib.core.lost_machines import BACK_WITHIN, BEGINS_WITHIN, still_within
from chalicelib.core.model import RecoveryId, RecoveryKind, RecoveryState, Step
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.recovery import lasts, plan
from chalicelib.core.recovery_actions import (
    Action,
    DeleteVolume,
    RecordStep,
    RecordVerdict,
    RecoveryWorld,
    TerminateMachine,
)
from chalicelib.errors import CapacityError
from chalicelib.flows.open_recovery import open_drill, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from ebbtide_agent import instance, volume
from ebbtide_agent.restore import probe, session
from ebbtide_agent.restore.progress import STANDING_PATIENCE_SECONDS
from ebbtide_console.cli.main import main
from tests.builders import a_machine, a_recovery, a_snapshot, a_volume
from tests.fakes import FakeWorld
from tests.recoveries import (
    A_WORD,
    DRILL,
    NOW,
    a_drill_awaiting_its_report,
    a_report,
    a_world_with_backups,
    is_taken_down,
    the_machine_reports,
)
from tests.unit.test_open_commands import answered

LAUNCHED = replace(a_recovery(RecoveryKind.RESTORE), machine_id="i-1", launched=NOW)
A_SECOND, AN_HOUR = timedelta(seconds=1), timedelta(hours=1)
DAMAGED = "could not finish: Damaged: /dev/disk/by-id/x: its file system is damaged, and needs a person"


def seen(state: str = "running", has_begun: bool = False) -> RecoveryWorld:
    machines = () if state == "unseen" else (a_machine(state=state),)
    volume = a_volume(attached_to="i-1")
    return RecoveryWorld(machines, volume, a_snapshot(), briefed=True, report=None, has_begun=has_begun)


def names(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


@pytest.mark.parametrize(
    ("state", "has_begun", "after", "step"),
    [
        ("running", False, BEGINS_WITHIN - timedelta(seconds=1), "Wait"),
        ("running", False, BEGINS_WITHIN, "TerminateMachine"),
        ("pending", False, BEGINS_WITHIN, "TerminateMachine"),
        ("shutting-down", False, BEGINS_WITHIN, "Wait"),
        ("terminated", False, BEGINS_WITHIN, "ReplaceMachine"),
        ("unseen", False, BEGINS_WITHIN - timedelta(seconds=1), "Wait"),
        ("unseen", False, BEGINS_WITHIN, "ReplaceMachine"),
        ("running", True, BACK_WITHIN - timedelta(seconds=1), "Wait"),
        ("running", True, BACK_WITHIN, "RecordVerdict"),
        ("terminated", True, timedelta(minutes=1), "ReplaceMachine"),
        ("stopped", True, timedelta(minutes=1), "TerminateMachine"),
        ("stopping", False, timedelta(minutes=1), "TerminateMachine"),
    ],
)
def test_a_machine_is_given_up_when_it_has_not_begun_in_time_or_is_gone_and_is_replaced_once_it_has_ended(
    state: str, has_begun: bool, after: timedelta, step: str
) -> None:
    long = replace(LAUNCHED, deadline=NOW + timedelta(days=7))

    assert names(plan(long, seen(state, has_begun), NOW + after)) == [step]


@pytest.mark.parametrize(
    ("step", "size_gib", "within"),
    [
        ("machine", 30, 3 * AN_HOUR),
        ("mount", 30, 3 * AN_HOUR),
        ("materialise", 80, 4 * AN_HOUR + timedelta(minutes=40)),
        ("materialise", 600, 22 * AN_HOUR),
        ("compare", 600, 22 * AN_HOUR),
        ("boot", 30, 2 * AN_HOUR),
        ("probe", 16_000, 2 * AN_HOUR),
    ],
)
def test_a_machine_that_goes_no_further_than_a_step_is_replaced_after_what_that_takes_at_its_size(
    step: str, size_gib: int, within: timedelta
) -> None:
    at_it = replace(LAUNCHED, deadline=NOW + timedelta(days=7), step=Step(step, NOW + AN_HOUR))
    world = replace(seen(has_begun=True), volume=replace(a_volume(attached_to="i-1"), size_gib=size_gib))
    over = NOW + AN_HOUR + within
    gone = replace(world, machines=(a_machine(state="terminated"),))

    assert names(plan(at_it, world, over - A_SECOND)) == ["Wait"]
    assert names(plan(at_it, world, over)) == ["TerminateMachine"]
    assert names(plan(at_it, gone, over)) == ["ReplaceMachine"]


def test_one_that_has_moved_on_has_its_time_again() -> None:
    long_ago, now = Step("mount", NOW), NOW + 5 * AN_HOUR
    restore = replace(LAUNCHED, deadline=NOW + timedelta(days=7), step=long_ago)
    world = replace(seen(has_begun=True), said=(Step("materialise", now - A_SECOND),))

    (moved,) = plan(restore, world, now)

    assert moved == RecordStep(Step("materialise", now - A_SECOND))


@pytest.mark.parametrize("size_gib", [1, 80, 16_000])
def test_no_limit_ends_what_a_machine_limits_itself(size_gib: int) -> None:
    """It waits for its volume, has that checked, and makes the tree real as fast as a slow disk lets it; or it has its
    image started and asked, and tries to tell that it stands."""
    to_the_tree = volume._FSCK_SECONDS + instance.PATIENCE_SECONDS + size_gib * 65536 / 1000
    to_the_word = STANDING_PATIENCE_SECONDS + probe.PATIENCE_SECONDS + probe.COMMAND_SECONDS + sum(session._PAUSES)
    a_clock_that_s3_takes = 15 * 60

    assert still_within("mount", size_gib).total_seconds() > to_the_tree + a_clock_that_s3_takes
    assert still_within("boot", size_gib).total_seconds() > to_the_word + a_clock_that_s3_takes


def test_what_goes_by_the_size_of_a_volume_is_not_judged_while_that_is_not_shown() -> None:
    at_work = replace(LAUNCHED, deadline=NOW + timedelta(days=7), step=Step("materialise", NOW))
    unseen = replace(seen(has_begun=True), volume=None)

    assert "TerminateMachine" not in names(plan(at_work, unseen, NOW + 3 * AN_HOUR))


def test_a_step_that_is_not_known_is_counted_from_the_launch() -> None:
    rebuilt = replace(LAUNCHED, deadline=NOW + timedelta(days=7), step=Step("launch", NOW - 3 * AN_HOUR))

    assert names(plan(rebuilt, seen(has_begun=True), NOW + AN_HOUR)) == ["Wait"]


def test_a_second_one_that_goes_no_further_ends_it_and_says_where_it_was() -> None:
    second = replace(LAUNCHED, attempt=2, deadline=NOW + timedelta(days=7), step=Step("boot", NOW))

    (verdict,) = plan(second, seen(has_begun=True), NOW + 2 * AN_HOUR)

    assert isinstance(verdict, RecordVerdict)
    assert verdict.verdict == "failed"
    assert verdict.findings[0] == "machine i-1 was at image boot for 2 h 0 min, and went no further"
    assert "aws ec2 get-console-output --instance-id i-1" in verdict.findings[1]


def test_a_second_one_that_has_not_begun_ends_it_and_says_where_to_look() -> None:
    (verdict,) = plan(replace(LAUNCHED, attempt=2), seen(), NOW + BEGINS_WITHIN)

    assert isinstance(verdict, RecordVerdict)
    assert verdict.verdict == "failed"
    assert verdict.findings[0] == "machine i-1 said nothing within 15 minutes of its launch"
    assert "aws ec2 get-console-output --instance-id i-1" in verdict.findings[1]


@pytest.mark.parametrize(("state", "step"), [("running", "CreateVolume"), ("terminated", "ReplaceMachine")])
def test_a_machine_without_its_brief_is_not_silent_and_is_replaced_once_it_has_ended(state: str, step: str) -> None:
    unbriefed = replace(seen(state), volume=None, briefed=False)

    assert names(plan(LAUNCHED, unbriefed, NOW + BEGINS_WITHIN)) == [step]


def test_a_restore_for_whose_volume_ebs_has_no_room_says_that_and_not_that_its_machines_were_silent() -> None:
    world = a_world_with_backups()
    world.volumes.no_capacity_for = {"zone-a"}
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(CapacityError):
                recover(recovery_id, world, NOW)
        waiting = world.catalog.get_recovery(recovery_id)
        world.machines.terminate(str(waiting.machine_id))

    over = recover(recovery_id, world, NOW).recovery

    full = "InsufficientVolumeCapacity: no gp3 in zone-a"
    without = "ended without its brief, which is written once its volume shows"
    assert waiting.findings == (full, f"machine i-1 {without}; another one was launched")
    assert over.state is RecoveryState.FAILED
    assert over.findings == (
        f"machine i-2 {without}",
        "no further machine is tried: see what its volume lacked, and ask for the same again",
        *waiting.findings,
    )
    assert is_taken_down(world)


def test_another_machine_is_launched_wherever_there_is_room_and_not_where_the_first_one_stood() -> None:
    world = a_world_with_backups()
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(recovery_id, world, NOW)
    world.machines.terminate("i-1")
    world.machines.no_capacity_for = {"zone-a"}

    recovery = recover(recovery_id, world, NOW).recovery

    (volume,) = world.volumes.volumes.values()
    assert (recovery.attempt, recovery.zone, volume.zone) == (2, "zone-b", "zone-b")


@pytest.mark.parametrize(
    ("state", "step", "after", "why"),
    [
        ("running", "machine", BEGINS_WITHIN, "said nothing within 15 minutes of its launch"),
        ("terminated", "compare", timedelta(minutes=1), "ended without a report"),
        ("stopped", "compare", timedelta(minutes=1), "was stopped without a report"),
        ("running", "compare", 3 * AN_HOUR, "was at compare for 3 h 0 min, and went no further"),
        ("running", "probe", 2 * AN_HOUR, "was at probe for 2 h 0 min, and went no further"),
    ],
)
def test_a_drills_machine_that_comes_to_nothing_is_not_replaced_and_a_finding(
    state: str, step: str, after: timedelta, why: str
) -> None:
    drill = replace(LAUNCHED, kind=RecoveryKind.DRILL, deadline=NOW + timedelta(days=7), step=Step(step, NOW))
    world = replace(seen(state), volume=replace(a_volume(attached_to="i-1"), size_gib=30))

    (verdict,) = plan(drill, world, NOW + after)

    assert isinstance(verdict, RecordVerdict)
    assert (verdict.verdict, verdict.findings[0]) == ("failed", f"machine i-1 {why}")
    assert "no further machine is tried: `aws ec2 get-console-output --instance-id i-1`" in verdict.findings[1]
    assert names(plan(drill, replace(world, machines=seen().machines), NOW + after - A_SECOND)) == ["Wait"]


@pytest.mark.parametrize(
    ("size_gib", "lasts_for"), [(8, timedelta(hours=2, minutes=16)), (80, timedelta(hours=4, minutes=40)),
                                (16_384, timedelta(days=7))]
)  # fmt: skip
def test_a_drill_has_the_time_that_its_size_takes(size_gib: int, lasts_for: timedelta) -> None:
    world = a_world_with_backups()
    world.volumes.snapshots["snap-22"] = replace(world.volumes.snapshots["snap-22"], size_gib=size_gib)

    drill = world.catalog.get_recovery(open_drill("us0", world, NOW))

    assert drill.deadline - drill.opened == lasts_for
    assert lasts(RecoveryKind.RESTORE, size_gib) == timedelta(days=7)


def test_what_was_replaced_is_taken_away_once_there_is_only_waiting_left() -> None:
    old = {"spent_machines": (a_machine("i-0"),), "spent_volumes": (a_volume("vol-0"), a_volume("vol-9", "i-0"))}

    steps = plan(replace(LAUNCHED, attempt=2), replace(seen(), **old), NOW)  # type: ignore[arg-type]

    assert steps == (TerminateMachine("i-0"), DeleteVolume("vol-0"))


def a_replaced_restore(world: FakeWorld) -> RecoveryId:
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(recovery_id, world, NOW)
    for machine_id in world.machines.by_id:
        world.machines.terminate(machine_id)
    recover(recovery_id, world, NOW)
    return recovery_id


def test_another_machine_has_a_volume_a_brief_and_a_token_of_its_own() -> None:
    world = a_world_with_backups()

    recovery_id = a_replaced_restore(world)

    first, second = world.machines.requests
    latest = world.catalog.get_recovery(recovery_id)
    assert first.token != second.token
    assert f"{recovery_id}/{1:032x}/brief.json" in first.user_data
    assert f"{recovery_id}/{2:032x}/2/brief.json" in second.user_data
    assert (latest.attempt, latest.nonce) == (2, f"{2:032x}")
    assert len(world.volumes.volumes) == 1


def test_what_the_machine_before_it_says_too_late_is_no_word_of_another_one() -> None:
    world = a_world_with_backups()
    recovery_id = a_replaced_restore(world)
    before = replace(world.catalog.get_recovery(recovery_id), attempt=1, nonce=f"{1:032x}")
    said = json.loads(A_WORD.read_text()) | {"recovery": str(recovery_id), "id": recovery_id.host_id}
    world.archive.put_once(wire.recovery_standing_key(before), json.dumps(said).encode())
    world.archive.put_once(wire.recovery_report_key(before), a_report(recovery_id))

    after = recover(recovery_id, world, NOW).recovery

    assert (after.attempt, after.address, after.verdict) == (2, None, None)


def test_a_rebuilt_catalogue_knows_which_machine_is_the_latest() -> None:
    world = a_world_with_backups()
    recovery_id = a_replaced_restore(world)
    after = replace(world, catalog=type(world.catalog)())

    rebuild(after)

    assert after.catalog.get_recovery(recovery_id).attempt == 2
    assert after.catalog.get_recovery(recovery_id).nonce == world.catalog.get_recovery(recovery_id).nonce


# -- another point -----------------------------------------------------------------------------------------------------


def test_a_restore_from_a_damaged_snapshot_names_it_and_how_to_take_the_point_before() -> None:
    world = a_world_with_backups(20, 21, 22)
    del world.volumes.snapshots["snap-21"]
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id, verdict="failed", findings=[DAMAGED])

    over = recover(recovery_id, world, NOW).recovery

    assert (over.state, over.findings[0]) == (RecoveryState.FAILED, DAMAGED)
    assert over.findings[1] == (
        "this was snapshot snap-22, of 2026-11-22 03:00 UTC; the restore point before it is of 2026-11-20 03:00 UTC: "
        "`ebbtide restore us0 --at snap-20`"
    )
    assert is_taken_down(world)


def test_where_there_is_no_point_before_it_that_is_said() -> None:
    world = a_world_with_backups()
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    the_machine_reports(world, recovery_id, verdict="failed", findings=[DAMAGED])

    over = recover(recovery_id, world, NOW).recovery

    assert over.findings[1].endswith("us0 has no restore point before it")


@pytest.mark.parametrize(("verdict", "is_told"), [("different", True), ("failed", True), ("content only", False)])
def test_what_the_newest_drill_had_against_a_point_is_told_to_who_restores_it(verdict: str, is_told: bool) -> None:
    world = a_world_with_backups(21, 22)
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, DRILL, verdict=verdict, findings=["etc/passwd: missing"])
    recover(DRILL, world, NOW)

    newest = open_restore(RecoveryRequest("us0"), world, NOW)
    older = open_restore(RecoveryRequest("us0", point="snap-21"), world, NOW)

    told = (
        f"drill {DRILL} of this restore point was {verdict}: etc/passwd: missing; the point before it: "
        "`ebbtide restore us0 --at snap-21`"
    )
    assert newest.point.snapshot_id == "snap-22"
    assert newest.findings == ((told,) if is_told else ())
    assert older.findings == ()


def test_what_is_told_of_a_bad_drill_is_what_it_found_and_not_where_it_stood() -> None:
    world = a_world_with_backups(21, 22)
    world.machines.no_capacity_for = {"zone-a"}
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, DRILL, verdict="different", findings=["etc/shadow: content"])
    drill = recover(DRILL, world, NOW).recovery

    restore = open_restore(RecoveryRequest("us0"), world, NOW)

    assert drill.findings == ("etc/shadow: content", "EC2 gave it no machine in zone-a: it is brought up in zone-b")
    assert restore.findings[0].startswith(f"drill {DRILL} of this restore point was different: etc/shadow: content; ")


def test_what_is_known_against_its_point_is_printed_before_the_waiting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doubted = replace(a_recovery(RecoveryKind.RESTORE), findings=("drill 1 was different",))
    stands = replace(doubted, address="203.0.113.9", verdict="proven")
    answered(monkeypatch, wire.standing(doubted), wire.standing(doubted, ("coming",)), wire.standing(stands, ("up",)))

    main(["restore", "us0"])

    assert capsys.readouterr().out.splitlines()[1:3] == ["  drill 1 was different", "  coming"]


@pytest.mark.parametrize("point", ["snap-0123456789abcdef0", "main/2026-11-21/1"])
def test_a_point_is_named_by_its_snapshot_or_its_run(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    asked = answered(monkeypatch, *[wire.standing(a_recovery(RecoveryKind.RESTORE))] * 2)

    main(["restore", "us0", "--at", point, "--no-wait"])

    assert asked[0][1]["at"] == point
