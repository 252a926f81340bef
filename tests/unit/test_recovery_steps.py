"""Which step a recovery is at: in the catalogue, by the words of its machine, and told to whoever follows it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib import wire
from chalicelib.core.actions import Wait
from chalicelib.core.model import Recovery, RecoveryId, RecoveryKind, RecoveryState, Step
from chalicelib.core.naming import RecoveryRequest
from chalicelib.core.recovery import plan
from chalicelib.core.recovery_actions import RecordStep, RecoveryWorld
from chalicelib.core.steps import advanced, has_moved, reached
from chalicelib.errors import EbbtideError, PermanentError, TransientError
from chalicelib.flows.open_recovery import open_drill, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import a_machine, a_moment, a_recovery, a_snapshot, a_volume
from tests.fakes import FakeCatalog, FakeWorld
from tests.recoveries import (
    DRILL,
    NOW,
    a_drill_awaiting_its_report,
    a_world_with_backups,
    the_machine_reports,
    the_machine_says,
    the_server_stands,
)

A_MINUTE = timedelta(minutes=1)
LATER = NOW + 30 * A_MINUTE


def at(name: str, minute: int = 0) -> Step:
    return Step(name, a_moment(9, minute))


def a_drill(step: Step | None) -> Recovery:
    return replace(a_recovery(), step=step)


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.name for step in steps]


# -- how far it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (RecoveryKind.DRILL, ["mount", "materialise", "compare", "boot", "probe"]),
        (RecoveryKind.RESTORE, ["mount", "materialise", "boot", "probe", "compare"]),
        (RecoveryKind.OPENING, []),
    ],
)
def test_the_steps_that_were_said_are_taken_in_the_order_of_their_kind(kind: RecoveryKind, order: list[str]) -> None:
    said = [at(name, 1) for name in ("probe", "splendid", "compare", "mount", "boot", "materialise")]

    steps = reached(replace(a_recovery(kind), step=at("machine")), said, LATER)

    assert names(steps) == order


@pytest.mark.parametrize("late", ["launch", "machine", "mount", "compare"])
def test_a_word_that_is_late_or_repeated_puts_nothing_back(late: str) -> None:
    drill = a_drill(at("compare", 5))

    assert reached(drill, [at(late, 9)], LATER) == ()
    assert advanced(drill, at(late, 9)) == drill


def test_no_step_has_begun_before_the_one_before_it_nor_later_than_now() -> None:
    said = [at("mount", 1), at("materialise", 50), at("compare", 7)]

    steps = reached(a_drill(at("machine", 2)), said, a_moment(9, 10))

    assert steps == (at("mount", 2), at("materialise", 10), at("compare", 10))


def test_a_recovery_of_an_earlier_version_has_its_first_step_from_its_opening_on() -> None:
    assert reached(a_drill(None), [Step("mount", a_moment(8))], LATER) == (at("mount"),)


def test_what_has_its_verdict_is_at_no_step_any_more() -> None:
    assert reached(replace(a_drill(at("boot")), verdict="failed"), [at("probe", 1)], LATER) == ()


def test_how_far_it_has_come_is_written_down_before_anything_that_follows_from_it() -> None:
    drill = replace(a_drill(at("machine")), machine_id="i-1")
    seen = RecoveryWorld((a_machine(),), a_volume(attached_to="i-1"), a_snapshot(), briefed=True, report=None)

    steps = plan(drill, replace(seen, said=(at("mount", 1), at("materialise", 2))), LATER)
    there = plan(replace(drill, step=at("materialise", 2)), seen, LATER)

    assert steps == (RecordStep(at("mount", 1)), RecordStep(at("materialise", 2)))
    assert there == (Wait("the report of machine i-1, which is at: materialise"),)


@pytest.mark.parametrize(
    ("change", "is_news"),
    [
        ({"step": at("probe", 1)}, True),
        ({"attempt": 2}, True),
        ({"address": "203.0.113.9"}, True),
        ({"verdict": "proven"}, True),
        ({"state": RecoveryState.DONE}, True),
        ({"findings": ("no capacity",)}, False),
        ({"launched": NOW}, False),
        ({"deadline": NOW}, False),
        ({"version": 7}, False),
    ],
)
def test_only_what_whoever_follows_it_waits_for_is_news(change: dict[str, object], is_news: bool) -> None:
    drill = a_drill(at("boot"))

    assert has_moved(drill, replace(drill, **change)) == is_news  # type: ignore[arg-type]


# -- in the catalogue --------------------------------------------------------------------------------------------------


def step_of(recovery_id: RecoveryId, world: FakeWorld) -> Step | None:
    return world.catalog.get_recovery(recovery_id).step


def test_a_drill_is_at_its_launch_then_at_its_machine_and_then_where_that_says_since_then() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    opened = step_of(DRILL, world)
    recover(DRILL, world, NOW + A_MINUTE)
    launched = step_of(DRILL, world)
    the_machine_says(world, "mount", a_moment(9, 2))
    the_machine_says(world, "materialise", a_moment(9, 3))

    recover(DRILL, world, NOW + 5 * A_MINUTE)

    assert (opened, launched) == (at("launch"), at("machine", 1))
    assert step_of(DRILL, world) == at("materialise", 3)


def test_however_often_and_late_its_words_are_read_nothing_is_written_again() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_says(world, "compare", a_moment(9, 4))
    known = recover(DRILL, world, LATER).recovery

    the_machine_says(world, "mount", a_moment(9, 2))
    again = [recover(DRILL, world, LATER + minute * A_MINUTE) for minute in range(3)]

    assert known.step == at("compare", 4)
    assert [(each.recovery, each.steps) for each in again] == [(known, ())] * 3


def test_a_word_of_a_machine_that_was_replaced_says_nothing_of_the_present_one() -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(restore, world, NOW)
    the_machine_says(world, "materialise", a_moment(9, 2), restore)
    recover(restore, world, NOW + 5 * A_MINUTE)
    world.machines.terminate("i-1")

    replaced = recover(restore, world, NOW + 6 * A_MINUTE).recovery
    the_machine_says(world, "boot", a_moment(9, 7), restore)
    the_machine_says(world, "mount", a_moment(9, 8), restore, attempt=2)

    assert (replaced.attempt, replaced.step) == (2, at("machine", 6))
    assert recover(restore, world, NOW + 9 * A_MINUTE).recovery.step == at("mount", 8)


def test_a_word_that_cannot_be_read_is_none_and_the_drill_goes_on() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_says(world, "mount", a_moment(9, 1))
    key = wire.recovery_step_key(world.catalog.get_recovery(DRILL), "materialise")
    world.archive.put_once(key, b'{"schema": 1, "step": 7}')

    known = recover(DRILL, world, LATER)
    the_machine_reports(world)

    assert known.recovery.step == at("mount", 1)
    assert recover(DRILL, world, LATER).recovery.verdict == "proven"


def test_a_server_that_is_back_is_being_compared_since_it_said_so() -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(restore, world, NOW)
    the_server_stands(world, restore)

    back = recover(restore, world, LATER)

    assert (back.recovery.address, back.recovery.step) == ("10.0.0.1", at("compare", 3))
    assert wire.standing(back.recovery)["since"] == "2026-11-23T09:03:00Z"


def test_what_is_known_is_at_no_step() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_says(world, "probe", a_moment(9, 9))
    the_machine_reports(world)

    over = recover(DRILL, world, LATER).recovery

    assert (over.verdict, over.step) == ("proven", None)
    assert (wire.standing(over)["step"], wire.standing(over)["since"]) == (None, None)


def test_a_rebuilt_catalogue_has_its_step_from_the_words_again() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_says(world, "boot", a_moment(9, 4))
    recover(DRILL, world, LATER)
    lost = replace(world, catalog=FakeCatalog())

    rebuild(lost)
    recover(DRILL, lost, LATER)

    assert step_of(DRILL, lost) == step_of(DRILL, world) == at("boot", 4)
    assert wire.standing(lost.catalog.get_recovery(DRILL))["step"] == "image boot"


def test_what_is_rebuilt_as_it_closed_is_at_no_step() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    the_machine_reports(world)
    recover(DRILL, world, LATER)
    lost = replace(world, catalog=FakeCatalog())

    rebuild(lost)

    assert lost.catalog.get_recovery(DRILL).verdict == "proven"
    assert step_of(DRILL, lost) is None


# -- told to whoever follows it ----------------------------------------------------------------------------------------


def told(world: FakeWorld) -> list[tuple[object, ...]]:
    """Step, since when, verdict and state, of each event."""
    details = [payload for function, payload in world.lambdas.invoked if function == "tell_progress"]
    return [(each["step"], each["since"], each["verdict"], each["state"]) for each in details]


def test_each_step_of_a_drill_is_told_once_in_order_and_then_its_verdict_and_its_end() -> None:
    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    for _ in range(2):
        recover(DRILL, world, NOW + A_MINUTE)
    for minute, step in enumerate(("mount", "materialise", "compare", "boot", "probe"), start=2):
        the_machine_says(world, step, a_moment(9, minute))
    the_machine_reports(world)

    for _ in range(3):
        recover(DRILL, world, LATER)

    steps = ["machine", "mount", "materialise", "compare", "image boot", "probe"]
    begun = [(step, f"2026-11-23T09:0{minute}:00Z", None, "open") for minute, step in enumerate(steps, start=1)]
    assert told(world) == [*begun, (None, None, "proven", "open"), (None, None, "proven", "done")]


def test_of_two_events_the_later_one_has_the_higher_version() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    for minute, step in enumerate(("mount", "materialise"), start=1):
        the_machine_says(world, step, a_moment(9, minute))

    recover(DRILL, world, LATER)

    details = [payload for function, payload in world.lambdas.invoked if function == "tell_progress"]
    versions = [each["version"] for each in details]
    assert len(versions) == 3
    assert versions == sorted({*versions})
    assert versions[-1] == world.catalog.get_recovery(DRILL).version


@pytest.mark.parametrize("is_up", [True, False])
def test_whoever_follows_a_restore_is_told_whether_it_came_up_before_it_is_compared(is_up: bool) -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(restore, world, NOW)
    the_server_stands(world, restore, state="booted" if is_up else "not booted")

    for _ in range(2):
        recover(restore, world, LATER)

    details = [payload for function, payload in world.lambdas.invoked if function == "tell_progress"]
    followed = [(each["step"], each["came_up"], each["verdict"]) for each in details]
    assert followed == [("machine", None, None), ("compare", None, None), ("compare", is_up, None)]


def test_whoever_follows_a_restore_is_told_where_to_log_in_and_of_its_second_machine() -> None:
    world = a_world_with_backups()
    restore = open_restore(RecoveryRequest("us0"), world, NOW).id
    recover(restore, world, NOW)
    world.machines.terminate("i-1")
    recover(restore, world, NOW + A_MINUTE)
    the_server_stands(world, restore)
    recover(restore, world, LATER)

    details = [payload for function, payload in world.lambdas.invoked if function == "tell_progress"]
    followed = [(each["attempt"], each["step"], each["address"]) for each in details]
    assert followed == [
        (1, "machine", None),
        (2, "launch", None),
        (2, "machine", None),
        (2, "compare", None),
        (2, "compare", "10.0.0.2"),
    ]


def test_who_has_lost_the_write_tells_nothing() -> None:
    world = a_world_with_backups()
    a_drill_awaiting_its_report(world)
    world.lambdas.invoked.clear()
    the_machine_says(world, "mount", a_moment(9, 1))
    world.catalog.save_recovery = lambda recovery: None  # type: ignore[method-assign]

    outcome = recover(DRILL, world, LATER)

    assert outcome.overtaken
    assert told(world) == []


@pytest.mark.parametrize("kind", [PermanentError, TransientError])
def test_what_keeps_it_from_being_told_is_no_verdict_and_holds_nothing_up(
    kind: type[EbbtideError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function: str, _: object) -> None:
        raise kind(f"{function} is refused")

    world = a_world_with_backups()
    open_drill("us0", world, NOW)
    monkeypatch.setattr(world.lambdas, "invoke_later", refuse)

    outcome = recover(DRILL, world, NOW)

    drill = outcome.recovery
    assert (drill.verdict, drill.machine_id, drill.step) == (None, "i-1", at("machine"))
    assert outcome.waiting == ("the report of machine i-1",)
    assert outcome.untold == ("tell_progress is refused",)


def test_the_time_of_a_step_is_told_in_utc() -> None:
    drill = a_drill(Step("boot", datetime.fromisoformat("2026-11-23T10:04:00+01:00")))

    assert wire.recovery_progress(drill)["since"] == "2026-11-23T09:04:00Z"
