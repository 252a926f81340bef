"""A drill: what comes up, what its verdict is, and what is left afterwards."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Machine, RecoveryId, RecoveryState
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.trouble import said
from chalicelib.errors import CapacityError, PermanentError, TransientError
from chalicelib.flows.open_recovery import open_drill, open_recovery
from chalicelib.flows.recover import recover
from chalicelib.ports import LaunchRequest
from tests.builders import a_moment, a_point, a_run, a_run_id
from tests.fakes import FakeWorld
from tests.recoveries import (
    A_REPORT,
    DRILL,
    FINISHED,
    NOW,
    a_drill_awaiting_its_report,
    a_report,
    a_world_with_backups,
    is_taken_down,
    its,
    the_machine_reports,
    the_machine_says,
)


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


def the_night_reported(world: FakeWorld, manifest: str) -> None:
    """The report of the night of the newest point, whose receiver has archived this manifest."""
    report = json.loads((A_REPORT.parent / "report.json").read_text()) | {"run": str(a_run_id(22)), "id": "us0a"}
    report["receiver"]["manifest"] |= {"key": manifest, "sha256": "abc"}
    world.archive.objects[wire.report_key(a_run(a_run_id(22)), "us0a")] = json.dumps(report).encode()


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

    brief = json.loads(world.archive.get(its(wire.recovery_brief_key, world)))
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
    other, stale = recovery.findings
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


def test_a_proof_that_a_later_drill_contradicts_is_none_any_more() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    recover(DRILL, world, NOW)
    again = open_drill("us0", world, NOW + timedelta(hours=1))
    recover(again, world, NOW + timedelta(hours=1))
    the_machine_reports(world, again, verdict="different", findings=["etc/passwd: missing"])

    before = world.catalog.find_points("us0a")[0].proven
    recover(again, world, NOW + timedelta(hours=2))

    assert (before, world.catalog.find_points("us0a")[0].proven) == (FINISHED, None)


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
    world.archive.put_once(its(wire.recovery_report_key, world), body)

    recover(DRILL, world, NOW)

    recovery = world.catalog.get_recovery(DRILL)
    assert (recovery.state, recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert "its report" in recovery.findings[0]
    assert is_taken_down(world)


def test_a_drill_without_a_report_fails_at_its_deadline_and_leaves_nothing_behind() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    deadline = world.catalog.get_recovery(DRILL).deadline
    the_machine_says(world, "compare", deadline - timedelta(hours=1))

    early = recover(DRILL, world, deadline - timedelta(seconds=1))
    late = recover(DRILL, world, deadline)

    assert early.recovery.state is RecoveryState.OPEN
    assert (late.recovery.state, late.recovery.verdict) == (RecoveryState.FAILED, "failed")
    assert late.recovery.findings == ("there was no report before the deadline; its machine was at: compare",)
    assert is_taken_down(world)


def test_a_machine_that_ends_without_a_report_fails_the_drill_at_once() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    world.machines.terminate("i-1")

    outcome = recover(DRILL, world, NOW)

    assert outcome.recovery.findings[0] == "machine i-1 ended without a report"
    assert "`aws ec2 get-console-output --instance-id i-1`" in outcome.recovery.findings[1]
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
