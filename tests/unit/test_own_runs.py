"""Hosts with volumes of their own, through the flows: a report opens one run, which ends in a restore point."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.aws import items
from chalicelib.core import tags
from chalicelib.core.holds import Target
from chalicelib.core.ids import own_run, parse_run
from chalicelib.core.model import HostStatus, RunId, RunState, TreeKind
from chalicelib.core.night_world import status_of
from chalicelib.core.preflight import Preflight
from chalicelib.errors import ConfigError, PermanentError, Refused
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.copy import copy_snapshots
from chalicelib.flows.follow import follow
from chalicelib.flows.forget import forget_host
from chalicelib.flows.hold import hold
from chalicelib.flows.open_recovery import open_drill
from chalicelib.flows.own_runs import LOOK_BACK, find_own_runs, open_own_run
from chalicelib.flows.policies import find_policy
from chalicelib.flows.prune import prune
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.recover import recover
from chalicelib.flows.sweep import sweep
from chalicelib.flows.tell import tell
from chalicelib.flows.tick import tick
from chalicelib.flows.wake import on_report, on_snapshot
from chalicelib.ports import StackRole
from tests.builders import A_POLICY_TEXT, a_moment
from tests.fakes import Crash, FakeCatalog, FakeWorld, Fuse, a_fused_world, a_world, some_settings
from tests.nights import A_MINUTE
from tests.own_volumes import DONE, INSTANCE, POLICY_TEXT, QUIET, RUN, a_world_with_web1, its_volume, report
from tests.past import a_night
from tests.recoveries import its

SOON = DONE + A_MINUTE
A_DAY = timedelta(days=1)
PRUNED, TOLD = "prune", "tell_operators"


def the_detail(run_id: RunId = RUN) -> dict[str, object]:
    return {"schema": 1, "run": str(run_id), "host": "anything", "id": "us0a", "status": "complete"}


def woken(world: FakeWorld, now: datetime = SOON) -> list[str]:
    """The runs of hosts that a tick has woken."""
    world.lambdas.invoked.clear()
    tick(world, now, lambda: "0" * 32)
    runs = [str(payload["run"]) for name, payload in world.lambdas.invoked if name == "reconcile_run"]
    return [run for run in runs if run.startswith("host.")]


def a_night_of_web1(world: FakeWorld, at: datetime = DONE) -> RunId:
    """Reported, snapshotted, closed."""
    run_id = report(world, at)
    world.volumes.now = at + A_MINUTE
    reconcile(run_id, world, at + A_MINUTE)
    for snapshot_id in world.volumes.snapshots:
        world.volumes.complete(snapshot_id)
    reconcile(run_id, world, at + 2 * A_MINUTE)
    return run_id


# -- one night ---------------------------------------------------------------------------------------------------------


def test_a_report_becomes_a_restore_point_of_a_real_tree() -> None:
    world = a_world_with_web1()

    run_id = a_night_of_web1(world)

    (snapshot,) = world.volumes.snapshots.values()
    assert snapshot.volume_id == "vol-web1"
    assert snapshot.tags == tags.snapshot_tags(run_id, ("web1",), TreeKind.REAL, tags.Consistency.RELEASED)
    (point,) = world.catalog.find_points("web1")
    assert (point.run, point.snapshot_id, point.tree) == (run_id, snapshot.id, TreeKind.REAL)
    assert point.manifest == f"manifests/web1/{run_id}.jsonl.gz"
    assert world.catalog.get_run(run_id).state is RunState.DONE
    assert [name for name, _ in world.lambdas.invoked] == [PRUNED, TOLD]


def test_the_event_alone_carries_the_night_to_its_snapshot_and_ebs_to_its_end() -> None:
    world = a_world_with_web1()
    report(world)

    on_report("ebbtide.host.web1", the_detail(), world, SOON)
    (snapshot_id,) = world.volumes.snapshots
    world.volumes.complete(snapshot_id)
    on_snapshot(snapshot_id, world, SOON)

    assert world.catalog.get_run(RUN).state is RunState.DONE


def test_the_tick_alone_finds_a_report_and_wakes_its_run_until_that_is_closed() -> None:
    world = a_world_with_web1()
    assert woken(world) == []

    report(world)
    assert woken(world) == [str(RUN)]
    reconcile(RUN, world, SOON)
    assert woken(world) == [str(RUN)]
    world.volumes.complete(next(iter(world.volumes.snapshots)))
    reconcile(RUN, world, SOON)
    assert woken(world) == []


def test_the_same_report_never_opens_a_second_run_however_often_it_is_told() -> None:
    world = a_world_with_web1()
    run_id = a_night_of_web1(world)
    before = dict(world.catalog.runs), dict(world.volumes.snapshots), dict(world.archive.objects)

    for _ in range(2):
        on_report("ebbtide.host.web1", the_detail(run_id), world, SOON + A_DAY)

    assert (world.catalog.runs, world.volumes.snapshots, world.archive.objects) == before


def test_a_run_whose_opening_was_cut_short_is_opened_as_it_was_begun() -> None:
    """The function died between the archive and the table, and the policy has changed meanwhile."""
    before, world = a_world_with_web1(), a_world_with_web1()
    for each in (before, world):
        report(each)
    reconcile(RUN, before, SOON)
    world.archive.put_once(wire.own_brief_key(RUN), before.archive.get(wire.own_brief_key(RUN)))
    apply_policy(POLICY_TEXT.replace("daily = 7", "daily = 9"), None, world, SOON)

    reconcile(RUN, world, SOON)

    assert world.catalog.get_run(RUN).policy_version == "000001"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_function_that_dies_at_any_call_takes_one_snapshot_all_the_same(after: bool) -> None:
    for at in range(1, 200):
        world, fuse = a_world_with_web1(), Fuse(at, after)
        run_id = report(world)
        for minute in range(0, 40, 5):
            through = a_fused_world(world, fuse)
            try:
                reconcile(run_id, through, SOON + minute * A_MINUTE)
            except Crash:
                continue
            for snapshot_id in world.volumes.snapshots:
                world.volumes.complete(snapshot_id)
        assert world.catalog.get_run(run_id).state is RunState.DONE, at
        assert len(world.volumes.snapshots) == 1, at
        assert len(world.catalog.find_points("web1")) == 1, at
        if fuse.calls < at:
            assert at > 20
            return


# -- who says so -------------------------------------------------------------------------------------------------------


def test_an_event_speaks_only_of_the_host_that_its_source_names() -> None:
    world = a_world_with_web1()
    report(world)

    with pytest.raises(PermanentError, match=r"host eu0a speaks of run host\.web1"):
        on_report("ebbtide.host.eu0a", the_detail(), world, SOON)

    assert world.catalog.runs == {}


def test_a_receiver_has_no_word_in_the_night_of_a_host_with_its_own_volume() -> None:
    world = a_world_with_web1()
    report(world, status="partial")
    open_own_run(RUN, world, SOON)
    mine = json.loads(world.archive.get(wire.host_report_key(RUN)))
    world.archive.put_once(f"reports/{RUN}/web1.json", json.dumps({**mine, "status": "complete"}).encode())

    with pytest.raises(PermanentError, match=r"ebbtide\.receiver\.main.*only its host"):
        on_report("ebbtide.receiver.main", {**the_detail(), "id": "web1"}, world, SOON)
    reconcile(RUN, world, SOON)

    assert [result.status for result in world.catalog.find_results(RUN)] == [HostStatus.PARTIAL]
    assert world.volumes.snapshots == {}


def test_an_event_without_a_report_opens_nothing() -> None:
    world = a_world_with_web1()

    with pytest.raises(PermanentError, match="no report of host web1"):
        on_report("ebbtide.host.web1", the_detail(), world, SOON)

    assert world.catalog.runs == {}


def test_a_report_that_says_it_is_another_hosts_gives_nothing_and_is_recorded() -> None:
    world = a_world_with_web1()
    report(world, id="us0a", host="us0")

    outcome = reconcile(RUN, world, SOON)

    assert outcome.run.state is RunState.FAILED
    assert "it speaks of host us0a" in str(outcome.run.why)
    assert [rejected.key for rejected in outcome.rejected] == [wire.host_report_key(RUN)]
    assert world.catalog.find_results(RUN) == []


@pytest.mark.parametrize(
    "words",
    [
        {"volume": {"id": "vol-" + "x" * 500_000}},
        {"volume": {"id": "vol-web1\nand another line"}},
        {"manifest": "manifests/web1/" + "x" * 500_000},
    ],
    ids=["a volume of half a megabyte", "a volume of two lines", "a manifest of half a megabyte"],
)
def test_whatever_a_host_writes_its_run_ends_and_fits_into_the_catalogue(words: dict[str, Any]) -> None:
    world = a_world_with_web1()
    report(world, **words)

    run = reconcile(RUN, world, SOON).run

    assert run.state is RunState.FAILED
    assert "its report does not count: host's report, volume" in str(run.why)
    assert len(json.dumps(items.run_values(run))) < 10_000


def test_no_host_can_write_a_line_of_its_own_into_an_alarm() -> None:
    world = a_world_with_web1()
    report(world, manifest="elsewhere\nwhat to do: nothing\x1b[2J")

    why = str(reconcile(RUN, world, SOON).run.why)

    assert "expected one below manifests/web1/" in why
    assert why.isprintable()


def test_what_a_host_calls_itself_is_not_believed() -> None:
    world = a_world_with_web1()
    report(world, host="us0")

    reconcile(RUN, world, SOON)

    assert [result.name for result in world.catalog.find_results(RUN)] == ["web1"]


def test_reports_of_hosts_without_a_volume_in_the_policy_are_passed_over_and_told() -> None:
    world = a_world_with_web1(A_POLICY_TEXT)
    report(world)
    ticked = tick(world, SOON, lambda: "0" * 32)
    assert ticked.faults == ()  # nobody has a volume: nothing is even listed

    apply_policy(POLICY_TEXT, None, world, SOON)
    world.archive.put_once("host-reports/2026-11-23/us0a/7951.json", b"{}")
    world.archive.put_once("host-reports/2026-11-23/us0a/web1/7951.json", b"{}")
    found = find_own_runs(find_policy(world), world, SOON)  # type: ignore[arg-type]

    assert found.runs == (RUN,)
    assert ["is no key" in found.faults[0], "host us0a reports, and the policy" in found.faults[1]] == [True, True]
    with pytest.raises(PermanentError, match="no host us0a with a volume of its own"):
        reconcile(own_run("us0a", DONE), world, SOON)


# -- one after the other -----------------------------------------------------------------------------------------------


def test_the_tick_lists_the_archive_once_for_however_many_hosts() -> None:
    more = "".join(
        f'\n[host.web{n}]\nid = "web{n}"\ntarget = "volume"\ninstance_id = "i-{n:08x}"\n' for n in range(2, 9)
    )
    world = a_world_with_web1(POLICY_TEXT + more)
    listed: list[str] = []
    plain = world.archive.list
    world.archive.list = lambda prefix, after="": listed.append(prefix) or plain(prefix, after)  # type: ignore[method-assign, func-returns-value]

    tick(world, SOON, lambda: "0" * 32)

    assert listed.count(wire.HOST_REPORTS) == 1
    assert [prefix for prefix in listed if prefix.startswith(wire.HOST_REPORTS)] == [wire.HOST_REPORTS]


def test_a_second_report_waits_until_the_first_run_is_closed() -> None:
    world = a_world_with_web1()
    report(world)
    reconcile(RUN, world, SOON)
    second = report(world, DONE + A_DAY)

    assert woken(world, SOON + A_DAY) == [str(RUN)]
    with pytest.raises(Refused, match="another run of its host is open"):
        on_report("ebbtide.host.web1", the_detail(second), world, SOON + A_DAY)

    world.volumes.complete(next(iter(world.volumes.snapshots)))
    reconcile(RUN, world, SOON + A_DAY)
    assert woken(world, SOON + A_DAY) == [str(second)]
    assert reconcile(second, world, SOON + A_DAY).run.snapshot_id is not None


def test_a_host_that_reports_every_hour_is_opened_one_run_for_each_in_their_order() -> None:
    world = a_world_with_web1()
    hours = [DONE + timedelta(hours=hour) for hour in range(30)]
    for at in hours[:-2]:
        a_night_of_web1(world, at)
    last_but_one, last = (report(world, at) for at in hours[-2:])

    assert woken(world, hours[-1]) == [str(last_but_one)]
    reconcile(last_but_one, world, hours[-2] + A_MINUTE)
    for snapshot_id in world.volumes.snapshots:
        world.volumes.complete(snapshot_id)
    reconcile(last_but_one, world, hours[-2] + 2 * A_MINUTE)
    assert woken(world, hours[-1]) == [str(last)]


def test_what_a_host_floods_the_archive_with_is_looked_at_after_everyone_else_was_woken() -> None:
    world = a_world_with_web1()
    tick(world, a_moment(2, 1), lambda: "0" * 32)
    world.lambdas.invoked.clear()

    def flooded(prefix: str, after: str = "") -> list[str]:
        if prefix == wire.HOST_REPORTS:
            raise Crash("the time of this function is up")
        return sorted(world.archive.objects)

    world.archive.list = flooded  # type: ignore[method-assign]
    with pytest.raises(Crash):
        tick(world, a_moment(3), lambda: "0" * 32)

    woken_first = {name for name, _ in world.lambdas.invoked}
    assert woken_first == {"reconcile_run", "tell_operators"}


def test_however_often_a_host_reports_its_snapshots_are_an_hour_apart() -> None:
    world = a_world_with_web1()
    for second in range(40):
        report(world, DONE + timedelta(seconds=second))

    for minute in range(600):
        world.volumes.now = SOON + minute * A_MINUTE
        for run_id in woken(world, world.volumes.now):
            reconcile(parse_run(run_id), world, world.volumes.now)
        for snapshot_id in world.volumes.snapshots:
            world.volumes.complete(snapshot_id)

    taken = sorted(snapshot.started for snapshot in world.volumes.snapshots.values())
    assert taken == [SOON + hour * timedelta(hours=1) for hour in range(10)]


def test_however_many_keys_a_host_makes_up_a_tick_names_a_few_and_their_number() -> None:
    world = a_world_with_web1()
    for number in range(1000):
        world.archive.put_once(f"host-reports/9999-99-99/web1/{number}", b"")
    report(world)

    ticked = tick(world, SOON, lambda: "0" * 32)

    assert len(ticked.faults) == 21
    assert ticked.faults[-1] == "and 980 more keys that are none of a host's report"
    assert RUN in ticked.runs


def test_reports_older_than_anyone_looks_for_and_dated_in_the_future_open_nothing() -> None:
    world = a_world_with_web1()
    report(world)
    ahead = report(world, DONE + timedelta(days=400))

    assert woken(world, DONE + LOOK_BACK + A_DAY) == []
    assert woken(world, SOON) == [str(RUN)]
    with pytest.raises(PermanentError, match="set the clock of host web1"):
        reconcile(ahead, world, SOON)


def test_a_report_that_was_found_too_late_is_recorded_as_a_night_without_a_snapshot() -> None:
    world = a_world_with_web1()
    report(world)

    outcome = reconcile(RUN, world, DONE + QUIET)

    assert outcome.run.state is RunState.FAILED
    assert world.volumes.snapshots == {}
    assert status_of("web1", world.catalog.find_results(RUN)) is HostStatus.COMPLETE


def test_a_standby_opens_no_run_of_a_host() -> None:
    world = a_world_with_web1()
    report(world)
    standby = replace(world, settings=replace(world.settings, role=StackRole.STANDBY))

    assert woken(standby) == []
    with pytest.raises(Refused, match="standby"):
        reconcile(RUN, standby, SOON)


# -- the policy --------------------------------------------------------------------------------------------------------


def test_a_host_stays_in_the_policy_with_its_volume_while_its_run_is_open() -> None:
    world = a_world_with_web1()
    report(world)
    reconcile(RUN, world, SOON)

    with pytest.raises(ConfigError, match=r"host.web1: it is gone while run host.web1/2026-11-23/7921 is open"):
        apply_policy(A_POLICY_TEXT, None, world, SOON)

    world.volumes.complete(next(iter(world.volumes.snapshots)))
    reconcile(RUN, world, SOON)
    assert "host.web1: removed; its restore points stay" in apply_policy(A_POLICY_TEXT, None, world, SOON).changes


def test_the_volume_is_looked_for_at_the_instance_of_the_policy_the_run_was_opened_under() -> None:
    world = a_world_with_web1()
    world.volumes.volumes.clear()
    report(world)
    reconcile(RUN, world, SOON)
    apply_policy(POLICY_TEXT.replace(INSTANCE, "i-0fedcba9876543210"), None, world, SOON)

    world.volumes.volumes["vol-web1"] = its_volume()
    reconcile(RUN, world, SOON + A_MINUTE)

    assert len(world.volumes.snapshots) == 1


def test_a_policy_without_any_receiver_has_nights_of_hosts_alone() -> None:
    world = a_world_with_web1(Path("tests/policies/valid/only-own-volumes.toml").read_text())

    assert woken(world) == []
    run_id = a_night_of_web1(world)
    told = tell(world, SOON)

    assert world.catalog.get_run(run_id).state is RunState.DONE
    assert [each.receiver for each in told.ages] == ["host.*"]


# -- what follows ------------------------------------------------------------------------------------------------------


def test_the_catalogue_comes_back_from_the_archive_and_the_tags() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)
    still_open = report(world, DONE + A_DAY)
    reconcile(still_open, world, SOON + A_DAY)
    before = world.catalog

    lost = FakeWorld(**{**vars(world), "catalog": FakeCatalog()})
    rebuilt = rebuild(lost)

    assert rebuilt.faults == ()
    assert lost.catalog.points == before.points
    assert lost.catalog.results == before.results
    assert {run.id: run.state for run in lost.catalog.runs.values()} == {RUN: RunState.DONE, still_open: RunState.OPEN}
    assert woken(lost, SOON + A_DAY) == [str(still_open)]
    world.volumes.complete(max(world.volumes.snapshots))
    reconcile(still_open, lost, SOON + A_DAY)
    reconcile(still_open, lost, SOON + A_DAY)
    assert [point.run for point in lost.catalog.find_points("web1")] == [RUN, still_open]
    assert len(world.volumes.snapshots) == 2


def test_the_tags_alone_are_enough_for_points_and_for_ids_that_stay_taken() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)
    world.archive.objects.clear()

    lost = FakeWorld(**{**vars(world), "catalog": FakeCatalog()})
    rebuild(lost)

    assert [(point.host_id, point.run, point.tree) for point in lost.catalog.find_points()] == [
        ("web1", RUN, TreeKind.REAL)
    ]
    assert lost.catalog.get_run(RUN).state is RunState.DONE


def test_retention_treats_the_snapshots_of_an_own_volume_like_any_others() -> None:
    text = POLICY_TEXT.replace("[retention]\ndaily = 7", "[retention]\nlast = 1")
    world = a_world_with_web1(text)
    for day in range(3):
        a_night_of_web1(world, DONE + day * A_DAY)
    old, middle, newest = world.volumes.snapshots

    after = DONE + 2 * A_DAY + timedelta(hours=1)
    assert prune(world, after).mark == (old, middle)
    assert prune(world, after + A_DAY).delete == (old, middle)
    assert list(world.volumes.snapshots) == [newest]


def test_a_forgotten_host_lets_go_of_its_newest_snapshot_too() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)
    a_night(world, 23)
    apply_policy(A_POLICY_TEXT, None, world, SOON)
    forgotten = forget_host("web1", "an operator", world, SOON)
    (of_web1,) = [each.snapshot_id for each in forgotten.points]

    assert of_web1 in prune(world, a_moment(5)).mark


THERE = "eu-central-1"
WITH_COPIES = f'{POLICY_TEXT}\n[copy]\nregion = "{THERE}"\nretention = {{ daily = 2 }}\n'


def test_the_copies_of_an_own_volume_are_made_one_after_the_other() -> None:
    world = a_world_with_web1(WITH_COPIES)
    first, second = a_night_of_web1(world), a_night_of_web1(world, DONE + A_DAY)
    snapshot_of = {each.tags[tags.RUN]: each.id for each in world.volumes.snapshots.values()}

    copied = copy_snapshots(world, SOON + A_DAY)

    assert copied.asked == (snapshot_of[str(second)],)
    assert copied.waiting == (f"snapshot {snapshot_of[str(first)]}: another of host.web1 is being copied",)


@pytest.mark.parametrize("late", ["nothing", "host-reports/", "closed.json"])
def test_a_standby_makes_a_copy_of_an_own_volume_its_restore_point_when_the_archive_has_arrived(late: str) -> None:
    world = a_world_with_web1(WITH_COPIES)
    a_night_of_web1(world)
    copy_snapshots(world, SOON)
    world.copies.end(THERE)
    standby = a_standby()
    standby.volumes.snapshots.update(world.copies.by_region[THERE])
    standby.archive.objects.update({key: body for key, body in world.archive.objects.items() if late not in key})

    assert follow(standby, SOON) == ((RUN,) if late == "nothing" else ())
    standby.archive.objects.update(world.archive.objects)
    follow(standby, SOON + A_MINUTE)

    (point,) = standby.catalog.find_points("web1")
    assert (point.tree, point.manifest) == (TreeKind.REAL, f"manifests/web1/{RUN}.jsonl.gz")
    recovery_id = open_drill("web1", standby, SOON + A_MINUTE)
    recover(recovery_id, standby, SOON + A_MINUTE)
    assert [request.instance_type for request in standby.machines.requests] == ["t3a.medium"]


def a_standby() -> FakeWorld:
    settings = replace(some_settings(), region=THERE, role=StackRole.STANDBY, subnets=("subnet-dr",))
    return replace(a_world(), settings=settings)


def test_a_point_of_an_own_volume_can_be_held() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)

    held = hold(Target(None, "web1", None), "evidence", "an operator", world, SOON)

    assert held.snapshot.tags[tags.RUN] == str(RUN)
    assert prune(world, a_moment(5)).verdicts[0].reasons[0].why.startswith("held")


def test_the_sweep_never_touches_a_hosts_own_volume_or_instance_whatever_their_tags_say() -> None:
    """Even when an operator tagged them with everything that ours have."""
    world = a_world_with_web1()
    ours = {tags.SCHEMA: "1", tags.HOST: "web1", tags.RUN: str(RUN), tags.EXPIRES: DONE.isoformat()}
    a_night_of_web1(world)
    world.volumes.tag("vol-web1", ours)
    world.volumes.volumes["vol-free"] = its_volume("vol-free", attached_to=None)
    world.volumes.tag("vol-free", ours)
    world.machines.by_id[INSTANCE] = replace(world.machines.by_id[INSTANCE], tags=ours)

    assert sweep(world, SOON + A_DAY).removed == ()


def test_a_drill_of_an_own_volume_is_briefed_about_a_real_tree() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)

    recovery_id = open_drill("web1", world, a_moment(9))
    recover(recovery_id, world, a_moment(9))

    briefed = wire.parse_recovery_brief(world.archive.get(its(wire.recovery_brief_key, world, recovery_id)))
    assert (briefed.point.tree, briefed.point.run) == (TreeKind.REAL, RUN)
    assert [request.instance_type for request in world.machines.requests] == ["t3a.medium"]


# -- alarms ------------------------------------------------------------------------------------------------------------


def subjects(world: FakeWorld, now: datetime) -> list[str]:
    world.catalog.record_preflight(Preflight(now))
    tell(world, now)
    return [subject for subject in world.alarms.subjects if "weekly" not in subject]


def test_a_host_that_reports_bad_nights_is_missed_after_as_many_as_the_policy_says() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)
    world.catalog.record_preflight(Preflight(DONE + A_DAY))
    for day in (1, 2):
        assert subjects(world, DONE + day * A_DAY) == []
        run_id = report(world, DONE + day * A_DAY, status="partial")
        reconcile(run_id, world, SOON + day * A_DAY)

    told = subjects(world, SOON + 2 * A_DAY)

    assert len(told) == 1
    assert told[0].startswith("missed: host web1 was not complete on 2 nights in a row")


def test_a_suspect_night_is_told_at_once() -> None:
    world = a_world_with_web1()
    report(world, status="suspect")
    reconcile(RUN, world, SOON)

    assert [subject.split(":")[0] for subject in subjects(world, SOON)] == ["suspect"]
    assert world.volumes.snapshots == {}


def test_a_night_that_was_complete_in_vain_is_told_as_a_failed_run_of_that_host() -> None:
    world = a_world_with_web1()
    world.volumes.volumes.clear()
    report(world)
    reconcile(RUN, world, DONE + timedelta(hours=1))

    (told,) = subjects(world, DONE + timedelta(hours=1))

    assert told.startswith(f"run failed: run {RUN} failed: there is no volume of it")


def test_a_failed_run_is_not_well_again_because_the_host_itself_was_partial_the_night_after() -> None:
    world = a_world_with_web1()
    world.volumes.volumes.clear()
    report(world)
    reconcile(RUN, world, DONE + timedelta(hours=1))
    tell(world, DONE + timedelta(hours=1))

    reconcile(report(world, DONE + A_DAY, status="partial"), world, SOON + A_DAY)

    assert not [each for each in subjects(world, SOON + A_DAY) if "well again" in each]


def test_a_host_that_falls_silent_is_stale() -> None:
    world = a_world_with_web1()
    a_night_of_web1(world)

    assert not [each for each in subjects(world, DONE + 3 * A_DAY) if "web1" in each]
    told = [each for each in subjects(world, DONE + 3 * A_DAY + timedelta(hours=1)) if "web1" in each]
    assert told == ["stale: host web1: its newest restore point is 3 days old"]


def test_a_host_that_never_reported_is_told_from_its_enrolment_on() -> None:
    world = a_world_with_web1()
    enrolled = a_moment(1)

    assert not [each for each in subjects(world, enrolled + 3 * A_DAY) if "web1" in each]
    told = [each for each in subjects(world, enrolled + 3 * A_DAY + A_MINUTE) if "web1" in each]
    assert told == ["stale: host web1 was enrolled 3 days ago and has no restore point"]


def test_an_enrolment_that_cannot_be_read_keeps_nobody_from_telling() -> None:
    world = a_world_with_web1()
    world.archive.objects[wire.enrolled_key("web1")] = b"not JSON"

    tell(world, DONE + 4 * A_DAY)

    told = [subject for subject in world.alarms.subjects if subject.startswith("stale")]
    assert [subject.split()[2] for subject in told] == ["eu0", "us0"]


def test_a_host_is_enrolled_once_and_for_all() -> None:
    world = a_world_with_web1()
    apply_policy(A_POLICY_TEXT, None, world, a_moment(5))
    apply_policy(POLICY_TEXT, None, world, a_moment(6))

    assert wire.parse_enrolled(world.archive.get("enrolled/web1.json")) == a_moment(1)
