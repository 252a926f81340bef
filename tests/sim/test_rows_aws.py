"""The rows A… of the table of faults, and those R… that the control plane answers: what AWS does to a night.

`lacks` says which part of a row is not there yet.
"""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from chalicelib.core import tags
from chalicelib.core.model import RunState, Volume
from chalicelib.core.night import GRACE, LEAST_TIME_LEFT, MOST_DAMAGED, MOST_MACHINES, READY_WITHIN
from chalicelib.core.one_snapshot import SNAPSHOT_SETTLES
from chalicelib.errors import PermanentError
from chalicelib.flows.steps import KEPT_ASIDE
from tests.builders import a_moment
from tests.sim.chance import WHERE
from tests.sim.ending import the_end
from tests.sim.faults import CallFault, Fate, FaultPlan, HostNight, MachineLife, NoRoom, Pace, Rot, Says
from tests.sim.night import A_DAY, A_TICK, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import SomePolicy
from tests.sim.volumes import SimVolumes

FOREVER = 1_000_000
NEVER = 10 * A_DAY


def planned(**faults: Any) -> Scenario:
    return Scenario(plan=FaultPlan(**faults))


def states(sim: Simulation) -> list[RunState]:
    return [run.state for run in sim.runs()]


def requests(sim: Simulation) -> list[tuple[str, str]]:
    """Which machines were launched: the attempt, and the type."""
    boxes = sim.machines.boxes.values()
    return [(box.machine.tags[tags.ATTEMPT], box.request.instance_type) for box in boxes]


NO_ANSWER_TO_THE_SNAPSHOT = CallFault("volumes.create_snapshot", Says.NO_ANSWER, has_effect=True)


@pytest.mark.fault("A1")
def test_a1_a_snapshot_whose_answer_was_lost_is_adopted_and_not_taken_twice() -> None:
    sim = play(planned(calls=(NO_ANSWER_TO_THE_SNAPSHOT,)))

    (run,), (snapshot_id,) = sim.runs(), sim.volumes.snapshots
    assert (run.state, run.snapshot_id) == (RunState.DONE, snapshot_id)
    assert sim.volumes.taken == 1


@pytest.mark.fault("A2")
@pytest.mark.parametrize("minutes", [1, 3, 4.5])
def test_a2_a_snapshot_that_shows_minutes_later_is_still_the_only_one(minutes: float) -> None:
    slow, hints_meanwhile = Pace(to_show=timedelta(minutes=minutes)), (Fate(60),)

    sim = play(planned(calls=(NO_ANSWER_TO_THE_SNAPSHOT,), pace=slow, events=hints_meanwhile))

    assert states(sim) == [RunState.DONE]
    assert sim.volumes.taken == 1


@pytest.mark.fault("A2")
def test_a2_a_snapshot_that_never_was_is_asked_for_again_when_it_would_have_shown() -> None:
    sim = play(planned(calls=(CallFault("volumes.create_snapshot"),)))

    (run,), (snapshot,) = sim.runs(), sim.volumes.snapshots.values()
    assert run.state is RunState.DONE
    assert snapshot.started >= a_moment(2, 15) + SNAPSHOT_SETTLES


@pytest.mark.fault("A3")
def test_a3_while_snapshots_are_throttled_it_is_asked_for_again_later() -> None:
    throttled = CallFault("volumes.create_snapshot", Says.THROTTLED, times=FOREVER, until=2 * AN_HOUR)

    sim = play(planned(calls=(throttled,)))

    assert states(sim) == [RunState.DONE]
    assert sim.volumes.taken == 1


@pytest.mark.fault("A4")
def test_a4_a_snapshot_that_ends_in_an_error_is_taken_once_more() -> None:
    sim = play(planned(bad_snapshots=(True,)))

    (run,) = sim.runs()
    assert run.state is RunState.DONE
    assert sim.volumes.taken == 2
    assert {point.snapshot_id for point in sim.catalog.find_points()} == {run.snapshot_id}


