"""A drill and a restore: which point, what comes up, what is left afterwards, and what interruptions do to it."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.actions import Wait
from chalicelib.core.model import Machine, RecoveryId, RecoveryKind, RecoveryState, Way
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.opening import SETTLES
from chalicelib.core.recovery import choose_point, plan
from chalicelib.core.recovery_actions import CreateVolume, RecordVerdict, RecoveryWorld
from chalicelib.core.trouble import said
from chalicelib.errors import CapacityError, PermanentError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries
from chalicelib.flows.open_recovery import open_drill, open_recovery, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import Outcome, recover
from chalicelib.flows.tick import tick
from chalicelib.ports import LaunchRequest
from tests.builders import (
    A_POLICY_TEXT,
    a_machine,
    a_moment,
    a_point,
    a_recovery,
    a_run_id,
    a_snapshot,
    a_volume,
)
from tests.fakes import Crash, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world

NOW = a_moment(9)
DRILL = RecoveryId("us0a", NOW.date(), 1)
A_REPORT = Path(__file__).parents[1] / "contract" / "wire" / "recovery-report.json"
FINISHED = datetime(2026, 11, 23, 9, 10, tzinfo=UTC)
MOST_CALLS = 200
A_POLICY = A_POLICY_TEXT.replace("[host.eu0]", 'start = ["service nginx start"]\n[host.eu0]')


def a_world_with_backups(*days: int) -> FakeWorld:
    """A policy in force, and for each day of November a completed snapshot in which us0 was complete."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY.encode())
    world.catalog.set_policy_version("000001", None)
    for day in days or (22,):
        snapshot = a_snapshot(f"snap-{day}", a_run_id(day))
        world.volumes.snapshots[snapshot.id] = snapshot
        world.catalog.record_point(a_point(snapshot_id=snapshot.id, run_id=a_run_id(day)))
    return world


def a_report(recovery_id: RecoveryId = DRILL, **changes: Any) -> bytes:
    """A proof, but for the changes."""
    report = json.loads(A_REPORT.read_text())
    found_identical = {"entries": 120, "missing": 0, "extra": 0, "different": 0, "unhashed": 0}
    proof = {
        "recovery": str(recovery_id),
        "id": recovery_id.host_id,
        "verdict": "proven",
        "compared": found_identical,
        "findings": [],
        "boot": {"state": "booted", "why": None, "seconds": 1.2},
        "probe": {"target": "http://127.0.0.1/", "answer": "200 OK", "ok": True},
        "finished": "2026-11-23T09:10:00Z",
    }
    return json.dumps({**report, **proof, **changes}).encode()


def the_machine_reports(world: FakeWorld, recovery_id: RecoveryId = DRILL, **changes: Any) -> None:
    world.archive.put_once(wire.recovery_report_key(recovery_id), a_report(recovery_id, **changes))


def is_taken_down(world: FakeWorld) -> bool:
    return {machine.state for machine in world.machines.by_id.values()} <= {"terminated"} and not world.volumes.volumes


def a_drill_awaiting_its_report(world: FakeWorld) -> RecoveryId:
    recovery_id = open_drill("us0", world, NOW)
    recover(recovery_id, world, NOW)
    return recovery_id


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


# -- a drill ----------------------------------------------------------------------------------------------------------


def test_a_drill_brings_up_a_machine_with_a_copy_of_the_snapshot() -> None:
    world = a_world_with_backups()

    a_drill_awaiting_its_report(world)

    (volume,) = world.volumes.volumes.values()
    (request,) = world.machines.requests
    assert world.volumes.made_from[volume.id] == "snap-22"
    assert volume.attached_to == world.catalog.get_recovery(DRILL).machine_id
    assert (request.security_group, request.profile) == ("sg-drill", world.settings.image_profile)
    for tagged in (volume.tags, request.tags):
        assert tagged[tags.ROLE] == "recovery"
        assert tagged[tags.RECOVERY] == str(DRILL)
        assert datetime.fromisoformat(tagged[tags.EXPIRES]) > world.catalog.get_recovery(DRILL).deadline


