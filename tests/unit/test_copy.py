"""Copies made: each asked for once whatever happens, told when it fails, and its source kept until it is there."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chalicelib.core import tags
from chalicelib.core.copying import COPY_SETTLES, RETRY_AFTER, copy_tags
from chalicelib.core.model import Copying, CopyIntent, Snapshot
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.copy import Copied, copy_snapshots
from chalicelib.flows.prune import prune
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_run_id, a_snapshot
from tests.fakes import Crash, FakeCopies, FakeWorld, Fuse, a_fused_world, a_world

THERE = "eu-central-1"
NOW = a_moment(7)
COPYING = f'{A_POLICY_TEXT}\n[copy]\nregion = "{THERE}"\nretention = {{ daily = 2 }}\n'
MOST_CALLS = 60


def a_world_with_backups(policy: str = COPYING, days: tuple[int, ...] = (23,)) -> FakeWorld:
    world = a_world()
    world.archive.put_once("policies/000001.toml", policy.encode())
    world.catalog.set_policy_version("000001", None)
    for day in days:
        world.volumes.snapshots[f"snap-{day}"] = a_snapshot(f"snap-{day}", a_run_id(day))
        world.catalog.record_point(a_point("us0a", f"snap-{day}", a_run_id(day)))
    return world


def sources_over_there(world: FakeWorld) -> list[str]:
    """The source of every copy there is, whatever became of it."""
    return [copy.tags[tags.SOURCE] for copy in world.copies.by_region.get(THERE, {}).values()]


def test_without_a_word_on_copies_none_are_made() -> None:
    world = a_world_with_backups(A_POLICY_TEXT)

    assert copy_snapshots(world, NOW) == Copied()
    assert world.copies.asked == []


def test_a_backup_is_copied_to_the_region_the_policy_names_with_its_lineage() -> None:
    world = a_world_with_backups()

    done = copy_snapshots(world, NOW)

    (copied,) = world.copies.by_region[THERE].values()
    assert done.asked == ("snap-23",)
    assert copied.tags[tags.SOURCE_REGION] == "us-east-1"
    assert tags.unpack(copied.tags) == ("eu0a", "us0a")


def test_a_copy_under_way_is_not_asked_for_again_and_leaves_no_record_once_it_is_complete() -> None:
    world = a_world_with_backups()
    copy_snapshots(world, NOW)

    again = copy_snapshots(world, NOW + RETRY_AFTER)
    world.copies.end(THERE)
    complete = copy_snapshots(world, NOW + 2 * RETRY_AFTER)

    assert (again.asked, complete) == ((), Copied())
    assert sources_over_there(world) == ["snap-23"]
    assert world.catalog.find_copy_intents() == []


def test_copies_of_another_regions_backups_are_no_copies_of_ours() -> None:
    world = a_world_with_backups()
    theirs = copy_tags(a_snapshot("snap-theirs", a_run_id(23)), "ap-southeast-2")
    world.copies.copy(THERE, "snap-theirs", "ebbtide main/2026-11-23/1", theirs)
    world.copies.end(THERE)

    assert copy_snapshots(world, NOW).asked == ("snap-23",)


def test_night_after_night_the_backlog_is_copied_the_newest_first() -> None:
    world = a_world_with_backups(days=(21, 22, 23))

    for _ in range(4):
        copy_snapshots(world, NOW)
        world.copies.end(THERE)

    assert sources_over_there(world) == ["snap-23", "snap-22"]


def test_a_lost_answer_does_not_make_a_second_copy() -> None:
    world = a_world_with_backups()
    world.copies.fault, world.copies.takes_effect = TransientError("no answer"), True

    copy_snapshots(world, NOW)
    copy_snapshots(world, NOW + COPY_SETTLES)

    assert sources_over_there(world) == ["snap-23"]


def test_a_lost_request_is_asked_for_again_once_ec2_would_show_it() -> None:
    world = a_world_with_backups()
    world.copies.fault = TransientError("there is no room")
    copy_snapshots(world, NOW)
    world.copies.fault = None

    soon, late = copy_snapshots(world, NOW), copy_snapshots(world, NOW + COPY_SETTLES)

    assert (soon.asked, late.asked) == ((), ("snap-23",))


def test_a_refusal_is_recorded_told_and_tried_again_later() -> None:
    world = a_world_with_backups()
    world.copies.fault = PermanentError("the key is disabled")
    copy_snapshots(world, NOW)
    world.copies.fault = None

    told, later = copy_snapshots(world, NOW), copy_snapshots(world, NOW + RETRY_AFTER)

    assert [(each.snapshot_id, each.failures, each.why) for each in told.failed] == [
        ("snap-23", 1, "the key is disabled")
    ]
    assert later.asked == ("snap-23",)


def test_a_copy_that_ends_in_an_error_is_made_again_by_a_later_tick() -> None:
    world = a_world_with_backups()
    copy_snapshots(world, NOW)
    world.copies.end(THERE, "error")

    told, later = copy_snapshots(world, NOW + COPY_SETTLES), copy_snapshots(world, NOW + RETRY_AFTER)

    assert (told.asked, [each.snapshot_id for each in told.failed]) == ((), ["snap-23"])
    assert later.asked == ("snap-23",)
    assert sources_over_there(world) == ["snap-23", "snap-23"]


def test_of_two_who_ask_at_once_one_does_although_its_copy_does_not_show_yet() -> None:
    world = a_world_with_backups()
    world.copies.fault = TransientError("no answer")
    save = world.catalog.save_copy_intent

    def someone_else_is_faster(intent: CopyIntent) -> CopyIntent | None:
        world.catalog.save_copy_intent = save  # type: ignore[method-assign]
        copy_snapshots(world, NOW)
        return save(intent)

    world.catalog.save_copy_intent = someone_else_is_faster  # type: ignore[method-assign]

    assert copy_snapshots(world, NOW).asked == ()
    assert world.copies.asked == [(THERE, "snap-23")]


def test_one_who_was_held_up_looks_again_before_asking() -> None:
    world = a_world_with_backups()
    save = world.catalog.save_copy_intent

    def someone_else_is_done_by_now(intent: CopyIntent) -> CopyIntent | None:
        world.catalog.save_copy_intent = save  # type: ignore[method-assign]
        copy_snapshots(world, NOW)
        world.copies.end(THERE)
        copy_snapshots(world, NOW)
        return save(intent)

    world.catalog.save_copy_intent = someone_else_is_done_by_now  # type: ignore[method-assign]

    assert copy_snapshots(world, NOW).asked == ()
    assert world.copies.asked == [(THERE, "snap-23")]


def test_another_region_in_the_policy_starts_afresh() -> None:
    world = a_world_with_backups()
    copy_snapshots(world, NOW)
    world.archive.put_once("policies/000002.toml", COPYING.replace(THERE, "eu-west-1").encode())
    world.catalog.set_policy_version("000002", "000001")

    done = copy_snapshots(world, NOW)

    assert done.asked == ("snap-23",)
    assert [intent.region for intent in world.catalog.find_copy_intents()] == ["eu-west-1"]


def test_a_source_stays_until_its_copy_is_complete() -> None:
    keep_one = COPYING.replace("daily = 7", "last = 1")
    world = a_world_with_backups(keep_one, days=(22, 23))
    copy_snapshots(world, NOW)
    world.copies.end(THERE)

    before = prune(world, NOW)
    copy_snapshots(world, NOW)
    world.copies.end(THERE)
    after = prune(world, NOW)

    (verdict,) = [each for each in before.verdicts if each.snapshot.id == "snap-22"]
    assert [reason.why for reason in verdict.reasons] == ["still to be copied to another region"]
    assert (before.mark, after.mark) == ((), ("snap-22",))


# -- what is remembered of it -----------------------------------------------------------------------------------------


def remembered(world: FakeWorld) -> Copying:
    (copying,) = world.catalog.find_copying()
    return copying


def test_every_look_remembers_what_still_lacks_its_copy_and_since_when() -> None:
    world = a_world_with_backups(days=(22, 23))

    copy_snapshots(world, NOW)
    world.copies.end(THERE)
    copy_snapshots(world, NOW + COPY_SETTLES)

    (left,) = remembered(world).uncopied
    assert (left.snapshot_id, left.since, remembered(world).seen) == ("snap-22", NOW, NOW + COPY_SETTLES)


def test_a_failure_is_counted_when_it_has_failed_and_not_while_the_next_attempt_is_on_its_way() -> None:
    world = a_world_with_backups()
    failures = []
    for hours in range(3):
        copy_snapshots(world, NOW + hours * RETRY_AFTER)
        copy_snapshots(world, NOW + hours * RETRY_AFTER + COPY_SETTLES)
        failures.append(remembered(world).uncopied[0].failures)
        world.copies.end(THERE, "error")

    assert failures == [0, 1, 2]


def test_a_region_out_of_reach_is_remembered_with_what_was_known_before() -> None:
    world = a_world_with_backups()
    copy_snapshots(world, NOW)
    out = replace(world, copies=_OutOfReach())

    with pytest.raises(TransientError):
        copy_snapshots(out, NOW + RETRY_AFTER)

    copying = remembered(world)
    assert (copying.seen, copying.blind) == (NOW, "no answer from eu-central-1")
    assert [each.snapshot_id for each in copying.uncopied] == ["snap-23"]


class _OutOfReach(FakeCopies):
    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        raise TransientError(f"no answer from {region}")


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_never_makes_a_second_copy(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        world, fuse = a_world_with_backups(days=(22, 23)), Fuse(at, after)

        now = NOW
        for _ in range(4):
            now += COPY_SETTLES
            try:
                copy_snapshots(a_fused_world(world, fuse), now)
            except Crash:
                copy_snapshots(world, now)
            world.copies.end(THERE)

        copy_snapshots(world, now + COPY_SETTLES)
        assert sorted(sources_over_there(world)) == ["snap-22", "snap-23"], f"call {at}"
        assert world.catalog.find_copy_intents() == [], f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"four passes of copying take more than {MOST_CALLS} calls")