@pytest.mark.fault("A4")
def test_a4_two_snapshots_that_end_in_errors_are_no_restore_point_and_the_failure_is_told() -> None:
    sim = play(planned(bad_snapshots=(True, True)))

    assert states(sim) == [RunState.FAILED]
    assert sim.volumes.taken == 2
    assert sim.catalog.find_points() == []
    assert sim.alarms.when("ended in an error too")


@pytest.mark.fault("A6")
@pytest.mark.parametrize("minutes", [0, 1, 3, 6])
def test_a6_a_launch_whose_answer_was_lost_is_asked_for_with_the_same_token(minutes: int) -> None:
    lost = CallFault("machines.launch", has_effect=True)

    sim = play(planned(calls=(lost,), pace=Pace(to_show=timedelta(minutes=minutes))))

    assert requests(sim) == [("1", "t4g.small")]
    assert states(sim) == [RunState.DONE]
    assert "IdempotentParameterMismatch" not in str(sim.story)


@pytest.mark.fault("A6")
def test_a6_a_token_whose_machine_is_gone_costs_the_attempt_and_not_the_night() -> None:
    lost = CallFault("machines.launch", has_effect=True)
    gone = MachineLife(dies_after=timedelta(0))

    sim = play(planned(calls=(lost,), machines=(gone,), pace=Pace(to_show=timedelta(minutes=6))))

    assert [attempt for attempt, _ in requests(sim)] == ["1", "2"]
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("A6")
def test_a6_machines_that_come_and_go_before_they_show_are_no_more_than_any_others() -> None:
    gone = MachineLife(dies_after=timedelta(0))

    sim = play(planned(machines=(gone,) * 99, pace=Pace(to_show=timedelta(minutes=20))))

    assert len(sim.machines.boxes) == MOST_MACHINES
    assert states(sim) == [RunState.FAILED]


@pytest.mark.fault("A7")
def test_a7_a_receiver_that_never_sees_its_volume_is_replaced() -> None:
    sim = play(planned(machines=(MachineLife(sees_disks_in=NEVER),)))

    assert [attempt for attempt, _ in requests(sim)] == ["1", "2"]
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("A7")
def test_a7_a_volume_that_takes_long_to_detach_is_waited_for() -> None:
    sim = play(planned(pace=Pace(to_detach=2 * AN_HOUR)))

    assert the_end(sim) == the_end(play(Scenario()))


KEEP_ONE = SomePolicy(retention="last = 1")


@pytest.mark.fault("A8")
def test_a8_a_listing_that_breaks_off_deletes_nothing() -> None:
    broken = CallFault("volumes.find_snapshots", Says.NO_ANSWER, times=FOREVER, since=3 * A_DAY - AN_HOUR)
    sim = Simulation(Scenario(KEEP_ONE, FaultPlan(calls=(broken,)), nights=3))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights:
            sim.go_through(night)
        there = dict(sim.volumes.snapshots)
        sim.pass_time(sim.started + 3 * A_DAY)
        sim.bus.invoke_later("prune", {"schema": 1, "dry_run": False})
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)

    assert any(snapshot.tags.get(tags.MARKED) for snapshot in there.values())
    assert sim.volumes.snapshots == there
    assert len(sim.bus.dead) == 1


@pytest.mark.fault("A9")
def test_a9_an_empty_listing_is_refused() -> None:
    empty = CallFault("volumes.find_snapshots", Says.NOTHING, times=FOREVER, since=3 * A_DAY)
    sim = Simulation(Scenario(KEEP_ONE, FaultPlan(calls=(empty,)), nights=3))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights:
            sim.go_through(night)
        sim.pass_time(sim.started + 3 * A_DAY)
        there, points = dict(sim.volumes.snapshots), sim.catalog.find_points()
        answer = sim.call("prune", dry_run=False)

    assert answer["refused"].startswith("no backup snapshot was found at all")
    assert (sim.volumes.snapshots, sim.catalog.find_points()) == (there, points)


@pytest.mark.fault("A11")
@pytest.mark.parametrize("call", ["machines.*", "volumes.*", "address.*", "archive.*", "lambdas.*", "*"])
def test_a11_a_storm_of_throttling_is_outlasted(call: str) -> None:
    storm = CallFault(call, Says.THROTTLED, times=FOREVER, since=timedelta(minutes=6), until=timedelta(minutes=50))

    sim = play(planned(calls=(storm,)))

    assert the_end(sim) == the_end(play(Scenario()))


