"""Copies to the DR region, through the doors: asked for when a run closes, and made good by the tick."""

import pytest

from tests.app.stage import Stage
from tests.builders import A_POLICY_TEXT, a_moment

THERE = "eu-central-1"
COPYING = f'{A_POLICY_TEXT}\n[copy]\nregion = "{THERE}"\nretention = {{ daily = 2 }}\n'


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A night whose snapshot is taken and complete, of which nobody has heard yet."""
    stage = Stage(monkeypatch)
    stage.call("apply_policy", text=COPYING, expected=None)
    stage.tick()
    stage.ready()
    for host in ("us0", "eu0"):
        stage.report(host)
    stage.released()
    stage.tick()
    stage.complete_snapshots()
    stage.world.lambdas.invoked.clear()
    return stage


def test_the_run_that_closes_has_its_snapshot_copied(stage: Stage) -> None:
    stage.snapshot_event(stage.the_snapshot())

    assert stage.deliver() == ["prune", "copy", "tell_operators", "tell_operators"]
    assert stage.world.copies.asked == [(THERE, stage.the_snapshot())]


def test_a_closing_nobody_heard_of_is_made_good_by_the_tick(stage: Stage) -> None:
    stage.tick()
    stage.tick()

    assert stage.world.copies.asked == [(THERE, stage.the_snapshot())]


def test_a_copy_that_failed_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.tick()
    stage.world.copies.end(THERE, "error")

    stage.tick()

    (record,) = (record for record in caplog.records if record.message == "copy failed")
    assert record.snapshot == stage.the_snapshot()  # type: ignore[attr-defined]


def test_a_copy_that_fails_again_is_told_to_the_operators_and_so_is_that_it_is_there_at_last(stage: Stage) -> None:
    for hour in (4, 5):
        stage.tick(a_moment(hour, 6))
        stage.world.copies.end(THERE, "error")
    stage.tick(a_moment(6, 1))
    stage.tick(a_moment(7, 1))
    stage.world.copies.end(THERE)
    stage.tick(a_moment(8, 1))
    stage.tick(a_moment(9, 1))

    told = [subject for subject in stage.world.alarms.subjects if not subject.startswith("weekly")]
    assert told == [f"copy failed: 1 snapshot lacks its copy in {THERE}", f"copying to {THERE} is well again"]