def test_the_brief_is_there_before_the_machine_is() -> None:
    world = a_world_with_backups()
    world.machines.no_capacity_for = {"t4g.small", "t4g.medium"}
    open_drill("us0", world, NOW)

    with pytest.raises(CapacityError):
        recover(DRILL, world, NOW)

    brief = wire.parse_recovery_brief(world.archive.get(wire.recovery_brief_key(DRILL)))
    assert brief == world.catalog.get_recovery(DRILL)


def the_night_reported(world: FakeWorld, manifest: str) -> None:
    """The report of the night of the newest point, whose receiver has archived this manifest."""
    report = json.loads((A_REPORT.parent / "report.json").read_text()) | {"run": str(a_run_id(22)), "id": "us0a"}
    report["receiver"]["manifest"] |= {"key": manifest, "sha256": "abc"}
    world.archive.put_once(wire.any_report_key(a_run_id(22), "us0a"), json.dumps(report).encode())


@pytest.mark.parametrize(
    ("manifest", "digest"), [(str(a_point(run_id=a_run_id(22)).manifest), "abc"), ("manifests/us0a/another", None)]
)
def test_a_drill_is_told_the_digest_that_the_nights_report_has_of_the_points_manifest(
    manifest: str, digest: str | None
) -> None:
    world = a_world_with_backups()
    the_night_reported(world, manifest)
    open_drill("us0", world, NOW)

    recover(DRILL, world, NOW)

    brief = json.loads(world.archive.get(wire.recovery_brief_key(DRILL)))
    assert brief.get("manifest_sha256") == digest


def test_a_proven_drill_marks_the_point_and_leaves_nothing_behind() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)

    recover(DRILL, world, a_moment(9, 12))

    recovery = world.catalog.get_recovery(DRILL)
    (point,) = world.catalog.find_points("us0a")
    assert (recovery.state, recovery.verdict, recovery.closed) == (RecoveryState.DONE, "proven", a_moment(9, 12))
    assert point.proven == FINISHED
    assert is_taken_down(world)


def test_a_drill_of_a_point_older_than_its_host_may_have_finds_it_stale_and_marks_it_all_the_same() -> None:
    world = a_world_with_backups(20)
    (newest,) = world.catalog.find_points("us0a")
    too_late = newest.at + timedelta(days=3, minutes=1)
    recovery_id = open_drill("us0", world, too_late)
    the_machine_reports(world, recovery_id, findings=["`no-such-command` ended with exit code 127"])

    recover(recovery_id, world, too_late)

    recovery = world.catalog.get_recovery(recovery_id)
    stale, other = recovery.findings
    assert stale == f"stale: its newest restore point is of {said(newest.at)}, expected one of the last 3 days"
    assert (recovery.verdict, other) == ("proven", "`no-such-command` ended with exit code 127")
    assert world.catalog.find_points("us0a")[0].proven == FINISHED


def test_neither_a_point_that_is_young_enough_nor_the_very_one_that_was_asked_for_is_stale() -> None:
    world = a_world_with_backups(20)
    (newest,) = world.catalog.find_points("us0a")
    of_that_one = RecoveryRequest("us0", mode=Mode.DRILL, point=newest.snapshot_id)

    old = open_recovery(of_that_one, world, newest.at + timedelta(days=30))
    young = open_drill("us0", world, newest.at + timedelta(days=3))

    assert old.findings == world.catalog.get_recovery(young).findings == ()


@pytest.mark.parametrize("verdict", ["content only", "as recorded", "unproven", "different", "failed"])
def test_any_other_verdict_is_kept_with_its_findings_and_proves_nothing(verdict: str) -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, verdict=verdict, findings=["etc/passwd: mode 644, recorded 600"])

    recover(DRILL, world, NOW)

    recovery = world.catalog.get_recovery(DRILL)
    assert (recovery.verdict, recovery.findings) == (verdict, ("etc/passwd: mode 644, recorded 600",))
    assert recovery.state is (RecoveryState.FAILED if verdict == "failed" else RecoveryState.DONE)
    assert world.catalog.find_points("us0a")[0].proven is None
    assert is_taken_down(world)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"compared": {"entries": 0, "missing": 0, "extra": 0, "different": 0, "unhashed": 0}}, "nothing was compared"),
        ({"compared": {"entries": 9, "missing": 1, "extra": 0, "different": 0, "unhashed": 0}}, "not identical"),
        ({"compared": {"entries": 9, "missing": 0, "extra": 0, "different": 0, "unhashed": 1}}, "not identical"),
        ({"boot": {"state": "not booted", "why": "no init", "seconds": 0.0}}, "did not boot"),
        ({"probe": None}, "did not answer"),
        ({"probe": {"target": "http://127.0.0.1/", "answer": "refused", "ok": False}}, "did not answer"),
    ],
)
def test_a_proof_that_its_own_report_belies_is_none(changes: dict[str, Any], why: str) -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, **changes)

    recover(DRILL, world, NOW)

    recovery = world.catalog.get_recovery(DRILL)
    assert recovery.verdict == "failed"
    assert why in recovery.findings[0]
    assert world.catalog.find_points("us0a")[0].proven is None