@pytest.mark.fault("A14")
def test_a14_without_the_permission_to_launch_the_run_fails_and_that_is_told() -> None:
    sim = play(planned(calls=(CallFault("machines.launch", Says.DENIED, times=FOREVER),)))

    assert states(sim) == [RunState.FAILED]
    assert "gave up machines.launch: denied" in str(sim.story)
    assert sim.alarms.when("main/2026-11-23/1 failed")
    assert sim.machines.boxes == {}


@pytest.mark.fault("A14")
def test_a14_without_the_permission_to_terminate_the_timer_ends_the_receiver() -> None:
    denied = CallFault("machines.terminate", Says.DENIED, times=FOREVER)

    sim = play(planned(calls=(denied,), hosts=(HostNight(says=None),), machines=(MachineLife(gets_ready=False),) * 9))

    assert all(box.machine.state == "terminated" for box in sim.machines.boxes.values())
    assert sim.alarms.when("main/2026-11-23/1 failed")


# -- receivers --------------------------------------------------------------------------------------------------------


@pytest.mark.fault("R1")
def test_r1_without_room_for_the_first_type_the_next_one_is_launched() -> None:
    sim = play(planned(no_room=(NoRoom("t4g.small"),)))

    assert requests(sim) == [("1", "t4g.medium")]
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("R1")
def test_r1_without_room_in_the_zone_the_night_is_in_another_from_the_last_snapshot() -> None:
    full = NoRoom("zone-a", since=A_DAY - AN_HOUR)

    sim = play(Scenario(plan=FaultPlan(no_room=(full,)), nights=2))

    (volume,) = sim.volumes.volumes.values()
    (first, second) = sim.machines.boxes.values()
    assert (first.machine.zone, second.machine.zone, volume.zone) == ("zone-a", "zone-b", "zone-b")
    assert f"EBS makes {volume.id} from snap-" in str(sim.story)
    assert states(sim) == [RunState.DONE] * 2


@pytest.mark.fault("R1")
def test_r1_a_night_without_any_room_fails_leaves_no_half_instance_and_is_told() -> None:
    sim = play(planned(no_room=(NoRoom("zone-a"), NoRoom("zone-b"))))

    assert states(sim) == [RunState.FAILED]
    assert sim.machines.boxes == {}
    assert sim.alarms.when("main/2026-11-23/1 failed")


@pytest.mark.fault("R1")
def test_r1_a_first_night_without_any_room_leaves_no_volume_and_the_next_one_goes_where_there_is_room() -> None:
    full = (NoRoom("zone-a", until=A_DAY - AN_HOUR), NoRoom("zone-b"))

    sim = play(Scenario(plan=FaultPlan(no_room=full), nights=2))

    (box,) = sim.machines.boxes.values()
    (volume,) = sim.volumes.volumes.values()
    assert states(sim) == [RunState.DONE, RunState.FAILED]
    assert (box.machine.zone, volume.zone) == ("zone-a", "zone-a")


@pytest.mark.fault("R2")
def test_r2_a_receiver_that_is_never_ready_is_replaced_once_and_then_the_night_fails_and_that_is_told() -> None:
    sim = play(planned(machines=(MachineLife(gets_ready=False),) * 9))

    first, second = sim.machines.boxes.values()
    assert first.ended is not None
    assert first.ended - first.machine.launched <= READY_WITHIN + 2 * A_TICK
    assert second.ended is not None
    assert states(sim) == [RunState.FAILED]
    assert sim.alarms.when("no receiver was ready")


@pytest.mark.fault("R3")
def test_r3_why_a_receiver_lets_nobody_in_is_in_the_alarm_of_a_night_that_fails_at_once() -> None:
    sim = play(planned(machines=(MachineLife(refuses="volume vol-1 belongs to receiver 'other'"),) * 9))

    first, second = sim.machines.boxes.values()
    assert second.ended is not None
    assert second.ended - first.machine.launched < READY_WITHIN
    assert states(sim) == [RunState.FAILED]
    assert sim.alarms.when("receiver 2 says: volume vol-1 belongs to receiver 'other'")


