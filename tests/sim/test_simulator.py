"""The simulator itself: that it refuses, delays and limits as AWS does, and that the invariants can fail."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.model import HostStatus, RunState
from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TokenTakenError, TransientError
from chalicelib.ports import LaunchRequest
from tests.sim.copies import MOST_AT_ONCE
from tests.sim.faults import CallFault, FaultPlan, NoRoom, Pace, Says
from tests.sim.invariants import Invariants
from tests.sim.machines import FORGOTTEN_AFTER
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import SomePolicy
from tests.sim.standby import THERE
from tests.sim.volumes import BETWEEN_SNAPSHOTS, MIXED, MOST_PENDING
from tests.sim.weather import BUCKETS

TAGS = {tags.ROLE: "test"}
A_REQUEST = LaunchRequest("t", "t4g.small", "subnet-a", "sg", "POWER_OFF_MINUTES='5'", TAGS)


def a_simulation(pace: Pace = Pace()) -> Simulation:  # noqa: B008
    sim = Simulation(Scenario(plan=FaultPlan(pace=pace)))
    sim.machines.on_running = lambda box: None
    sim.machines.emit = sim.volumes.emit = lambda source, kind, detail: None
    return sim


def let_pass(sim: Simulation, time: timedelta) -> None:
    sim.agenda.run_until(sim.agenda.now + time)


def test_the_same_token_is_the_same_machine_and_with_another_request_it_is_refused() -> None:
    machines = a_simulation().machines
    launched = machines.launch(A_REQUEST)

    assert machines.launch(A_REQUEST) == launched
    with pytest.raises(TokenTakenError, match="IdempotentParameterMismatch"):
        machines.launch(replace(A_REQUEST, instance_type="t4g.medium"))


def test_the_token_of_a_terminated_machine_is_spent() -> None:
    sim = a_simulation()
    sim.machines.terminate(sim.machines.launch(A_REQUEST).id)

    with pytest.raises(TokenSpentError):
        sim.machines.launch(A_REQUEST)


def test_without_room_only_what_is_launched_already_is_found() -> None:
    sim = a_simulation()
    launched = sim.machines.launch(A_REQUEST)
    sim.machines.plan = FaultPlan(no_room=(NoRoom("zone-a"),))

    assert sim.machines.launch(A_REQUEST) == launched
    with pytest.raises(CapacityError, match="zone-a"):
        sim.machines.launch(replace(A_REQUEST, token="u"))
    assert sim.machines.launch(replace(A_REQUEST, token="u", subnet="subnet-b")).zone == "zone-b"


def test_a_machine_shows_late_and_is_forgotten_an_hour_after_its_end() -> None:
    sim = a_simulation(Pace(to_show=timedelta(minutes=3)))
    launched = sim.machines.launch(A_REQUEST)
    at_once = sim.machines.find(TAGS)
    let_pass(sim, timedelta(minutes=3))
    later = sim.machines.find(TAGS)
    sim.machines.terminate(launched.id)
    let_pass(sim, timedelta(minutes=5))
    ended = sim.machines.find(TAGS)
    let_pass(sim, FORGOTTEN_AFTER)

    assert at_once == []
    assert [machine.state for machine in later] == ["running"]
    assert [machine.state for machine in ended] == ["terminated"]
    assert sim.machines.find(TAGS) == []


def test_a_volume_of_another_zone_does_not_attach() -> None:
    sim = a_simulation()
    machine = sim.machines.launch(A_REQUEST)
    volume = sim.volumes.create_volume("v", sim.machines.zone_of("subnet-b"), 8, "gp3", TAGS)
    let_pass(sim, timedelta(minutes=1))

    with pytest.raises(PermanentError, match="ZoneMismatch"):
        sim.volumes.attach(volume.id, machine.id)


def test_a_volume_attaches_to_one_machine_only_and_only_when_both_are_there() -> None:
    sim = a_simulation()
    first, second = sim.machines.launch(A_REQUEST), sim.machines.launch(replace(A_REQUEST, token="u"))
    volume = sim.volumes.create_volume("v", first.zone, 8, "gp3", TAGS)
    with pytest.raises(TransientError, match="creating"):
        sim.volumes.attach(volume.id, first.id)
    let_pass(sim, timedelta(minutes=1))
    sim.volumes.attach(volume.id, first.id)

    with pytest.raises(TransientError, match="in-use"):
        sim.volumes.attach(volume.id, second.id)
    with pytest.raises(TransientError, match="VolumeInUse"):
        sim.volumes.delete_volume(volume.id)


def test_snapshots_of_one_volume_are_limited_in_number_and_in_pace() -> None:
    sim = a_simulation(Pace(to_snapshot=A_DAY))
    volume = sim.volumes.create_volume("v", "zone-a", 8, "gp3", TAGS)
    for _ in range(MOST_PENDING):
        sim.volumes.create_snapshot(volume.id, "one", TAGS)
        with pytest.raises(TransientError, match=r"RateExceeded|LimitExceeded"):
            sim.volumes.create_snapshot(volume.id, "too soon", TAGS)
        let_pass(sim, BETWEEN_SNAPSHOTS)

    with pytest.raises(TransientError, match="ConcurrentSnapshotLimitExceeded"):
        sim.volumes.create_snapshot(volume.id, "too many", TAGS)


def test_a_snapshot_holds_what_the_volume_held_when_it_was_asked_for() -> None:
    sim = a_simulation()
    volume = sim.volumes.create_volume("v", "zone-a", 8, "gp3", TAGS)
    sim.volumes.content[volume.id]["us0a"] = "before"
    taken = sim.volumes.create_snapshot(volume.id, "one", TAGS)
    sim.volumes.content[volume.id]["us0a"] = MIXED
    let_pass(sim, timedelta(minutes=5))

    copy = sim.volumes.create_volume("w", "zone-a", 8, "gp3", TAGS, taken.id)

    assert sim.volumes.content[copy.id] == {"us0a": "before"}


def test_more_deletions_than_a_bucket_holds_are_throttled_until_it_fills_again() -> None:
    sim = a_simulation()
    burst, per_second = BUCKETS["volumes.delete_snapshot"]
    for number in range(burst):
        sim.world.volumes.delete_snapshot(f"snap-{number}")

    with pytest.raises(TransientError, match="RequestLimitExceeded"):
        sim.world.volumes.delete_snapshot("snap-more")
    let_pass(sim, timedelta(seconds=2 / per_second))
    sim.world.volumes.delete_snapshot("snap-more")


def a_snapshot_in(sim: Simulation) -> str:
    volume = sim.volumes.create_volume("v", "zone-a", 8, "gp3", TAGS)
    sim.volumes.content[volume.id]["us0a"] = "before"
    return sim.volumes.create_snapshot(volume.id, "one", TAGS).id


def test_only_what_is_complete_is_copied_and_the_copy_holds_what_the_source_held() -> None:
    sim = a_simulation()
    source = a_snapshot_in(sim)
    with pytest.raises(PermanentError, match="pending"):
        sim.copies.copy(THERE, source, "x", TAGS)
    let_pass(sim, timedelta(minutes=5))
    sim.copies.copy(THERE, source, "x", TAGS)
    let_pass(sim, timedelta(minutes=5))

    (copy,) = sim.copies.find(THERE, TAGS)
    assert copy.state == "completed"
    assert sim.standby.volumes.content[copy.id] == {"us0a": "before"}


def test_a_copy_whose_source_goes_while_it_is_made_ends_in_an_error() -> None:
    sim = a_simulation()
    source = a_snapshot_in(sim)
    let_pass(sim, timedelta(minutes=5))
    sim.copies.copy(THERE, source, "x", TAGS)
    sim.volumes.delete_snapshot(source)
    let_pass(sim, timedelta(minutes=5))

    assert [copy.state for copy in sim.copies.find(THERE, TAGS)] == ["error"]


def test_more_copies_at_once_than_a_region_takes_are_refused() -> None:
    sim = a_simulation()
    source = a_snapshot_in(sim)
    let_pass(sim, timedelta(minutes=5))
    for _ in range(MOST_AT_ONCE):
        sim.copies.copy(THERE, source, "x", TAGS)

    with pytest.raises(TransientError, match="ResourceLimitExceeded"):
        sim.copies.copy(THERE, source, "x", TAGS)
    let_pass(sim, timedelta(minutes=5))
    sim.copies.copy(THERE, source, "x", TAGS)


def test_the_replica_has_an_object_when_its_time_has_come_and_nothing_more_of_a_region_that_is_lost() -> None:
    sim = a_simulation()
    sim.archive.put_once("one", b"1")
    at_once = sim.standby.archive.list("")
    let_pass(sim, sim.scenario.plan.pace.to_replicate)
    sim.archive.put_once("two", b"2")
    sim.lose_the_region()
    let_pass(sim, timedelta(days=1))

    assert at_once == []
    assert sim.standby.archive.list("") == ["one"]


# -- what would break each invariant ----------------------------------------------------------------------------------


def loses_the_last_snapshot(sim: Simulation) -> None:
    sim.volumes.snapshots.clear()


def forgets_every_point(sim: Simulation) -> None:
    sim.catalog.points.clear()


def loses_the_last_copy(sim: Simulation) -> None:
    sim.standby.volumes.snapshots.clear()


def with_another_marked_a_day_ago(sim: Simulation, day: int) -> None:
    """One of the night of that day, `snap-x`, which may be deleted as far as its mark goes."""
    (source,) = sim.volumes.snapshots.values()
    tagged = {tags.RUN: f"main/2026-11-{day}/1", tags.MARKED: (sim.agenda.now - A_DAY).isoformat()}
    later = source.started + timedelta(days=day - source.started.day)
    sim.volumes.snapshots["snap-x"] = replace(source, id="snap-x", started=later, tags={**source.tags, **tagged})


def deletes_what_is_still_to_be_copied(sim: Simulation) -> None:
    with_another_marked_a_day_ago(sim, 24)
    sim.volumes.delete_snapshot("snap-x")


def deletes_what_is_held(sim: Simulation) -> None:
    """And whoever held it lets go of it afterwards."""
    with_another_marked_a_day_ago(sim, 23)
    sim.held.add("snap-x")
    sim.volumes.delete_snapshot("snap-x")
    sim.held.clear()


def deletes_what_was_never_marked(sim: Simulation) -> None:
    sim.volumes.snapshots["snap-x"] = replace(next(iter(sim.volumes.snapshots.values())), id="snap-x")
    sim.volumes.delete_snapshot("snap-x")


def loses_what_is_held(sim: Simulation) -> None:
    sim.held.add("snap-x")


def deletes_a_point_of_one_who_left(sim: Simulation) -> None:
    (snapshot,) = sim.volumes.snapshots.values()
    marked = {tags.MARKED: (sim.agenda.now - A_DAY).isoformat()}
    sim.volumes.snapshots[snapshot.id] = replace(snapshot, tags={**snapshot.tags, **marked})
    sim.call("apply_policy", text=sim.scenario.policy.without("us0").text, expected=None)
    sim.volumes.delete_snapshot(snapshot.id)
    sim.volumes.snapshots[snapshot.id] = snapshot


def leaves_a_machine_of_a_drill_there(sim: Simulation) -> None:
    (drill,) = sim.standby.catalog.find_recoveries()
    request = replace(A_REQUEST, tags={tags.RECOVERY: str(drill.id)})
    sim.standby.machines.launch(request)


def has_a_mixed_copy(sim: Simulation) -> None:
    for content in sim.standby.volumes.content.values():
        content["us0a"] = MIXED


def does_more_there_when_it_is_asked_again(sim: Simulation) -> None:
    sim.standby.bus.delivered["once more"] = lambda: sim.standby.archive.put_once("more", b"")


def has_points_in_two_snapshots(sim: Simulation) -> None:
    (point, *_) = sim.catalog.points.values()
    sim.volumes.snapshots["snap-x"] = sim.volumes.snapshots[point.snapshot_id]
    sim.catalog.record_point(replace(point, snapshot_id="snap-x"))


def has_a_receiver_that_never_ended(sim: Simulation) -> None:
    for box in sim.machines.boxes.values():
        box.ended = None


def leaves_a_machine(sim: Simulation) -> None:
    for box in sim.machines.boxes.values():
        box.machine = replace(box.machine, state="running")


def leaves_a_volume(sim: Simulation) -> None:
    (run,) = sim.runs()
    sim.volumes.create_volume("x", "zone-a", 8, "gp3", {tags.RUN: str(run.id)})


def has_a_mixed_tree(sim: Simulation) -> None:
    for content in sim.volumes.content.values():
        content["us0a"] = MIXED


def leaves_a_run_open(sim: Simulation) -> None:
    (run,) = sim.runs()
    sim.catalog.runs[run.id] = replace(run, state=RunState.OPEN)
    let_pass(sim, A_DAY)


def fails(sim: Simulation) -> None:
    """As if its run had failed, and nothing else."""
    (run,) = sim.runs()
    sim.catalog.runs[run.id] = replace(run, state=RunState.FAILED)
    key = f"runs/{run.id}/closed.json"
    sim.archive.objects[key] = sim.archive.objects[key].replace(b'"done"', b'"failed"')


def fails_and_tells_nobody(sim: Simulation) -> None:
    sim.watch.pinged.clear()
    fails(sim)


def pings_over_a_failure(sim: Simulation) -> None:
    fails(sim)
    (run,) = sim.runs()
    sim.alarms.publish("ops", f"run {run.id} failed", "")


def leaves_a_data_volume(sim: Simulation) -> None:
    sim.volumes.create_volume("x", "zone-b", 8, "gp3", {tags.RECEIVER: "main"})


def ends_in_silence(sim: Simulation) -> None:
    for key in sim.archive.list("runs/"):
        if key.endswith("closed.json"):
            sim.archive.objects[key] = sim.archive.objects[key].replace(b'"done"', b'"failed"')


def believes_another_host(sim: Simulation) -> None:
    for key, result in sim.catalog.results.items():
        sim.catalog.results[key] = replace(result, status=HostStatus.PARTIAL)


def does_more_when_it_is_asked_again(sim: Simulation) -> None:
    sim.bus.delivered["once more"] = lambda: sim.archive.put_once("more", b"")


def lacks_a_copy(sim: Simulation) -> None:
    with_another_marked_a_day_ago(sim, 24)


def has_a_copy_that_is_no_point(sim: Simulation) -> None:
    sim.standby.catalog.points.clear()


I1 = {
    loses_the_last_snapshot: "lost: ",
    forgets_every_point: "lost: ",
    loses_the_last_copy: "lost: ",
    deletes_what_is_still_to_be_copied: r"deleted: \['snap-x, which was still to be copied'\]",
    deletes_what_was_never_marked: r"deleted: \['snap-x, which was marked at None'\]",
    deletes_what_is_held: r"deleted: \['snap-x, which was held'\]",
    loses_what_is_held: "held: {'snap-x'}",
    deletes_a_point_of_one_who_left: r"deleted: \[\"\S+ of {'us0a'}, who left and were not forgotten\"\]",
}
BREACHES: dict[str, tuple[Callable[[Simulation], None], ...]] = {
    "I1": tuple(I1),
    "I2": (has_points_in_two_snapshots,),
    "I3": (has_a_receiver_that_never_ended,),
    "I4": (leaves_a_machine, leaves_a_volume, leaves_a_data_volume, leaves_a_machine_of_a_drill_there),
    "I5": (has_a_mixed_tree, has_a_mixed_copy),
    "I6": (leaves_a_run_open,),
    "I7": (ends_in_silence, fails_and_tells_nobody, pings_over_a_failure),
    "I8": (believes_another_host,),
    "I9": (does_more_when_it_is_asked_again, does_more_there_when_it_is_asked_again),
    "I10": (lacks_a_copy, has_a_copy_that_is_no_point),
}


@pytest.mark.parametrize(
    ("number", "breach"), [(number, breach) for number, breaches in BREACHES.items() for breach in breaches]
)
def test_every_invariant_can_fail(number: str, breach: Callable[[Simulation], None]) -> None:
    sim = play(Scenario(SomePolicy(copies="daily = 7")))
    invariants = Invariants(sim)
    invariants.i1()
    with sim.doors_open():
        sim.standby.call("drill", host="us0", at=None)
        sim.standby.pass_time(2 * AN_HOUR)

    with sim.doors_open():
        breach(sim)
        with pytest.raises(AssertionError, match=I1.get(breach)):
            getattr(invariants, number.lower())()


def test_what_breaks_an_invariant_is_told_with_its_number_the_scenario_and_the_story() -> None:
    sim = play(Scenario())
    has_a_mixed_tree(sim)

    with sim.doors_open(), pytest.raises(AssertionError) as caught:
        Invariants(sim).check()

    told = str(caught.value)
    assert told.startswith("I5: ")
    assert repr(sim.scenario) in told
    assert "us0 pushes to i-1" in told


@pytest.mark.parametrize("skip", range(4))
def test_what_strikes_at_deeds_passes_over_whatever_only_looks_but_at_the_beginning_of_a_process(skip: int) -> None:
    fault = CallFault("*", Says.NO_ANSWER, skip, at_deeds=True)
    weather = Simulation(Scenario(plan=FaultPlan(calls=(fault,)))).weather
    struck = []

    for process in (("volumes.find", "volumes.find", "volumes.attach"), ("catalog.find", "archive.list", "bus.send")):
        weather.begin()
        for call in process:
            before = weather.struck
            with contextlib.suppress(TransientError):
                weather.around(call, lambda: None)()
            struck += [call] * (weather.struck - before)

    assert struck == [["volumes.find", "volumes.attach", "catalog.find", "bus.send"][skip]]