@pytest.mark.parametrize("body", [b"", b"{}", a_report(RecoveryId("us0a", NOW.date(), 9))])
def test_a_report_that_is_none_fails_the_drill_and_says_so(body: bytes) -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    world.archive.put_once(wire.recovery_report_key(DRILL), body)

    recover(DRILL, world, NOW)

    recovery = world.catalog.get_recovery(DRILL)
    assert (recovery.state, recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert "its report" in recovery.findings[0]
    assert is_taken_down(world)


def test_a_drill_without_a_report_fails_at_its_deadline_and_leaves_nothing_behind() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    deadline = world.catalog.get_recovery(DRILL).deadline

    early = recover(DRILL, world, deadline - timedelta(seconds=1))
    late = recover(DRILL, world, deadline)

    assert early.recovery.state is RecoveryState.OPEN
    assert (late.recovery.state, late.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert late.recovery.findings == ("there was no report before the deadline",)
    assert is_taken_down(world)


def test_a_machine_that_ends_without_a_report_fails_the_drill_at_once() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    world.machines.terminate("i-1")

    outcome = recover(DRILL, world, NOW)

    assert outcome.recovery.findings == ("machine i-1 ended without a report",)
    assert is_taken_down(world)


def test_a_machine_that_reported_and_powered_off_has_not_failed() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    world.machines.terminate("i-1")

    outcome = recover(DRILL, world, NOW)

    assert outcome.recovery.verdict == "proven"


def test_a_snapshot_that_is_gone_fails_the_drill_before_anything_is_launched() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    world.volumes.delete_snapshot("snap-22")

    outcome = recover(DRILL, world, NOW)

    assert outcome.recovery.findings == ("snapshot snap-22 is gone",)
    assert world.machines.requests == []


def test_the_next_instance_type_is_tried_when_one_has_no_capacity() -> None:
    world = a_world_with_backups()
    world.machines.no_capacity_for = {"t4g.small"}

    a_drill_awaiting_its_report(world)

    assert [request.instance_type for request in world.machines.requests] == ["t4g.medium"]


def test_a_machine_whose_answer_was_lost_is_found_by_the_type_it_was_asked_for_with() -> None:
    world = a_world_with_backups()
    world.machines.no_capacity_for = {"t4g.small"}
    open_drill("us0", world, NOW)
    find, launch = world.machines.find, world.machines.launch

    def launch_without_an_answer(request: LaunchRequest) -> Machine:
        launch(request)
        raise TransientError("no answer")

    world.machines.find = lambda tags: []  # type: ignore[method-assign]
    world.machines.launch = launch_without_an_answer  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="no answer"):
        recover(DRILL, world, NOW)
    world.machines.launch = launch  # type: ignore[method-assign]
    world.machines.no_capacity_for = set()

    recover(DRILL, world, NOW)

    world.machines.find = find  # type: ignore[method-assign]
    assert [request.instance_type for request in world.machines.requests] == ["t4g.medium"]
    assert world.catalog.get_recovery(DRILL).machine_id == "i-1"


def test_without_capacity_it_tries_again_later_and_fails_only_at_the_deadline() -> None:
    world = a_world_with_backups()
    world.machines.no_capacity_for = {"t4g.small", "t4g.medium"}
    open_drill("us0", world, NOW)

    with pytest.raises(CapacityError, match=r"t4g.small, t4g.medium"):
        recover(DRILL, world, NOW)
    late = recover(DRILL, world, world.catalog.get_recovery(DRILL).deadline)

    assert late.recovery.state is RecoveryState.FAILED
    assert is_taken_down(world)


def test_a_recovery_that_the_table_does_not_know_is_an_error_that_names_it() -> None:
    with pytest.raises(PermanentError, match=f"no recovery {DRILL}"):
        recover(DRILL, a_world_with_backups(), NOW)


# -- a restore --------------------------------------------------------------------------------------------------------


def test_a_restored_machine_stays_until_its_deadline_and_says_where_to_log_in() -> None:
    world = a_world_with_backups(20, 22)
    recovery_id = open_restore(RecoveryRequest("us0", a_moment(12, day=21)), world, NOW).id
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)

    kept = recover(recovery_id, world, NOW)
    over = recover(recovery_id, world, kept.recovery.deadline)

    assert kept.recovery.point.snapshot_id == "snap-20"
    assert kept.recovery.state is RecoveryState.OPEN
    assert "runs as restored-us0a; log in at 10.0.0.1, by ssh to its own users" in kept.waiting[0]
    assert "open are 22 from 198.51.100.0/24" in kept.waiting[0]
    assert over.recovery.state is RecoveryState.DONE
    assert is_taken_down(world)