@pytest.mark.fault("R4")
@pytest.mark.parametrize("minutes", [3, 8, 15], ids=["before any push", "in a push", "when one has reported"])
def test_r4_of_a_volume_that_turns_read_only_no_snapshot_is_taken_and_the_next_night_goes_on_with_it(
    minutes: int,
) -> None:
    breaks, slow = MachineLife(breaks_after=timedelta(minutes=minutes)), HostNight(takes=timedelta(minutes=20))

    sim = play(Scenario(plan=FaultPlan(machines=(breaks,), hosts=(HostNight(), slow)), nights=2))

    (volume,), (snapshot,) = sim.volumes.volumes, sim.volumes.snapshots.values()
    states_by_day = {run.id.day: run.state for run in sim.runs()}
    assert list(states_by_day.values()) == [RunState.DONE, RunState.FAILED]
    assert (sim.volumes.taken, snapshot.volume_id) == (1, volume)
    assert sim.alarms.when(f"volume {volume} turned read-only after an error of its file system")
    assert {point.run.day for point in sim.catalog.find_points()} == {max(states_by_day)}


A_ROT = 4 * A_DAY - AN_HOUR


@pytest.mark.fault("R14")
@pytest.mark.parametrize("snapshots", [0, 1, 2])
def test_r14_a_night_with_a_damaged_volume_goes_on_from_the_newest_snapshot_that_is_sound(snapshots: int) -> None:
    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_ROT, snapshots),)), nights=5))

    run, before = sim.runs()[0], sorted(sim.runs()[1:], key=lambda run: run.id, reverse=True)
    volume, aside = the_volumes(sim)
    assert run.state is RunState.DONE
    assert volume.tags[tags.MADE_FROM] == before[snapshots].snapshot_id
    assert set(run.aside) == {each.id for each in aside} == sim.volumes.damaged & sim.volumes.volumes.keys()
    assert sim.volumes.snapshots[str(run.snapshot_id)].volume_id == volume.id
    assert sim.alarms.when(f"the volume of receiver main was damaged: set aside is {', '.join(run.aside)}")


@pytest.mark.fault("R14")
def test_r14_damage_that_says_it_is_clean_costs_one_night_and_not_every_one() -> None:
    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_ROT, 2, is_latent=True),)), nights=7))

    last, next_one, broken, *before = sorted(sim.runs(), key=lambda run: run.id, reverse=True)
    volume, _ = the_volumes(sim)
    damaged = {each.id for each in sim.volumes.snapshots.values() if tags.DAMAGED in each.tags}
    assert [broken.state, next_one.state, last.state] == [RunState.FAILED, RunState.DONE, RunState.DONE]
    assert damaged == {before[0].snapshot_id, before[1].snapshot_id}
    assert volume.tags[tags.MADE_FROM] == before[2].snapshot_id
    assert len(next_one.aside) == 3


@pytest.mark.fault("R14")
def test_r14_a_volume_that_found_no_receiver_is_looked_through_by_the_next_nights() -> None:
    full = tuple(NoRoom(where, 5 * A_DAY + timedelta(minutes=6), 5 * A_DAY + 6 * AN_HOUR) for where in WHERE)

    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_ROT, 2, is_latent=True),), no_room=full), nights=7))

    last, without_room, *_ = sorted(sim.runs(), key=lambda run: run.id, reverse=True)
    assert (without_room.state, last.state) == (RunState.FAILED, RunState.DONE)
    assert len(without_room.aside) == 1
    assert str(without_room.why).startswith("no receiver could be launched before the deadline")


@pytest.mark.fault("R14")
def test_r14_no_restore_point_rests_on_a_damaged_snapshot_and_no_sound_one_goes_for_it() -> None:
    two = SomePolicy(retention="last = 2")

    sim = play(Scenario(two, FaultPlan(rots=(Rot(A_ROT, 1),)), nights=5))

    tonight, broken, before, *_ = sorted(sim.runs(), key=lambda run: run.id, reverse=True)
    there = sim.volumes.snapshots
    assert {point.snapshot_id for point in sim.catalog.find_points()} == {tonight.snapshot_id, before.snapshot_id}
    assert tags.DAMAGED in there[str(broken.snapshot_id)].tags
    assert not {tonight.snapshot_id, before.snapshot_id, broken.snapshot_id} & {
        each.id for each in there.values() if each.tags.get(tags.MARKED)
    }


