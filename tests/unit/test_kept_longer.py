"""A restored server's end: told before it comes, and moved by whoever asks again with a longer time."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib import wire
from chalicelib.aws import items
from chalicelib.core import tags
from chalicelib.core.advice import Kind
from chalicelib.core.alarms import find_troubles, subjects
from chalicelib.core.dead_man import weekly
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind, RecoveryState
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.restored import GRACE
from chalicelib.errors import PermanentError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries
from chalicelib.flows.open_recovery import open_recovery, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from chalicelib.flows.sweep import sweep
from ebbtide_console.cli.main import main
from tests.builders import a_night, a_recovery, some_facts
from tests.fakes import FakeWorld
from tests.recoveries import NOW, a_world_with_backups, the_machine_reports, the_server_stands
from tests.unit.test_dead_man import MONDAY, WELL
from tests.unit.test_open_commands import answered

A_DAY = timedelta(days=1)
AGAIN = RecoveryRequest("us0", lasts=7 * A_DAY)


def a_server_that_stands(world: FakeWorld, lasts: timedelta | None = None) -> RecoveryId:
    restore = open_restore(RecoveryRequest("us0", lasts=lasts), world, NOW)
    recover(restore.id, world, NOW)
    the_server_stands(world, restore.id)
    the_machine_reports(world, restore.id)
    recover(restore.id, world, NOW)
    return restore.id


def test_asked_again_on_its_sixth_day_it_stands_for_seven_from_then_on_and_no_sweep_takes_it_away() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_stands(world)

    again = open_restore(AGAIN, world, NOW + 6 * A_DAY)
    kept = recover(recovery_id, world, NOW + 6 * A_DAY).recovery
    for day in (8, 12):
        sweep(world, NOW + day * A_DAY)
        assert recover(recovery_id, world, NOW + day * A_DAY).recovery.state is RecoveryState.OPEN

    (machine,) = world.machines.by_id.values()
    (volume,) = world.volumes.volumes.values()
    assert (again.id, again.deadline, kept.deadline) == (recovery_id, NOW + 13 * A_DAY, NOW + 13 * A_DAY)
    assert not machine.is_gone
    assert {tags.expiry_of(each.tags) for each in (machine, volume)} == {NOW + 13 * A_DAY + GRACE}


def test_it_goes_at_its_new_end() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_stands(world)
    open_restore(AGAIN, world, NOW + 6 * A_DAY)

    recover(recovery_id, world, NOW + 13 * A_DAY)

    (machine,) = world.machines.by_id.values()
    assert machine.is_gone or machine.is_leaving


def test_asked_again_with_no_time_or_a_shorter_one_it_ends_when_it_would_have() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_stands(world, lasts=14 * A_DAY)

    without = open_restore(RecoveryRequest("us0"), world, NOW + A_DAY)
    shorter = open_restore(AGAIN, world, NOW + A_DAY)

    assert {without.id, shorter.id} == {recovery_id}
    assert without.deadline == shorter.deadline == NOW + 14 * A_DAY


def test_its_machine_powers_itself_off_only_after_the_longest_time_that_it_can_be_given() -> None:
    world = a_world_with_backups()
    a_server_that_stands(world)

    (request,) = world.machines.requests

    assert f"POWER_OFF_MINUTES='{(28 * A_DAY + GRACE) // timedelta(minutes=1)}'" in request.user_data


def test_asked_again_for_the_longest_time_it_stands_for_as_long_as_its_machine_lives() -> None:
    world = a_world_with_backups()
    longest = replace(AGAIN, lasts=28 * A_DAY)
    asked = open_restore(longest, world, NOW)

    again = open_restore(longest, world, NOW + timedelta(minutes=1))
    later = open_restore(AGAIN, world, NOW + 25 * A_DAY)

    assert again.id == later.id == asked.id
    assert asked.deadline == again.deadline == later.deadline == NOW + 28 * A_DAY


def test_one_whose_machine_an_earlier_version_has_launched_is_given_no_time_that_its_machine_does_not_live() -> None:
    world = a_world_with_backups()
    known = world.catalog.get_recovery(a_server_that_stands(world))
    world.catalog.save_recovery(replace(known, lives=None))

    with pytest.raises(Refused, match="can stand until 2026-11-30 09:00 UTC, 7 days after it was asked for"):
        open_restore(replace(AGAIN, lasts=14 * A_DAY), world, NOW + A_DAY)

    assert open_restore(AGAIN, world, NOW + A_DAY).deadline == NOW + 7 * A_DAY


def test_one_that_an_earlier_version_has_asked_a_machine_for_asks_for_the_very_same() -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW)
    world.catalog.save_recovery(replace(restore, lives=None))

    recover(restore.id, world, NOW)

    (request,) = world.machines.requests
    assert f"POWER_OFF_MINUTES='{(7 * A_DAY + GRACE) // timedelta(minutes=1)}'" in request.user_data


def test_the_table_keeps_how_long_its_machine_lives() -> None:
    restore = replace(a_recovery(RecoveryKind.RESTORE), lives=28 * A_DAY)

    assert items.read_recovery(items.item("recovery", "1", items.recovery_values(restore))) == restore


def test_a_rebuilt_catalogue_knows_its_later_end_and_its_ways() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_stands(world)
    known = open_restore(replace(AGAIN, ports=(80,)), world, NOW + 6 * A_DAY)
    after = replace(world, catalog=type(world.catalog)())

    rebuild(after)

    found = after.catalog.get_recovery(recovery_id)
    assert (found.deadline, found.ways, found.lives) == (known.deadline, known.ways, 28 * A_DAY)


def test_ways_that_an_earlier_version_has_changed_leave_the_end_as_it_was() -> None:
    assert wire.parse_recovery_ways(b'{"schema": 1, "ways": []}') == ((), None)


def test_what_cannot_be_tagged_is_tried_again_and_takes_nothing_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW)
    recover(restore.id, world, NOW)
    open_restore(replace(AGAIN, lasts=14 * A_DAY), world, NOW)
    monkeypatch.setattr(world.machines, "tag", _refused)

    with pytest.raises(TransientError):
        recover(restore.id, world, NOW)

    assert world.catalog.get_recovery(restore.id).verdict is None


def _refused(machine_id: str, tagged: dict[str, str]) -> None:
    raise PermanentError("AccessDenied")


def test_one_that_is_closed_is_given_no_time_again() -> None:
    world = a_world_with_backups()
    recovery_id = a_server_that_stands(world)
    close_recoveries(str(recovery_id), world, NOW + A_DAY)

    another = open_restore(AGAIN, world, NOW + A_DAY)

    assert another.id != recovery_id


def test_one_that_is_closed_after_its_usual_time_says_that_it_was_and_troubles_nobody() -> None:
    world = a_world_with_backups()
    restore = open_restore(replace(AGAIN, lasts=14 * A_DAY), world, NOW)
    recover(restore.id, world, NOW)
    close_recoveries(str(restore.id), world, NOW + 9 * A_DAY)

    over = recover(restore.id, world, NOW + 9 * A_DAY).recovery

    assert (over.verdict, over.findings) == ("failed", ("it was closed before there was a report",))
    assert items.read_recovery(items.item("recovery", "1", items.recovery_values(over))) == over
    troubles = find_troubles(some_facts(a_night(), recoveries=(over,)), NOW + 9 * A_DAY)
    assert Kind.RESTORE_FAILED not in {each.kind for each in troubles}


def test_a_rebuilt_catalogue_knows_that_somebody_has_closed_it_and_troubles_nobody() -> None:
    world = a_world_with_backups()
    restore = open_restore(replace(AGAIN, lasts=14 * A_DAY), world, NOW)
    recover(restore.id, world, NOW)
    close_recoveries(str(restore.id), world, NOW + 9 * A_DAY)
    seen = (recover(restore.id, world, NOW + 9 * A_DAY).recovery for _ in range(9))
    over = next(each for each in seen if each.state.is_final)
    after = replace(world, catalog=type(world.catalog)())

    rebuild(after)

    found = after.catalog.get_recovery(restore.id)
    assert (found.state, found.verdict, found.ended_early) == (over.state, "failed", True)
    troubles = find_troubles(some_facts(a_night(), recoveries=(found,)), NOW + 9 * A_DAY)
    assert Kind.RESTORE_FAILED not in {each.kind for each in troubles}


def test_a_drill_is_given_no_time() -> None:
    with pytest.raises(Refused, match="ends by itself"):
        open_recovery(replace(AGAIN, mode=Mode.DRILL), a_world_with_backups(), NOW)


@pytest.mark.parametrize("minutes", [0, 10079, 40321])
def test_no_other_time_can_be_asked_for(minutes: int) -> None:
    with pytest.raises(PermanentError, match=f"minutes is {minutes}, expected from 10080 to 40320"):
        wire.parse_recovery_request({"schema": 1, "host": "us0", "minutes": minutes})


def test_a_longer_time_is_asked_for_in_days_and_the_end_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answered(monkeypatch, *[wire.standing(a_recovery(RecoveryKind.RESTORE))] * 2)

    main(["restore", "us0", "--for", "14d", "--no-wait"])

    assert asked[0][1]["minutes"] == 14 * 24 * 60
    assert "it stands until 2026-11-23 11:00 UTC" in capsys.readouterr().out


def test_a_time_that_none_stands_for_is_said_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["restore", "us0", "--for", "6d"])

    assert "from 7d to 28d" in capsys.readouterr().err


# -- who is told ------------------------------------------------------------------------------------------------------


def a_restore(verdict: str | None = "proven") -> Recovery:
    restore = a_recovery(RecoveryKind.RESTORE)
    return replace(restore, verdict=verdict, address="203.0.113.9", deadline=restore.opened + 7 * A_DAY)


@pytest.mark.parametrize("verdict", ["proven", None])
def test_that_it_ends_is_told_two_days_before_and_until_it_does_or_is_given_more_time(verdict: str | None) -> None:
    restore = a_restore(verdict)

    def told(each: Recovery, at: datetime) -> list[str]:
        found = find_troubles(some_facts(a_night(), recoveries=(each,)), at)
        return [trouble.what for trouble in found if trouble.kind is Kind.RESTORE_ENDS]

    soon, end = restore.deadline - 2 * A_DAY, restore.deadline
    ends = "restore us0a/2026-11-23/1 of host us0 is taken down at 2026-11-30 09:00 UTC"
    assert told(restore, soon - timedelta(seconds=1)) == []
    assert told(restore, soon) == told(restore, end - timedelta(seconds=1)) == [ends]
    assert told(restore, end) == told(replace(restore, deadline=end + 7 * A_DAY), soon) == []
    assert told(replace(restore, verdict="failed"), soon) == []


def test_of_a_host_with_several_the_one_that_ends_first_is_told() -> None:
    first, later = a_restore(), replace(a_restore(), id=replace(a_restore().id, attempt=2))
    later = replace(later, deadline=first.deadline + timedelta(hours=1))
    facts = some_facts(a_night(), recoveries=(later, first))

    (trouble,) = (each for each in find_troubles(facts, first.deadline - A_DAY) if each.kind is Kind.RESTORE_ENDS)

    assert str(first.id) in trouble.what
    assert trouble.details == ("it runs as restored-us0a, at 203.0.113.9",)
    assert trouble.about in subjects(facts.policy)


def test_the_weekly_letter_names_what_stands_restored_and_nothing_that_is_over() -> None:
    over = replace(a_restore(), state=RecoveryState.DONE)
    recoveries = (a_restore(), replace(a_restore(None), address=None), over)

    message = weekly(replace(WELL, recoveries=recoveries), (), {}, MONDAY + timedelta(hours=2))

    assert message is not None
    listed = message.body.partition("restored servers:\n")[2].partition("\n\n")[0]
    as_it_was = "  restored-us0a: us0 as it was 2026-11-23 03:00 UTC,"
    assert listed.splitlines() == [
        f"{as_it_was} proven, at 203.0.113.9, until 2026-11-30 09:00 UTC",
        f"{as_it_was} no verdict yet, not seen to run, until 2026-11-30 09:00 UTC",
    ]