def test_the_restored_volume_stays_even_when_its_machine_goes() -> None:
    world = a_world_with_backups()
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    world.machines.terminate("i-1")

    kept = recover(recovery_id, world, NOW)

    assert kept.recovery.state is RecoveryState.OPEN
    assert "its machine is off; attach vol-1" in kept.waiting[0]
    assert list(world.volumes.volumes) == ["vol-1"]


def a_word(**changes: Any) -> bytes:
    return json.dumps(json.loads((A_REPORT.parent / "recovery-standing.json").read_text()) | changes).encode()


def the_server_is_back(world: FakeWorld, recovery_id: RecoveryId, **changes: Any) -> None:
    said = a_word(**{"recovery": str(recovery_id), "id": recovery_id.host_id, **changes})
    world.archive.put_once(wire.recovery_standing_key(recovery_id), said)


def a_server_that_is_back(world: FakeWorld, **changes: Any) -> RecoveryId:
    recovery_id = a_restore(world)
    the_server_is_back(world, recovery_id, **changes)
    recover(recovery_id, world, NOW)
    return recovery_id


def test_a_server_is_told_where_it_is_as_soon_as_it_is_back_and_that_it_is_not_compared() -> None:
    world = a_world_with_backups()

    recovery_id = a_server_that_is_back(world)

    back = recover(recovery_id, world, NOW)
    assert (back.recovery.verdict, back.recovery.address) == (None, "10.0.0.1")
    assert "us0 is back, and not compared with its backup yet: it runs as restored-us0a; log in at" in back.waiting[0]
    until = f"{back.recovery.deadline:%Y-%m-%d %H:%M} UTC"
    assert back.waiting[0].endswith(f"open are 22 from 198.51.100.0/24, until {until}")


@pytest.mark.parametrize("verdict", ["proven", "content only", "unproven", "different", "failed"])
def test_whatever_the_comparison_says_later_a_server_that_is_back_stands_and_it_is_told_at_once(verdict: str) -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    world.lambdas.invoked.clear()
    the_machine_reports(world, recovery_id, verdict=verdict, findings=["etc/passwd: mode 644, recorded 600"])

    kept = recover(recovery_id, world, NOW)

    recorded = "unproven" if verdict == "failed" else verdict
    assert (kept.recovery.verdict, kept.recovery.state) == (recorded, RecoveryState.OPEN)
    assert f"us0 is restored ({recorded}): it runs as restored-us0a; log in at 10.0.0.1" in kept.waiting[0]
    assert kept.recovery.findings == ("etc/passwd: mode 644, recorded 600",)
    assert world.lambdas.invoked == [("tell_operators", {"schema": 1})]
    assert not is_taken_down(world)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (b"{}", "its report cannot be read"),
        (a_report(verdict="splendid"), "which is no verdict"),
        (a_report(probe=None), "it says proven, but the booted image did not answer"),
    ],
)
def test_a_report_that_is_none_takes_no_server_down_that_is_back(report: bytes, why: str) -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    world.archive.put_once(wire.recovery_report_key(recovery_id), report)

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.state) == ("unproven", RecoveryState.OPEN)
    assert why in kept.recovery.findings[0]
    assert not is_taken_down(world)