@pytest.mark.fault("R14")
def test_r14_when_the_only_snapshot_is_damaged_too_the_hosts_push_everything_again() -> None:
    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_DAY - AN_HOUR, 1),)), nights=2))

    volume, aside = the_volumes(sim)
    assert states(sim) == [RunState.DONE] * 2
    assert tags.MADE_FROM not in volume.tags
    assert len(aside) == 2


@pytest.mark.fault("R14")
def test_r14_after_so_many_damaged_volumes_the_night_fails_and_that_is_told() -> None:
    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_ROT, 9),)), nights=5))

    assert sim.runs()[0].state is RunState.FAILED
    assert len(sim.runs()[0].aside) == MOST_DAMAGED
    damaged = {each.id for each in sim.volumes.snapshots.values() if tags.DAMAGED in each.tags}
    assert len(damaged) == MOST_DAMAGED - 1
    assert damaged.isdisjoint(point.snapshot_id for point in sim.catalog.find_points())
    assert sim.alarms.when("every volume that was tried is damaged")


@pytest.mark.fault("R14")
@pytest.mark.parametrize(("rotten", "ended"), [(2, RunState.DONE), (9, RunState.FAILED)])
def test_r14_a_mark_that_is_refused_stops_no_night_and_is_told_with_what_fails(
    rotten: int, ended: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = SimVolumes.tag

    def refuse(self: SimVolumes, resource_id: str, mark: dict[str, str]) -> None:
        if tags.DAMAGED in mark:
            raise PermanentError(f"tagging {resource_id}: UnauthorizedOperation")
        tag(self, resource_id, mark)

    monkeypatch.setattr(SimVolumes, "tag", refuse)

    sim = play(Scenario(plan=FaultPlan(rots=(Rot(A_ROT, rotten),)), nights=6))

    after, broken, *before = sorted(sim.runs(), key=lambda run: run.id, reverse=True)
    assert (after.state, broken.state, len(broken.aside)) == (ended, ended, 1 + min(rotten, 3))
    assert f"gave up tagging {before[0].snapshot_id}: UnauthorizedOperation" in str(sim.story)
    letters = "".join(body for _, _, body in sim.alarms.heard)
    for each in before[: min(rotten, 3)]:
        assert f"could not be tagged: tagging {each.snapshot_id}: UnauthorizedOperation" in letters
    if ended is RunState.FAILED:
        assert sim.alarms.when(f"tagging {before[2].snapshot_id}: UnauthorizedOperation")


@pytest.mark.fault("R14")
def test_r14_what_was_set_aside_goes_when_its_time_is_up() -> None:
    sim = Simulation(Scenario(plan=FaultPlan(rots=(Rot(A_DAY - AN_HOUR, 1),)), nights=2))
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights:
            sim.go_through(night)
        _, (before, as_made) = the_volumes(sim)
        sim.pass_time(sim.nights[1].window.deadline + KEPT_ASIDE - A_DAY)
        sim.bus.knock("sweep", sim.bus.doors.sweep)
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)
        kept = the_volumes(sim)[1]
        sim.pass_time(sim.agenda.now + 2 * A_DAY)
        sim.bus.knock("sweep", sim.bus.doors.sweep)
        sim.agenda.run_until(sim.agenda.now + AN_HOUR)

    assert (tags.MADE_FROM in before.tags, tags.MADE_FROM in as_made.tags) == (False, True)
    assert kept == [before], "what is in a snapshot as well goes with the night"
    assert the_volumes(sim)[1] == []


