"""A server that is wanted back: it stands before it is compared, who may come in, and what is left afterwards."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.lost_machines import BACK_WITHIN, still_within
from chalicelib.core.model import RecoveryId, RecoveryState, RestorePoint, Way
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.opening import SETTLES
from chalicelib.errors import PermanentError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries
from chalicelib.flows.open_recovery import open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import a_moment, a_point, a_run_id, a_snapshot
from tests.fakes import FakeCatalog, FakeWorld, Fuse, a_fused_world, without_end
from tests.recoveries import (
    A_REPORT,
    DRILL,
    MOST_CALLS,
    NOW,
    a_drill_awaiting_its_report,
    a_report,
    a_world_with_backups,
    is_taken_down,
    its,
    retried_once,
    the_machine_reports,
    the_machine_says,
)

NO_ANSWER = "http://127.0.0.1/: no answer: refused"
NGINX_HAS_FAILED = "`nginx.service` has failed: no configuration"
# What a machine says of a server that is up and does not answer.
SILENT = {
    "probe": {"target": "http://127.0.0.1/", "answer": "no answer: refused", "ok": False},
    "failed": [NGINX_HAS_FAILED],
}


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
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), said)


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


def test_what_it_took_to_be_back_is_known_then_and_stays_known_when_its_word_is_lost() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    back = recover(recovery_id, world, NOW).recovery

    del world.archive.objects[its(wire.recovery_standing_key, world, recovery_id)]
    over = recover(recovery_id, world, back.deadline).recovery

    assert back.times is not None and back.times.answered == a_moment(9, 2) + timedelta(seconds=58)
    assert (over.verdict, over.times) == ("failed", back.times)


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
    assert [payload for function, payload in world.lambdas.invoked if function == "tell_operators"] == [{"schema": 1}]
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
    world.archive.put_once(its(wire.recovery_report_key, world, recovery_id), report)

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.state) == ("unproven", RecoveryState.OPEN)
    assert why in kept.recovery.findings[0]
    assert not is_taken_down(world)


@pytest.mark.parametrize("word", [b"{}", a_word(recovery="eu0b/2026-11-23/1")], ids=["unreadable", "another's"])
def test_a_word_that_is_none_takes_no_server_down_and_its_report_is_waited_for(word: bytes) -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), word)

    before = recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    after = recover(recovery_id, world, NOW)

    assert (before.recovery.verdict, before.recovery.state) == (None, RecoveryState.OPEN)
    assert (after.recovery.verdict, after.recovery.state) == ("proven", RecoveryState.OPEN)
    assert "log in at 10.0.0.1" in after.waiting[0]
    assert not is_taken_down(world)


def one_whose_word_cannot_be_read(world: FakeWorld) -> RecoveryId:
    recovery_id = a_restore(world)
    the_machine_says(world, "probe", NOW, recovery_id)
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), b"{}")
    return recovery_id


@pytest.mark.parametrize("after", [still_within("probe", 0), BACK_WITHIN])
def test_no_limit_ends_a_machine_whose_word_that_its_server_stands_cannot_be_read(after: timedelta) -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)

    kept = recover(recovery_id, world, NOW + after)

    assert (kept.recovery.verdict, kept.recovery.state) == (None, RecoveryState.OPEN)
    assert kept.recovery.attempt == 1
    assert not is_taken_down(world)


def test_of_one_whose_word_cannot_be_read_that_is_told_at_once_and_only_once() -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)
    world.lambdas.invoked.clear()

    recover(recovery_id, world, NOW)
    kept = recover(recovery_id, world, NOW)

    (finding,) = kept.recovery.findings
    assert finding.startswith("unheard: its word cannot be read: restored server: schema is None")
    assert finding.endswith("; its server may be back at 10.0.0.1: look, and close it if it is not")
    assert kept.waiting == ("the report of machine i-1, which is at: probe; us0 may be back at 10.0.0.1",)
    assert [payload for function, payload in world.lambdas.invoked if function == "tell_operators"] == [{"schema": 1}]


def test_of_one_whose_word_cannot_be_read_the_volume_stays_when_its_machine_goes() -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)
    world.machines.terminate("i-1")

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.state) == ("unproven", RecoveryState.OPEN)
    assert kept.recovery.findings[0] == "machine i-1 ended without a report"
    assert list(world.volumes.volumes) == ["vol-1"]


def test_of_one_whose_word_cannot_be_read_nothing_is_taken_down_for_a_report_of_a_failure() -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)
    the_machine_reports(world, recovery_id, verdict="failed", findings=["could not finish: EOFError"])

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.findings[0]) == ("unproven", "could not finish: EOFError")
    assert not is_taken_down(world)


def test_of_one_whose_word_cannot_be_read_nothing_is_taken_down_for_what_could_not_be_done() -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    world.catalog.record_point(a_point(snapshot_id="snap-22", run_id=a_run_id(22)))
    world.catalog.mark_proven = _refused  # type: ignore[method-assign]

    with pytest.raises(PermanentError):
        recover(recovery_id, world, NOW)

    assert not is_taken_down(world)


def _refused(point: RestorePoint) -> None:
    raise PermanentError("AccessDeniedException: not authorized to perform dynamodb:UpdateItem")


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
    assert over.recovery.findings == (f"{why}; its machine was at: compare",)
    assert is_taken_down(world)


NOT_BOOTED = {"state": "not booted", "why": "no init", "seconds": 0.0}


def test_an_image_that_does_not_come_up_is_told_before_its_tree_is_compared() -> None:
    world = a_world_with_backups()

    recovery_id = a_server_that_is_back(world, boot=NOT_BOOTED, probe=None)

    kept = recover(recovery_id, world, NOW)
    assert (kept.recovery.verdict, kept.recovery.address) == (None, None)
    assert kept.recovery.findings == ("did not boot: no init",)
    assert [payload for function, payload in world.lambdas.invoked if function == "tell_operators"] == [{"schema": 1}]
    assert kept.waiting[0].startswith(
        "us0 is restored, and not compared with its backup yet: it does not run (no init); attach vol-1"
    )


def test_what_kept_an_image_from_coming_up_stays_known_when_it_is_compared_and_is_said_but_once() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world, boot=NOT_BOOTED, probe=None)
    the_machine_reports(
        world, recovery_id, verdict="content only", boot=NOT_BOOTED, probe=None, findings=["did not boot: no init"]
    )

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.findings) == ("content only", ("did not boot: no init",))


def test_of_one_that_has_not_come_up_nothing_is_taken_down_for_what_could_not_be_done() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world, boot=NOT_BOOTED, probe=None)
    found = ["etc: missing"]
    the_machine_reports(world, recovery_id, verdict="different", boot=NOT_BOOTED, probe=None, findings=found)
    world.catalog.record_point(a_point(snapshot_id="snap-22", run_id=a_run_id(22)))
    world.catalog.mark_proven = _refused  # type: ignore[method-assign]

    with pytest.raises(PermanentError):
        recover(recovery_id, world, NOW)

    assert not is_taken_down(world)


def test_a_server_that_is_up_and_does_not_answer_is_told_as_such_before_it_is_compared() -> None:
    world = a_world_with_backups()

    recovery_id = a_server_that_is_back(world, **SILENT)

    back = recover(recovery_id, world, NOW).recovery
    assert (back.verdict, back.address) == (None, "10.0.0.1")
    assert back.findings == (NO_ANSWER, NGINX_HAS_FAILED)


def test_what_its_report_says_again_of_a_silent_server_is_told_once() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world, **SILENT)
    as_before = {"probe": SILENT["probe"], "findings": [NO_ANSWER, NGINX_HAS_FAILED]}
    the_machine_reports(world, recovery_id, verdict="content only", **as_before)

    kept = recover(recovery_id, world, NOW).recovery

    assert (kept.verdict, kept.findings) == ("content only", (NO_ANSWER, NGINX_HAS_FAILED))


def test_a_machine_of_an_earlier_version_does_not_say_what_has_failed_in_its_image() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    said = json.loads(a_word(recovery=str(recovery_id), probe=SILENT["probe"]))
    del said["failed"]
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), json.dumps(said).encode())

    assert recover(recovery_id, world, NOW).recovery.findings == (NO_ANSWER,)


def test_what_has_answered_late_is_proven_and_no_finding_says_otherwise() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world, **SILENT)
    recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)

    kept = recover(recovery_id, world, NOW).recovery

    assert (kept.verdict, kept.findings) == ("proven", ())
    assert kept.times and kept.times.answered


@pytest.mark.fault("X6")
def test_names_without_end_beside_a_recoverys_words_hide_none_and_make_no_look_longer() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_is_back(world)
    for number in range(1000):
        world.archive.put_once(f"{its(wire.recovery_words_prefix, world, recovery_id)}begun/0/{number}.json", b"{}")
    the_machine_reports(world, recovery_id)

    kept = recover(recovery_id, without_end(world), NOW)

    assert (kept.recovery.verdict, kept.runs) == ("proven", True)


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
    world.archive.put_once(its(wire.recovery_off_key, world, recovery_id), b"{}")

    off = recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    compared = recover(recovery_id, world, NOW)

    powered_off = "it has been powered off, and its machine goes off once it is compared"
    uncompared = f"us0 is restored, and not compared with its backup yet: {powered_off}"
    assert f"{uncompared}; attach vol-1, or close it and restore again, until" in off.waiting[0]
    assert "log in" not in compared.waiting[0]
    assert compared.recovery.verdict == "proven"


def test_the_answer_says_whether_it_runs_now_and_not_whether_it_ever_did() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    coming = recover(recovery_id, world, NOW)
    the_server_is_back(world, recovery_id)
    back = recover(recovery_id, world, NOW)
    the_machine_reports(world, recovery_id)
    proven = recover(recovery_id, world, NOW)
    world.machines.terminate("i-1")

    off = recover(recovery_id, world, NOW)

    assert [each.runs for each in (coming, back, proven, off)] == [False, True, True, False]
    assert (off.recovery.address, off.recovery.verdict) == ("10.0.0.1", "proven")


@pytest.mark.parametrize("is_closed", ["in this call", "before"])
def test_of_one_that_is_over_no_answer_says_whether_it_runs(is_closed: str) -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    the_server_is_back(world, recovery_id)
    deadline = recover(recovery_id, world, NOW).recovery.deadline
    if is_closed == "before":
        recover(recovery_id, world, deadline)

    over = recover(recovery_id, world, deadline)

    assert (over.recovery.state.is_final, over.runs) == (True, None)


def test_a_server_whose_report_alone_can_be_read_is_back_where_that_says_it_runs() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    world.archive.put_once(its(wire.recovery_standing_key, world, recovery_id), b"{")
    the_machine_reports(world, recovery_id)

    kept = recover(recovery_id, world, NOW)

    assert (kept.recovery.verdict, kept.recovery.address, kept.runs) == ("proven", "10.0.0.1", True)
    assert kept.recovery.findings == ()


def test_of_one_whose_report_does_not_say_whether_it_came_up_it_is_told_that_its_word_cannot_be_read() -> None:
    world = a_world_with_backups()
    recovery_id = one_whose_word_cannot_be_read(world)
    the_machine_reports(world, recovery_id, verdict="failed", findings=["could not finish: EOFError"], boot=None)

    kept = recover(recovery_id, world, NOW)

    assert kept.recovery.findings[1].startswith("unheard: its word cannot be read: ")
    assert "its server may be back at 10.0.0.1" in kept.recovery.findings[1]


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


@pytest.mark.fault("O5")
def test_a_server_that_is_back_and_proven_and_gone_again_has_moved_nobodys_name_to_another_address() -> None:
    world = a_world_with_backups()
    world.address.names = {"backup.example.org": "203.0.113.1", "us0.example.org": "203.0.113.2"}
    before = dict(world.address.names)

    recovery_id = a_server_that_is_back(world)
    the_machine_reports(world, recovery_id)
    kept = recover(recovery_id, world, NOW).recovery
    recover(recovery_id, world, kept.deadline)

    assert (kept.verdict, kept.address) == ("proven", "10.0.0.1")
    assert world.address.names == before


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


def test_asked_again_without_a_word_of_ways_in_what_is_under_way_keeps_them() -> None:
    world = a_world_with_backups()
    first = a_restore(world, 80, networks=("203.0.113.7/32",))

    again = a_restore(world)

    assert again == first
    assert world.entrances.ways() == {Way(22, "203.0.113.7/32"), Way(80, "203.0.113.7/32")}


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


def test_what_a_machine_writes_of_its_steps_opens_nothing_on_a_rebuild() -> None:
    world = a_world_with_backups()
    recovery_id = a_restore(world)
    forged = wire.recovery_ways_key(recovery_id, 1).replace("/ways-", "/begun/ways-")
    world.archive.put_once(forged, b'{"schema":1,"ways":[[22,"0.0.0.0/0"]]}')

    after = replace(world, catalog=FakeCatalog())
    rebuild(after)

    assert after.catalog.get_recovery(recovery_id).ways == (Way(22, "198.51.100.0/24"),)


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


def test_asked_again_nobody_has_to_say_who_may_come_in_where_no_receiver_says_it() -> None:
    world = a_world_with_backups()
    world.catalog.version = None
    first = a_restore(world, host="us0a", networks=("192.0.2.0/24",))

    again = a_restore(world, host="us0a")

    assert again == first
    assert world.entrances.ways() == {Way(22, "192.0.2.0/24")}


def test_of_a_host_without_a_receiver_those_come_in_that_come_in_to_any() -> None:
    world = a_world_with_backups()
    world.catalog.record_point(a_point("old0", "snap-22", a_run_id(22)))

    a_restore(world, host="old0")

    assert world.entrances.ways() == {Way(22, "198.51.100.0/24")}