@pytest.mark.parametrize("word", [b"{}", a_word(recovery="eu0b/2026-11-23/1")], ids=["unreadable", "another's"])
def test_a_word_that_is_none_takes_no_server_down_and_its_report_is_waited_for(word: bytes) -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    world.archive.put_once(wire.recovery_standing_key(recovery_id), word)

    before = recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    after = recover(recovery_id, world, NOW)

    assert (before.recovery.verdict, before.recovery.state) == (None, RecoveryState.OPEN)
    assert (after.recovery.verdict, after.recovery.state) == ("proven", RecoveryState.OPEN)
    assert "log in at 10.0.0.1" in after.waiting[0]
    assert not is_taken_down(world)


def test_of_a_server_that_went_before_it_was_compared_the_volume_stays_and_that_is_said() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    world.machines.terminate("i-1")

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.state) == ("unproven", RecoveryState.OPEN)
    assert kept.recovery.findings == ("machine i-1 ended without a report",)
    assert "its machine is off; attach vol-1" in kept.waiting[0]


@pytest.mark.parametrize(
    ("is_closed", "why"),
    [(True, "it was closed before there was a report"), (False, "there was no report before the deadline")],
)
def test_a_server_that_is_never_compared_is_no_failure_when_its_time_is_over(is_closed: bool, why: str) -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    if is_closed:
        close_recoveries(str(recovery_id), world, NOW)

    over = recover(recovery_id, world, world.catalog.get_recovery(recovery_id).deadline)

    assert (over.recovery.state, over.recovery.verdict) == (RecoveryState.DONE, "unproven")
    assert over.recovery.findings == (why,)
    assert is_taken_down(world)


def test_an_image_that_does_not_come_up_is_told_before_its_tree_is_compared() -> None:
    world = a_world_with_backups()

    recovery_id = a_server_that_is_back(world, boot={"state": "not booted", "why": "no init", "seconds": 0.0})

    kept = recover(recovery_id, world, NOW)
    assert (kept.recovery.verdict, kept.recovery.address) == (None, None)
    assert kept.waiting[0].startswith(
        "us0 is restored, and not compared with its backup yet: it does not run (no init); attach vol-1"
    )


def test_what_a_machine_says_of_its_image_is_one_line_and_moves_no_cursor() -> None:
    world = a_world_with_backups()
    why = "\x1b[2Jno init\n" + "x" * 1000

    recovery_id = a_server_that_is_back(world, boot={"state": "not booted", "why": why, "seconds": 0.0})

    (told,) = recover(recovery_id, world, NOW).waiting
    assert told.isprintable()
    assert r"it does not run (\x1b[2Jno init\nxxx" in told
    assert len(told) < 1000


def test_a_server_that_was_powered_off_before_it_was_compared_is_no_place_to_log_in_to() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    world.archive.put_once(wire.recovery_off_key(recovery_id), b"{}")

    off = recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    compared = recover(recovery_id, world, NOW)

    powered_off = "it has been powered off, and its machine goes off once it is compared"
    uncompared = f"us0 is restored, and not compared with its backup yet: {powered_off}"
    assert f"{uncompared}; attach vol-1, or close it and restore again, until" in off.waiting[0]
    assert "log in" not in compared.waiting[0]
    assert compared.recovery.verdict == "proven"