@pytest.mark.fault("R14")
def test_r14_wherever_the_lambda_dies_the_night_goes_on_with_a_sound_volume() -> None:
    # From the receiver's word to the new volume.
    since = A_DAY + timedelta(minutes=7)
    for at in count():
        dies = CallFault("*", Says.DIES, skip=at, has_effect=True, since=since, until=since + timedelta(minutes=1))
        sim = play(Scenario(plan=FaultPlan(calls=(dies,), rots=(Rot(A_DAY - AN_HOUR),)), nights=2))

        volume, aside = the_volumes(sim)
        assert states(sim) == [RunState.DONE] * 2, f"call {at}\n{sim.story}"
        assert [each.id for each in aside] == list(sim.runs()[0].aside), f"call {at}\n{sim.story}"
        assert volume.tags[tags.MADE_FROM] in sim.volumes.content, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at > 30


def the_volumes(sim: Simulation) -> tuple[Volume, list[Volume]]:
    """The receiver's volume, of which there is one, and those that were set aside."""
    volumes = sim.volumes.volumes.values()
    (volume,) = [each for each in volumes if each.tags[tags.ROLE] == tags.Role.DATA]
    return volume, [each for each in volumes if each.tags[tags.ROLE] == tags.Role.ASIDE]


@pytest.mark.fault("R7")
def test_r7_a_receiver_lost_in_the_middle_of_a_push_is_replaced_and_the_hosts_push_again() -> None:
    lost = MachineLife(dies_after=timedelta(minutes=7))

    sim = play(planned(machines=(lost,)))

    assert [attempt for attempt, _ in requests(sim)] == ["1", "2"]
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("R7")
@pytest.mark.parametrize("minutes", [1, 7, 25], ids=["before it is ready", "while both push", "when one has reported"])
def test_r7_a_receiver_that_is_stopped_is_replaced_and_the_snapshot_is_of_what_its_successor_took(minutes: int) -> None:
    stopped = MachineLife(stopped_after=timedelta(minutes=minutes))

    sim = play(planned(machines=(stopped,), hosts=(HostNight(), HostNight(takes=timedelta(minutes=60)))))

    (snapshot,) = sim.volumes.snapshots.values()
    assert [attempt for attempt, _ in requests(sim)] == ["1", "2"]
    assert snapshot.tags[tags.CONSISTENCY] == tags.Consistency.RELEASED
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("R7")
def test_r7_a_receiver_that_is_stopped_in_the_last_minutes_has_no_successor() -> None:
    until = a_moment(6) - LEAST_TIME_LEFT + timedelta(minutes=1)
    stopped = MachineLife(stopped_after=until - a_moment(2))

    sim = play(planned(machines=(stopped,), hosts=(HostNight(says=None),)))

    assert [attempt for attempt, _ in requests(sim)] == ["1"]
    assert len(sim.volumes.snapshots) == 1


@pytest.mark.fault("R7")
def test_r7_however_often_receivers_are_stopped_the_night_ends_with_what_it_has() -> None:
    stopped = MachineLife(stopped_after=timedelta(minutes=30))

    sim = play(planned(machines=(stopped,) * 9, hosts=(HostNight(), HostNight(takes=timedelta(minutes=60)))))

    (snapshot,) = sim.volumes.snapshots.values()
    assert [attempt for attempt, _ in requests(sim)] == ["1", "2", "3"]
    assert snapshot.tags[tags.CONSISTENCY] == tags.Consistency.RELEASED
    assert states(sim) == [RunState.DEGRADED]


@pytest.mark.fault("R10")
def test_r10_a_receiver_that_cannot_let_go_of_its_volume_costs_no_report() -> None:
    sim = play(planned(machines=(MachineLife(lets_go=False),)))

    (snapshot,) = sim.volumes.snapshots.values()
    assert snapshot.tags[tags.CONSISTENCY] == tags.Consistency.CRASH
    assert states(sim) == [RunState.DONE]


@pytest.mark.fault("R11")
def test_r11_a_receiver_that_hangs_at_power_off_is_ended_after_the_grace() -> None:
    sim = play(planned(machines=(MachineLife(hangs=True, releases=False),)))

    (box,), (snapshot,) = sim.machines.boxes.values(), sim.volumes.snapshots.values()
    assert box.ended is not None
    assert a_moment(6) + GRACE <= box.ended <= a_moment(6) + GRACE + timedelta(minutes=10)
    assert snapshot.tags[tags.CONSISTENCY] == tags.Consistency.CRASH
    assert states(sim) == [RunState.DONE]
