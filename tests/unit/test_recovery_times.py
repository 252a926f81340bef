"""RTO and RPO of a drill and a restore, as measured, recorded, and told."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib import wire
from chalicelib.aws.items import item, recovery_values
from chalicelib.core.alarms import find_troubles
from chalicelib.core.model import RecoveryKind, RecoveryState, Times
from chalicelib.core.recovery_times import rpo, rto, spoken, told_of
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import a_moment, a_night, a_recovery, some_facts
from tests.fakes import FakeCatalog
from tests.recoveries import (
    DRILL,
    NOW,
    a_drill_awaiting_its_report,
    a_world_with_backups,
    the_machine_reports,
    the_machine_says,
)

A_MINUTE = timedelta(minutes=1)
TIMES = Times(a_moment(9, 5), {"mount": 1.0, "compare": 60.0})


def test_the_recovery_time_is_from_the_asking_to_the_answer_and_a_drills_comparison_is_none_of_it() -> None:
    restore = replace(a_recovery(RecoveryKind.RESTORE), times=TIMES)
    drill = replace(a_recovery(RecoveryKind.DRILL), times=TIMES)

    assert (rto(restore), rto(drill)) == (5 * A_MINUTE, 4 * A_MINUTE)


def test_what_has_not_answered_has_no_recovery_time() -> None:
    assert rto(a_recovery()) is None
    assert rto(replace(a_recovery(), times=replace(TIMES, answered=None))) is None


def test_whatever_a_machine_says_it_took_is_a_time() -> None:
    assert rto(replace(a_recovery(), times=Times(a_moment(8), {}))) == timedelta(0)
    assert rto(replace(a_recovery(), times=Times(a_moment(9, 5), {"compare": 2.0**53}))) == timedelta(0)


def test_the_recovery_point_is_as_old_as_the_data_was_when_it_was_asked_for() -> None:
    assert rpo(a_recovery()) == timedelta(hours=6)


def test_it_is_told_in_columns_that_a_human_reads() -> None:
    assert told_of(a_recovery()) == ()
    assert told_of(replace(a_recovery(), times=replace(TIMES, answered=None))) == (
        "RTO    none         it has not answered",
        "RPO    6 h 0 min    from its restore point until it was asked for",
        "steps  mount 1.0 s, compare 1 min 0 s",
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (59.0, "59.0 s"), (61.9, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "25 h 0 min"),
     (180_000, "2 d 2 h")],
)  # fmt: skip
def test_a_length_is_told_in_the_units_that_matter(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_what_a_drill_took_is_in_the_catalogue_and_in_the_archive() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    recover(DRILL, world, NOW + A_MINUTE)
    timings = {"mount": 0.1, "boot": 12.4, "compare": 3.9, "<made up>": 1.0}
    said = {"began": "2026-11-23T09:01:30Z", "answered": "2026-11-23T09:02:58Z", "timings": timings}
    the_machine_reports(world, **said)

    recover(DRILL, world, NOW + 10 * A_MINUTE)

    times = world.catalog.get_recovery(DRILL).times
    assert times == Times(
        a_moment(9, 2) + timedelta(seconds=58),
        {"launch": 60.0, "machine": 30.0, "mount": 0.1, "image boot": 12.4, "compare": 3.9},
    )
    assert wire.parse_closed_recovery(world.archive.get(wire.recovery_closed_key(DRILL))).times == times
    lost = replace(world, catalog=FakeCatalog())
    rebuild(lost)
    assert lost.catalog.get_recovery(DRILL).times == times


@pytest.mark.parametrize("said", [-(2**53), 1e-320, 2**53])
def test_whatever_a_machine_says_a_step_took_its_verdict_is_kept_and_every_alarm_still_told(said: float) -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world, answered="2026-11-23T09:02:58Z", timings={"compare": said})

    drill = recover(DRILL, world, NOW + 10 * A_MINUTE).recovery

    assert drill.times and 0 <= drill.times.steps["compare"] <= timedelta(days=7).total_seconds()
    assert item("RECOVERY", str(DRILL), recovery_values(drill))
    assert wire.standing(drill)["rto"] in (0.0, 178.0)
    different = replace(drill, verdict="different")
    (trouble,) = find_troubles(some_facts(a_night(), recoveries=(different,)), a_moment(10))
    assert trouble.details == told_of(drill)


def test_who_waits_is_told_the_step_that_its_present_machine_is_at() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)

    for step in ("mount", "materialise", "compare", "boot"):
        the_machine_says(world, step, NOW)
    the_machine_says(world, "probe", NOW, attempt=2)

    (waiting,) = recover(DRILL, world, NOW).waiting
    assert waiting.startswith("the report of machine ") and waiting.endswith(", which is at: image boot")


def test_the_letter_of_a_drill_that_failed_says_what_it_took() -> None:
    drill = replace(
        a_recovery(),
        verdict="different",
        state=RecoveryState.DONE,
        closed=a_moment(9, 10),
        times=TIMES,
        findings=("etc",),
    )

    (trouble,) = find_troubles(some_facts(a_night(), recoveries=(drill,)), a_moment(10))

    assert trouble.details == ("etc", *told_of(drill))