def test_a_server_that_is_back_is_found_again_by_a_rebuilt_catalogue() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    after = replace(world, catalog=FakeCatalog())

    rebuild(after)

    found = recover(recovery_id, after, NOW)
    assert (found.recovery.address, found.recovery.verdict) == ("10.0.0.1", None)
    assert len(world.machines.requests) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_changes_nothing_about_a_server_that_is_back(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_backups(), Fuse(at, after)
        fused = a_fused_world(world, fuse)
        recovery_id = a_restore(world)
        the_server_is_back(world, recovery_id)
        retried_once(lambda: recover(recovery_id, fused, NOW))  # noqa: B023
        the_machine_reports(world, recovery_id)
        retried_once(lambda: recover(recovery_id, fused, NOW))  # noqa: B023

        kept = world.catalog.get_recovery(recovery_id)
        assert (kept.address, kept.verdict, kept.state) == ("10.0.0.1", "proven", RecoveryState.OPEN), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a restore takes more than {MOST_CALLS} calls")


def test_no_drill_is_taken_for_a_server_that_is_back() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_server_is_back(world, DRILL)

    outcome = recover(DRILL, world, world.catalog.get_recovery(DRILL).deadline)

    assert outcome.recovery.verdict == "failed"
    assert is_taken_down(world)


def test_an_image_that_does_not_run_is_no_place_to_log_in_to() -> None:
    world = a_world_with_backups()
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(recovery_id, world, NOW)
    not_booted = {"state": "not booted", "why": "the image has no init", "seconds": 0.0}
    the_machine_reports(world, recovery_id, verdict="content only", boot=not_booted)

    kept = recover(recovery_id, world, NOW)

    assert "it does not run (the image has no init); attach vol-1" in kept.waiting[0]
    assert "log in" not in kept.waiting[0]


def a_restore(world: FakeWorld, *ports: int, host: str = "us0", networks: tuple[str, ...] = ()) -> RecoveryId:
    """Asked for, and gone on with until there is something to wait for."""
    recovery_id = open_restore(RecoveryRequest(host, ports=ports, networks=networks), world, NOW).id
    recover(recovery_id, world, NOW)
    return recovery_id


def test_a_restored_server_is_let_in_to_by_ssh_and_where_it_is_said_by_whom_its_receiver_takes() -> None:
    world = a_world_with_backups()

    a_restore(world, 80, 443)

    (request,) = world.machines.requests
    assert (request.security_group, request.profile) == ("sg-restore", world.settings.image_profile)
    assert world.entrances.ways() == {Way(port, "198.51.100.0/24") for port in (22, 80, 443)}
    assert world.address.networks == ()


def test_the_networks_that_are_named_come_in_and_no_others() -> None:
    world = a_world_with_backups()

    a_restore(world, networks=("203.0.113.7/32", "0.0.0.0/0"))

    assert world.entrances.ways() == {Way(22, "203.0.113.7/32"), Way(22, "0.0.0.0/0")}


def test_asked_again_with_another_port_what_is_under_way_has_that() -> None:
    world = a_world_with_backups()
    first = a_restore(world, 80)

    again = a_restore(world, 443)

    assert again == first
    assert {way.port for way in world.entrances.ways()} == {22, 443}
    assert len(world.machines.requests) == 1


def test_two_restores_have_their_ways_and_the_one_that_ends_takes_its_own_along() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("eu0a", "snap-22", a_run_id(22)))
    us0, _ = a_restore(world, 80), a_restore(world, 25, host="eu0")
    both = {way.port for way in world.entrances.ways()}
    the_machine_reports(world, us0, verdict="failed")

    recover(us0, world, NOW)

    assert both == {22, 25, 80}
    assert {way.port for way in world.entrances.ways()} == {22, 25}


def test_asked_again_after_another_night_what_stands_is_meant_unless_a_point_or_a_name_is_said() -> None:
    world = a_world_with_backups(22)
    first = a_restore(world)
    world.volumes.snapshots["snap-23"] = a_snapshot("snap-23", a_run_id(23))
    world.catalog.record_point(a_point(snapshot_id="snap-23", run_id=a_run_id(23)))

    again = a_restore(world, 443)
    newer = open_restore(RecoveryRequest("us0", point="snap-23"), world, NOW)
    beside = open_restore(RecoveryRequest("us0", name="us0-beside"), world, NOW)

    assert again == first
    assert world.catalog.get_recovery(first).ways == (Way(22, "198.51.100.0/24"), Way(443, "198.51.100.0/24"))
    assert len({first, newer.id, beside.id}) == 3
    assert [each.point.snapshot_id for each in (newer, beside)] == ["snap-23", "snap-23"]


def test_of_two_that_stand_the_one_of_the_point_that_would_be_chosen_is_meant() -> None:
    world = a_world_with_backups(21, 22)
    open_restore(RecoveryRequest("us0", point="snap-21"), world, NOW)
    newest = open_restore(RecoveryRequest("us0", point="snap-22"), world, NOW)

    assert open_restore(RecoveryRequest("us0"), world, NOW) == newest


def test_one_that_has_failed_is_on_its_way_out_and_nobodys() -> None:
    world = a_world_with_backups()
    first = a_restore(world)
    world.catalog.save_recovery(replace(world.catalog.get_recovery(first), verdict="failed"))

    assert open_restore(RecoveryRequest("us0"), world, NOW).id != first


