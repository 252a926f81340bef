"""What a peer keeps of a guest whatever happened: to its clock, to a snapshot, to a record, or while one reads."""

from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import TransientError
from ebbtide_agent.receiver.durable import NOT_KEPT
from ebbtide_agent.report import manifest_key
from tests.unit.agent.guests import NOW, Taking


@pytest.fixture
def taking(tmp_path: Path) -> Taking:
    return Taking(tmp_path, keep=2)


def test_each_night_becomes_a_snapshot_and_the_last_days_stay(taking: Taking) -> None:
    for _ in range(4):
        taking.night()
        taking.days_pass()

    assert taking.snapshots == ("2026-11-28T02-10-00Z", "2026-11-29T02-10-00Z")
    assert (taking.store.tree(taking.snapshots[-1]) / "file").read_text() == "peer/2026-11-29/1"


def test_a_clock_that_was_far_ahead_once_stops_nothing(taking: Taking) -> None:
    taking.night()
    taking.days_pass(1000)
    taking.night()
    taking.now += timedelta(hours=1)
    taking.night()
    ahead = taking.snapshots[-2:]
    taking.now = NOW + timedelta(days=1)

    taking.night()
    after_it = taking.snapshots
    for _ in range(2):
        taking.days_pass()
        taking.night()

    assert ahead == ("2029-08-22T02-10-00Z", "2029-08-22T03-10-00Z")
    assert after_it == ("2026-11-26T02-10-00Z", "2026-11-27T02-09-58Z", "2026-11-27T02-09-59Z", "2026-11-27T02-10-00Z")
    assert taking.snapshots == ("2026-11-28T02-10-00Z", "2026-11-29T02-10-00Z")


def test_by_a_clock_that_is_far_behind_nothing_is_dated_anew(taking: Taking) -> None:
    """A machine whose clock has no battery starts in 1970; the host's says otherwise."""
    taking.night()
    taking.now = NOW.replace(year=1970)

    taking.night(host_clock=NOW + timedelta(days=1))

    assert taking.snapshots == ("2026-11-26T02-10-00Z", "2026-11-26T02-10-01Z")


def test_onto_a_disk_that_does_not_keep_what_is_written_nothing_is_copied(taking: Taking) -> None:
    taking.report(taking.say_hello())
    taking.paths.not_kept.write_text("Input/output error")
    # Whoever copies misses it.
    taking.paths.manifest("us0a").unlink()

    is_made = taking.keeper.keep()

    assert (is_made, taking.keeper.find_trouble()) == (False, NOT_KEPT)


def test_while_one_reads_nothing_is_made_and_nothing_goes(taking: Taking) -> None:
    for _ in range(2):
        taking.night()
        taking.days_pass()
    before = taking.snapshots
    taking.report(taking.say_hello())
    closed_as_it_looked = taking.keeper
    taking.open_for(timedelta(hours=2))

    assert closed_as_it_looked.keep() and taking.keeper.keep()
    while_open = taking.snapshots
    taking.now += timedelta(hours=2)
    taking.keeper.keep()

    assert while_open == before
    assert len(set(taking.snapshots) - set(before)) == 1 and before[0] not in taking.snapshots


@pytest.mark.parametrize("lost", ["report", "manifest"])
def test_a_snapshot_that_does_not_say_what_it_is_is_in_nobodys_way_and_goes_with_its_day(
    taking: Taking, lost: str
) -> None:
    taking.night()
    taking.days_pass()
    taking.night()
    damaged, _ = taking.snapshots
    {"report": taking.store.report, "manifest": taking.store.manifest}[lost](damaged).write_bytes(b"half of i")
    stays = []

    for _ in range(2):
        taking.days_pass()
        taking.night()
        stays.append(damaged in taking.snapshots)

    assert stays == [False, False]
    assert len(taking.snapshots) == 2


def test_a_last_report_that_cannot_be_read_any_more_keeps_nobody_from_the_next_night(taking: Taking) -> None:
    taking.night()
    (report,) = taking.paths.archive("us0a").rglob("us0a.json")
    report.write_bytes(b"half of i")

    taking.night()

    assert [taking.store.tree(name).joinpath("file").read_text() for name in taking.snapshots] == [
        "peer/2026-11-26/1",
        "peer/2026-11-26/2",
    ]


def test_the_newest_that_does_not_say_what_it_is_is_made_again(taking: Taking) -> None:
    taking.night()
    (damaged,) = taking.snapshots
    taking.store.report(damaged).unlink()

    with pytest.raises(TransientError, match="not made yet"):
        taking.say_hello()
    taking.keeper.keep()

    assert [each.name for each in taking.keeper.past().whole] == ["2026-11-26T02-10-01Z"]
    assert taking.keeper.past().damaged == (damaged,)


def test_of_a_run_that_was_described_twice_the_manifest_stays_that_the_report_names(taking: Taking) -> None:
    night = taking.say_hello()
    shelf = taking.keeper.shelf
    shelf.put_once(manifest_key("us0a", night.run, ""), b"of a push whose record was cut short")

    recorded = taking.report(night)
    taking.keeper.keep()

    assert recorded.receiver and recorded.receiver.manifest
    assert recorded.receiver.manifest.key == manifest_key("us0a", night.run, "", 2)
    assert shelf.digest(recorded.receiver.manifest.key) == recorded.receiver.manifest.sha256
    with pytest.raises(KeyError):
        shelf.digest(manifest_key("us0a", night.run, ""))
