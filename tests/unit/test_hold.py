"""Holds: put on with a reason, a person and a date, taken off again, and refused where there is nothing to hold."""

import pytest

from chalicelib.core import tags
from chalicelib.core.holds import LONGEST, Hold, Target
from chalicelib.errors import ConfigError, Refused
from chalicelib.flows.hold import hold, release
from chalicelib.flows.prune import prune
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_run_id, a_snapshot
from tests.fakes import FakeWorld, a_world

NOW = a_moment(12)
AUDIT = Hold("the auditors", "ada", "2026-11-23T12:00:00Z")
SNAP_22 = Target("snap-22")


@pytest.fixture
def world() -> FakeWorld:
    """Two nights of us0, under a policy that keeps one."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.replace("daily = 7", "last = 1").encode())
    world.catalog.set_policy_version("000001", None)
    for day in (22, 23):
        snapshot = a_snapshot(f"snap-{day}", a_run_id(day), ("us0a",))
        world.volumes.snapshots[snapshot.id] = snapshot
        world.catalog.record_point(a_point("us0a", snapshot.id, a_run_id(day)))
    return world


def test_a_held_snapshot_stays_and_the_plan_says_by_whom_why_and_since(world: FakeWorld) -> None:
    held = hold(SNAP_22, "the auditors", "ada", world, NOW)

    plan = prune(world, NOW)

    assert (held.before, held.after) == (None, AUDIT)
    assert plan.mark == ()
    (verdict,) = [each for each in plan.verdicts if each.snapshot.id == "snap-22"]
    assert [reason.why for reason in verdict.reasons] == ["held by ada since 2026-11-23T12:00:00Z: the auditors"]


def test_a_released_snapshot_is_under_the_rules_again(world: FakeWorld) -> None:
    hold(SNAP_22, "the auditors", "ada", world, NOW)

    released = release(SNAP_22, world)

    assert (released.before, released.after) == (AUDIT, None)
    assert prune(world, NOW).mark == ("snap-22",)


@pytest.mark.parametrize(
    ("at", "snapshot_id"), [(None, "snap-23"), (a_moment(23, day=22), "snap-22"), (a_moment(3, day=22), "snap-22")]
)
@pytest.mark.parametrize("name", ["us0", "us0a"])
def test_a_hosts_point_is_held_by_the_snapshot_it_is_in(
    world: FakeWorld, name: str, at: object, snapshot_id: str
) -> None:
    held = hold(Target(host=name, at=at), "why", "ada", world, NOW)  # type: ignore[arg-type]

    assert held.snapshot.id == snapshot_id


def test_a_damaged_snapshot_is_held_by_its_id_and_never_as_a_hosts_point(world: FakeWorld) -> None:
    world.volumes.tag("snap-23", {tags.DAMAGED: "main/2026-11-23/1"})

    of_host = hold(Target(host="us0"), "why", "ada", world, NOW)
    by_id = hold(Target("snap-23"), "evidence", "ada", world, NOW)

    assert (of_host.snapshot.id, by_id.snapshot.id) == ("snap-22", "snap-23")


def test_showing_changes_nothing(world: FakeWorld) -> None:
    before = dict(world.volumes.snapshots)

    shown = hold(SNAP_22, "the auditors", "ada", world, NOW, dry_run=True)
    release(SNAP_22, world, dry_run=True)

    assert shown.after == AUDIT
    assert world.volumes.snapshots == before


def test_the_same_hold_again_keeps_its_date(world: FakeWorld) -> None:
    hold(SNAP_22, "the auditors", "ada", world, NOW)

    again = hold(SNAP_22, "the auditors", "ada", world, a_moment(12, day=24))

    assert again.before == again.after == AUDIT


def test_a_hold_is_not_overwritten_by_another(world: FakeWorld) -> None:
    hold(SNAP_22, "the auditors", "ada", world, NOW)

    with pytest.raises(Refused, match=r"held by ada since .*: the auditors: release it first"):
        hold(SNAP_22, "spring cleaning", "bob", world, NOW)


def test_releasing_what_nobody_holds_is_success(world: FakeWorld) -> None:
    released = release(SNAP_22, world)

    assert (released.before, released.after) == (None, None)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("snap-99"), "there is no snapshot snap-99"),
        (Target("snap-stranger"), "not tagged as a backup of ours"),
        (Target(host="us9"), "host us9 has no restore point"),
        (Target(host="us0", at=a_moment(0, day=1)), "no restore point that old"),
    ],
)
def test_what_is_unknown_is_refused(world: FakeWorld, target: Target, why: str) -> None:
    world.volumes.snapshots["snap-stranger"] = a_snapshot("snap-stranger", extra={tags.ROLE: "data"})

    with pytest.raises(Refused, match=why):
        hold(target, "why", "ada", world, NOW)
    with pytest.raises(Refused, match=why):
        release(target, world)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\x1b[2J", "x" * (LONGEST + 1)])
def test_a_reason_and_a_name_must_be_readable_and_fit_into_a_tag(world: FakeWorld, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hold(SNAP_22, text, text, world, NOW)

    assert [fault.split(" is ")[0] for fault in caught.value.faults] == ["reason", "by"]
    assert tags.HOLD not in world.volumes.snapshots["snap-22"].tags