def test_who_is_woken_finds_the_ways_that_were_asked_for() -> None:
    world = a_world_with_backups()
    a_restore(world, 80)
    found: list[set[int]] = []
    world.lambdas.invoke_later = lambda function, payload: found.append(  # type: ignore[method-assign]
        {way.port for way in world.catalog.get_recovery(DRILL).ways}
    )

    open_restore(RecoveryRequest("us0", ports=(443,)), world, NOW)

    assert found == [{22, 443}]


def test_more_ways_than_a_group_may_have_are_refused_and_what_is_under_way_keeps_its_own() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("eu0a", "snap-22", a_run_id(22)))
    first = a_restore(world, *range(100, 130))

    with pytest.raises(Refused, match=r"61 ways in .* at most 60: say .*networks .*ports"):
        open_restore(RecoveryRequest("eu0", ports=tuple(range(200, 230))), world, NOW)
    with pytest.raises(Refused, match=r"61 ways in"):
        open_restore(RecoveryRequest("us0", ports=tuple(range(200, 260))), world, NOW)
    other = a_restore(world, *range(200, 229), host="eu0")

    assert set(world.catalog.recoveries) == {first, other}
    assert len(world.entrances.ways()) == 60


def test_rebuilt_a_restore_has_the_ways_that_were_asked_for_last_and_can_have_others() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world, 80, networks=("0.0.0.0/0",))
    for network in ("203.0.113.7/32", "203.0.113.8/32"):
        a_restore(world, networks=(network,))
    after = replace(world, catalog=FakeCatalog())

    rebuilt = rebuild(after)
    recover(recovery_id, after, NOW)

    assert (rebuilt.recoveries, rebuilt.faults) == (1, ())
    assert after.entrances.ways() == {Way(22, "203.0.113.8/32")}
    assert a_restore(after, networks=("203.0.113.9/32",)) == recovery_id
    assert rebuild(replace(after, catalog=FakeCatalog())).faults == ()
    assert after.entrances.ways() == {Way(22, "203.0.113.9/32")}


def test_what_is_open_on_it_is_told_whoever_asked_for_it() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("eu0a", "snap-22", a_run_id(22)))
    us0 = a_restore(world, 80)
    a_restore(world, host="eu0", networks=("0.0.0.0/0",))
    the_machine_reports(world, us0)

    kept = recover(us0, world, NOW)

    assert "open are 22 from 0.0.0.0/0; 22, 80 from 198.51.100.0/24" in kept.waiting[0]


def test_one_that_is_closed_before_it_has_reported_says_that_it_was() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)

    close_recoveries(str(recovery_id), world, NOW + timedelta(minutes=5))
    over = recover(recovery_id, world, NOW + timedelta(minutes=5))

    assert over.recovery.state is RecoveryState.FAILED
    assert over.recovery.findings == ("it was closed before there was a report",)
    assert is_taken_down(world)


def test_what_ec2_does_not_show_yet_when_a_restore_is_closed_is_taken_down_all_the_same() -> None:
    world = a_world_with_backups()
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id
    world.volumes.unshown = True
    recover(recovery_id, world, NOW)
    close_recoveries(str(recovery_id), world, NOW)
    early = recover(recovery_id, world, NOW)
    world.volumes.unshown = False

    late = recover(recovery_id, world, NOW + SETTLES)

    assert early.waiting == ("EC2 to show what it may have been asked for just before",)
    assert late.recovery.state is RecoveryState.FAILED
    assert is_taken_down(world)


def test_a_restore_is_shut_before_it_is_closed() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    the_machine_reports(world, recovery_id)
    recover(recovery_id, world, NOW)

    over = recover(recovery_id, world, world.catalog.get_recovery(recovery_id).deadline)

    assert over.steps == ("TerminateMachine", "DeleteVolume", "SetWays", "CloseRecovery")
    assert world.entrances.ways() == frozenset()


def the_group_is_full(world: FakeWorld) -> None:
    def refused(ways: Collection[Way]) -> None:
        raise PermanentError("opening group sg-restore: RulesPerSecurityGroupLimitExceeded")

    world.entrances.set = refused  # type: ignore[method-assign]


