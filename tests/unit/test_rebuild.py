"""Losing the table loses nothing: what nights and drills have written is all found again."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import (
    HostResult,
    Recovery,
    RestorePoint,
    Run,
    RunState,
)
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.rebuild import Rebuilt, rebuild
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.recover import recover
from chalicelib.flows.run_now import run_now
from tests.builders import A_POLICY_TEXT, a_moment, a_run_id, a_snapshot, a_word_of_readiness
from tests.fakes import Crash, FakeArchive, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world
from tests.past import a_drill, a_world_with_a_past, an_open_drill, an_open_night

MOST_CALLS = 200


# -- what is compared -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """Everything in a catalogue that means something; how often an item was written does not."""

    policy: str | None
    runs: list[Run]
    results: list[HostResult]
    points: list[RestorePoint]
    recoveries: list[Recovery]


def what_is_known(catalog: FakeCatalog) -> Known:
    """Versions apart, and apart from what only an open run needs: when it asked EC2 for something."""
    runs = sorted(catalog.runs.values(), key=lambda run: run.id)
    return Known(
        policy=catalog.policy_version(),
        runs=[replace(run, version=0, machine_launched=None, snapshot_intended=None) for run in runs],
        results=[result for run in runs for result in catalog.find_results(run.id)],
        points=catalog.find_points(),
        recoveries=[
            replace(recovery, version=0, launched=None, zone=None, instance_type=None)
            for recovery in catalog.find_recoveries()
        ],
    )


def without_its_table(world: FakeWorld) -> FakeWorld:
    return replace(world, catalog=FakeCatalog())


# -- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_night", [("complete", "complete"), ("complete-with-warnings", "partial")])
def test_losing_the_table_loses_nothing(last_night: tuple[str, str]) -> None:
    world = a_world_with_a_past(last_night)
    after = without_its_table(world)

    rebuild(after)

    known = what_is_known(after.catalog)
    assert known == what_is_known(world.catalog)
    assert len(known.runs) == 2
    assert len(known.results) == 4
    assert [point.proven is not None for point in known.points if point.host_id == "us0a"] == [False, True]
    assert [recovery.verdict for recovery in known.recoveries] == ["proven", "content only"]


def test_a_proof_that_a_later_drill_contradicts_does_not_come_back() -> None:
    world = a_world_with_a_past()
    a_drill(world, a_moment(16), verdict="different")
    after = without_its_table(world)

    rebuild(after)

    known = what_is_known(after.catalog)
    assert known == what_is_known(world.catalog)
    assert [point.proven for point in known.points if point.host_id == "us0a"] == [None, None]


def test_it_has_the_next_night_looked_at_anew() -> None:
    after = without_its_table(a_world_with_a_past())

    rebuild(after)

    assert after.lambdas.invoked[-1] == ("preflight", wire.preflight_payload())


def test_it_says_how_much_it_found() -> None:
    after = without_its_table(a_world_with_a_past())

    rebuilt = rebuild(after)

    assert rebuilt == Rebuilt("000001", runs=2, results=4, points=4, recoveries=2, faults=())


def test_what_the_table_still_has_is_left_alone() -> None:
    world = a_world_with_a_past()
    before = what_is_known(world.catalog)
    versions = {run_id: run.version for run_id, run in world.catalog.runs.items()}

    rebuild(world)

    assert what_is_known(world.catalog) == before
    assert {run_id: run.version for run_id, run in world.catalog.runs.items()} == versions


def test_rebuilding_twice_is_rebuilding_once() -> None:
    after = without_its_table(a_world_with_a_past())
    rebuild(after)
    once = what_is_known(after.catalog)

    rebuild(after)

    assert what_is_known(after.catalog) == once


def test_an_open_run_goes_on_where_it_was() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    run_id = an_open_night(world, 23)
    after = without_its_table(world)

    rebuild(after)
    outcome = reconcile(run_id, after, a_moment(2, 10))

    assert outcome.run.state is RunState.OPEN
    assert outcome.run.hosts == world.catalog.get_run(run_id).hosts
    assert outcome.waiting == ("reports of us0, eu0",)
    assert len(world.machines.requests) == 1


def test_an_open_run_whose_receiver_is_gone_is_closed_by_the_next_reconciliation() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    run_id = an_open_night(world, 23)
    world.machines.by_id.clear()
    after = without_its_table(world)

    rebuild(after)
    outcome = reconcile(run_id, after, world.catalog.get_run(run_id).deadline + timedelta(days=1))

    assert outcome.run.state is RunState.FAILED


def test_a_receivers_attempts_are_counted_on() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    run_id = an_open_night(world, 23)
    for attempt in (2, 999999999):
        world.archive.put_once(wire.word_key(world.catalog.get_run(run_id), "ready", attempt), b"{}")
    after = without_its_table(world)

    rebuild(after)

    assert after.catalog.get_run(run_id).machine_attempt == 2


def test_what_a_run_has_set_aside_is_known_again() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    run_id = an_open_night(world, 23)
    (volume_id,) = wire.briefed_volumes(world.archive.list(wire.run_prefix(run_id)))
    for attempt, named in ((2, volume_id), (3, "vol-of-somebody-else")):
        word = {**json.loads(a_word_of_readiness(named, attempt)), "run": str(run_id)}
        world.archive.put_once(
            wire.word_key(world.catalog.get_run(run_id), "damaged", attempt), json.dumps(word).encode()
        )
    after = without_its_table(world)

    rebuild(after)

    assert after.catalog.get_run(run_id).aside == (volume_id,)
    assert after.catalog.get_run(run_id).machine_attempt == 3


def test_an_open_drill_goes_on_where_it_was() -> None:
    world = a_world_with_a_past()
    recovery_id = an_open_drill(world, a_moment(10))
    after = without_its_table(world)

    rebuild(after)
    outcome = recover(recovery_id, after, a_moment(10, 5))

    assert outcome.waiting == (f"the report of machine {world.catalog.get_recovery(recovery_id).machine_id}",)


def test_the_id_of_a_run_that_was_never_briefed_stays_taken() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    closed = wire.Closed(a_run_id(), RunState.FAILED, a_moment(6), None, "no receiver could be launched", ())
    world.archive.put_once(wire.closed_key(a_run_id()), wire.closed_record(closed))

    rebuild(world)
    next_run = run_now("main", world, a_moment(7), new_nonce=lambda: "0" * 32)

    assert world.catalog.get_run(a_run_id()).state is RunState.FAILED
    assert next_run == a_run_id(attempt=2)


def test_without_the_archive_the_tags_alone_give_the_restore_points() -> None:
    world = a_world_with_a_past()
    after = replace(world, archive=FakeArchive(), catalog=FakeCatalog())

    rebuild(after)

    bare = [replace(point, manifest=None, proven=None) for point in world.catalog.find_points()]
    assert after.catalog.find_points() == bare
    assert after.catalog.policy_version() is None


@pytest.mark.parametrize("lost", ["table", "archive", "both"])
def test_whatever_is_lost_every_restore_point_comes_back(lost: str) -> None:
    world = a_world_with_a_past()
    after = replace(
        world,
        archive=world.archive if lost == "table" else FakeArchive(),
        catalog=world.catalog if lost == "archive" else FakeCatalog(),
    )
    before = [(point.host_id, point.at, point.snapshot_id, point.run) for point in world.catalog.find_points()]

    rebuilt = rebuild(after)

    found = [(point.host_id, point.at, point.snapshot_id, point.run) for point in after.catalog.find_points()]
    assert found == before
    assert (rebuilt.points, rebuilt.faults) == (4, ())


def test_with_both_lost_a_host_is_restored_by_its_id_alone() -> None:
    world = a_world_with_a_past()
    after = replace(world, archive=FakeArchive(), catalog=FakeCatalog())
    rebuild(after)
    apply_policy(A_POLICY_TEXT.replace("us0", "us9").replace("us9a", "us9z"), None, after, a_moment(1))

    recovery_id = open_drill("us0a", after, a_moment(9, day=25))
    recover(recovery_id, after, a_moment(9, day=25))

    (machine,) = after.machines.find({tags.RECOVERY: str(recovery_id)})
    assert machine.state == "running"
    assert after.catalog.get_recovery(recovery_id).host == "us0a"


def test_with_both_lost_no_new_run_takes_the_id_of_an_old_one_and_its_snapshot_with_it() -> None:
    world = a_world_with_a_past()
    after = replace(world, archive=FakeArchive(), catalog=FakeCatalog())
    rebuild(after)
    apply_policy(A_POLICY_TEXT, None, after, a_moment(1))

    next_run = run_now("main", after, a_moment(7), new_nonce=lambda: "0" * 32)

    assert next_run == a_run_id(attempt=2)
    remembered = after.catalog.get_run(a_run_id())
    assert (remembered.state, [host.name for host in remembered.hosts]) == (RunState.DONE, ["eu0a", "us0a"])


def test_the_newest_archived_policy_is_in_force_again() -> None:
    world = a_world()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(1))
    apply_policy(A_POLICY_TEXT.replace("daily = 7", "daily = 9"), None, world, a_moment(1))
    after = without_its_table(world)

    rebuild(after)

    assert after.catalog.policy_version() == "000002"


def test_a_second_snapshot_of_a_run_gives_no_restore_points() -> None:
    world = a_world_with_a_past()
    extra = replace(a_snapshot("snap-extra", a_run_id(23)), started=a_moment(1, day=23))
    world.volumes.snapshots[extra.id] = extra
    after = without_its_table(world)

    rebuild(after)

    assert after.catalog.find_points() == world.catalog.find_points()


def test_a_host_that_was_complete_in_the_second_snapshot_alone_has_its_restore_point_there() -> None:
    world = a_world_with_a_past(("complete", "partial"))
    extra = replace(a_snapshot("snap-extra", a_run_id(23)), started=a_moment(4, day=23))
    world.volumes.snapshots[extra.id] = extra
    after = without_its_table(world)

    rebuild(after)

    found = {(point.host_id, point.snapshot_id) for point in after.catalog.find_points() if point.run == a_run_id(23)}
    (adopted,) = {point.snapshot_id for point in world.catalog.find_points() if point.run == a_run_id(23)}
    assert found == {("us0a", adopted), ("eu0a", "snap-extra")}


def test_a_snapshot_that_is_not_complete_gives_no_restore_points() -> None:
    world = a_world()
    for state in ("pending", "error"):
        snapshot = a_snapshot(f"snap-{state}", a_run_id(22), state=state)
        world.volumes.snapshots[snapshot.id] = snapshot

    rebuild(world)

    assert world.catalog.find_points() == []


def test_what_a_machine_writes_where_it_says_that_it_is_ready_is_no_brief() -> None:
    world = a_world_with_a_past()
    briefed = world.archive.get(wire.brief_key(a_run_id(22), "vol-1"))
    world.archive.objects[f"runs/{a_run_id(23)}/ready/brief.json"] = briefed
    world.archive.objects[f"runs/{a_run_id(24)}/ready/vol-1/brief.json"] = briefed
    after = without_its_table(world)

    rebuild(after)

    assert what_is_known(after.catalog) == what_is_known(world.catalog)
    assert wire.briefed_volumes(world.archive.list(f"runs/{a_run_id(24)}/")) == frozenset()


@dataclass
class ArchiveThatCounts(FakeArchive):
    """How often it was asked, and how many keys it has shown of what machines may write of runs."""

    asked: int = 0
    shown: int = 0

    def get(self, key: str) -> bytes:
        self.asked += 1
        return super().get(key)

    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        listed = super().list(prefix, after, most)
        self.asked += 1
        self.shown += sum(key.startswith("reports/") for key in listed)
        return listed


def forged_by_a_stolen_role(number: int) -> list[str]:
    """Keys of nights that there were, under their nonces, which a listing tells, and of what there never was."""
    past = f"reports/{a_run_id(22)}/{22:032}"
    opening = f"recoveries/us0a/2027-01-01/{number + 1}"
    return [
        f"{past}/hosts/{number}.json",
        f"{past}/words/a{number}/1.json",
        f"reports/main/2027-01-01/{number + 1}/us0a.json",
        f"manifests/us0a/{number}",
        f"{opening}/opened.json",
        f"{opening}/begun/1/brief.json",
    ]


def test_whatever_a_stolen_role_has_written_is_neither_read_nor_asked_for() -> None:
    world = a_world_with_a_past()
    counted = []
    for names in (100, 1000):
        forged = {key: b"{}" for number in range(names) for key in forged_by_a_stolen_role(number)}
        archive = ArchiveThatCounts({**world.archive.objects, **forged})
        after = replace(without_its_table(world), archive=archive)

        rebuilt = rebuild(after)

        assert (what_is_known(after.catalog), rebuilt.faults) == (what_is_known(world.catalog), ())
        counted.append((archive.asked, archive.shown))
    assert counted[0] == counted[1]


def test_a_brief_of_another_run_is_named_and_costs_only_itself() -> None:
    world = a_world_with_a_past()
    world.archive.objects[wire.brief_key(a_run_id(22), "vol-1")] = world.archive.get(
        wire.brief_key(a_run_id(23), "vol-1")
    )
    after = without_its_table(world)

    rebuilt = rebuild(after)

    brief = wire.brief_key(a_run_id(22), "vol-1")
    assert rebuilt.faults == (f"{a_run_id(22)}: {brief}: its brief is that of run {a_run_id(23)}",)
    assert rebuilt.runs == 2


def test_what_is_damaged_is_named_and_costs_only_itself() -> None:
    world = a_world_with_a_past()
    world.archive.objects[wire.brief_key(a_run_id(22), "vol-1")] = b"not JSON"
    world.archive.objects["runs/what/is/this/brief.json"] = b"{}"
    damaged = a_snapshot("snap-damaged", a_run_id(21), extra={f"{tags.COMPLETE}0": "?"})
    world.volumes.snapshots[damaged.id] = damaged
    after = without_its_table(world)

    rebuilt = rebuild(after)

    assert {fault.split(":")[0] for fault in rebuilt.faults} == {
        "main/2026-11-22/1",
        "runs/what/is/this/brief.json",
        "snapshot snap-damaged",
    }
    assert (rebuilt.runs, rebuilt.points, rebuilt.recoveries) == (2, 4, 2)
    assert after.catalog.get_run(a_run_id(22)).why == "known only from the tags of snapshot snap-2"


@pytest.mark.parametrize("after_effect", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_single_call_is_made_good_by_trying_again(after_effect: bool) -> None:
    world = a_world_with_a_past()
    for at in range(1, MOST_CALLS):
        after, fuse = without_its_table(world), Fuse(at, after_effect)

        try:
            rebuild(a_fused_world(after, fuse))
        except Crash:
            rebuild(after)

        assert what_is_known(after.catalog) == what_is_known(world.catalog), f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"a rebuild takes more than {MOST_CALLS} calls")