def test_while_the_group_cannot_be_set_a_restore_comes_and_goes_all_the_same_and_each_time_says_so() -> None:
    world = a_world_with_backups()
    set_ways = world.entrances.set
    the_group_is_full(world)
    recovery_id = open_restore(RecoveryRequest("us0"), world, NOW).id

    def gone_on_with(now: datetime) -> None:
        with pytest.raises(TransientError, match="opening group sg-restore: RulesPer"):
            recover(recovery_id, world, now)

    gone_on_with(NOW)
    launched = len(world.machines.requests)
    the_machine_reports(world, recovery_id)
    gone_on_with(NOW)
    stands = world.catalog.get_recovery(recovery_id)
    world.entrances.open = frozenset({Way(22, "198.51.100.0/24")})
    gone_on_with(stands.deadline)

    assert launched == 1
    assert (stands.state, stands.verdict) == (RecoveryState.OPEN, "proven")
    assert is_taken_down(world)
    world.entrances.set = set_ways  # type: ignore[method-assign]
    assert recover(recovery_id, world, stands.deadline).recovery.state is RecoveryState.DONE
    assert world.entrances.ways() == frozenset()


def test_a_group_that_cannot_be_looked_at_keeps_no_machine_standing() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    the_machine_reports(world, recovery_id)

    def refused() -> frozenset[Way]:
        raise PermanentError("looking at group sg-restore: InvalidGroup.NotFound")

    world.entrances.ways = refused  # type: ignore[method-assign]
    the_group_is_full(world)
    with pytest.raises(TransientError, match="opening group sg-restore"):
        recover(recovery_id, world, world.catalog.get_recovery(recovery_id).deadline)

    assert is_taken_down(world)


def test_a_drill_opens_nothing_and_shuts_nobody_out() -> None:
    world = a_world_with_backups()
    world.entrances.set({Way(22, "192.0.2.0/24")})

    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    recover(DRILL, world, NOW)

    assert world.entrances.ways() == {Way(22, "192.0.2.0/24")}
    assert is_taken_down(world)


def test_who_may_come_in_has_to_be_said_where_no_receiver_says_it() -> None:
    world = a_world_with_backups()
    world.catalog.version = None

    with pytest.raises(Refused, match='nobody has said who may come in to host us0a: say it, as "allow"'):
        open_restore(RecoveryRequest("us0a"), world, NOW)
    open_restore(RecoveryRequest("us0a", networks=("192.0.2.0/24",)), world, NOW)


def test_of_a_host_without_a_receiver_those_come_in_that_come_in_to_any() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("old0", "snap-22", a_run_id(22)))

    a_restore(world, host="old0")

    assert world.entrances.ways() == {Way(22, "198.51.100.0/24")}


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
    (action,) = plan(a_recovery(), seen, NOW)

    assert isinstance(action, Wait)


def test_a_volume_is_made_as_large_as_its_snapshot() -> None:
    seen = what_is_seen(machines=(), volume=None, briefed=False)

    assert plan(a_recovery(), seen, NOW) == (CreateVolume("snap-1", 80),)


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

    assert outcome.steps == ("CreateVolume",)
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
    assert world.lambdas.invoked == [("tell_operators", {"schema": 1})]


# -- interruptions ----------------------------------------------------------------------------------------------------


def by_ticks_alone(world: FakeWorld, now: datetime) -> None:
    """Every event and every first invocation is lost: what a tick wakes is all that runs."""
    world.lambdas.invoked.clear()
    tick(world, now, new_nonce=lambda: "0" * 32)
    for function, payload in world.lambdas.invoked:
        if function == "recover":
            recover(wire.parse_recovery_payload(payload), world, now)


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


def retried_once(step: Callable[[], object]) -> None:
    """As the platform does with an invocation that died."""
    try:
        step()
    except Crash:
        step()


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
    put_into_force(world, A_POLICY_TEXT.replace("[receiver.main]", "[receiver.other]"))
    recovery_id = open_drill("us0", world, NOW)

    outcome = recover(recovery_id, world, NOW)

    assert (outcome.recovery.state, outcome.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert "no policy says on what to restore" in outcome.recovery.findings[0]
    assert world.volumes.volumes == {}


def put_into_force(world: FakeWorld, text: str) -> None:
    world.archive.put_once("policies/000002.toml", text.encode())
    world.catalog.set_policy_version("000002", "000001")


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
