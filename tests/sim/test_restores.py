"""Servers that stand restored, in simulated worlds: back first, compared then, whatever becomes of their machines."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.model import Recovery, RecoveryState
from chalicelib.core.recovery import LASTS
from tests.sim.faults import CallFault, Deed, Does, Fate, FaultPlan, MachineLife, NoRoom, Pace, Says
from tests.sim.machines import Box
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play

FOREVER = 1_000_000
RESTORE = Deed(AN_HOUR, Does.RESTORE, "us0")
DOUBTFUL, FAILED = "restore doubtful", "restore failed"


def the_restore(sim: Simulation) -> Recovery:
    (restore,) = sim.catalog.find_recoveries()
    return restore


def played(life: MachineLife, *deeds: Deed) -> Simulation:
    return play(Scenario(plan=FaultPlan(deeds=(RESTORE, *deeds), machines=(MachineLife(), life))))


def is_gone(sim: Simulation) -> bool:
    """Of it there is nothing left, whatever nights have come since."""
    machines = [box.machine for box in sim.machines.boxes.values() if tags.RECOVERY in box.machine.tags]
    volumes = [volume for volume in sim.volumes.volumes.values() if tags.RECOVERY in volume.tags]
    return {machine.state for machine in machines} == {"terminated"} and not volumes


def assert_back_and_proven_on_one_machine(sim: Simulation) -> None:
    restore = the_restore(sim)
    machines = [box.machine for box in sim.machines.boxes.values() if tags.RECOVERY in box.machine.tags]
    volumes = [volume for volume in sim.volumes.volumes.values() if tags.RECOVERY in volume.tags]
    assert (restore.state, restore.verdict) == (RecoveryState.OPEN, "proven"), sim.story
    assert [machine.state for machine in machines] == ["running"], sim.story
    assert len(volumes) == 1


def until_its_time_is_over(sim: Simulation) -> None:
    with sim.doors_open():
        sim.pass_time(the_restore(sim).deadline + AN_HOUR)


@pytest.mark.parametrize("lost", ["events", "invocations"])
def test_with_every_event_or_every_second_invocation_lost_a_server_comes_back_and_is_compared(lost: str) -> None:
    fates = {"events": (Fate(copies=0),), "invocations": (Fate(), Fate(copies=0))}

    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), **{lost: fates[lost]})))  # type: ignore[arg-type]

    restore = the_restore(sim)
    assert (restore.state, restore.verdict, restore.address) == (RecoveryState.OPEN, "proven", "10.0.0.2")
    assert sim.alarms.when(DOUBTFUL) is None


def test_of_one_whose_machine_dies_before_it_is_compared_that_is_told_and_its_volume_stays() -> None:
    sim = played(MachineLife(dies_after=timedelta(minutes=5)))

    restore = the_restore(sim)
    told = sim.alarms.when(DOUBTFUL)
    kept = len(sim.volumes.volumes)
    until_its_time_is_over(sim)

    assert (restore.state, restore.verdict) == (RecoveryState.OPEN, "unproven")
    assert restore.address is not None
    assert told is not None
    assert told - restore.opened < timedelta(minutes=15)
    assert kept == 2
    assert the_restore(sim).state is RecoveryState.DONE
    assert is_gone(sim)


def test_one_that_is_never_compared_stands_and_that_is_told_after_a_day() -> None:
    sim = played(MachineLife(compares=False))

    restore = the_restore(sim)
    told = sim.alarms.when(DOUBTFUL)
    until_its_time_is_over(sim)

    assert (restore.state, restore.verdict, restore.address) == (RecoveryState.OPEN, None, "10.0.0.2")
    assert told is not None
    assert A_DAY <= told - restore.opened <= A_DAY + 2 * AN_HOUR
    over = the_restore(sim)
    assert (over.state, over.verdict) == (RecoveryState.DONE, "unproven")
    assert over.closed is not None
    assert over.closed - over.opened >= LASTS[over.kind]
    assert is_gone(sim)


@pytest.mark.fault("A11")
@pytest.mark.parametrize("call", ["machines.*", "volumes.*", "entrances.*", "archive.*", "catalog.*", "lambdas.*", "*"])
def test_a11_a_storm_of_throttling_while_a_server_comes_back_is_outlasted(call: str) -> None:
    begins = AN_HOUR + timedelta(seconds=30)
    storm = CallFault(call, Says.THROTTLED, times=FOREVER, since=begins, until=2 * AN_HOUR)

    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), calls=(storm,))))

    assert ": throttled" in str(sim.story)
    assert_back_and_proven_on_one_machine(sim)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("minutes", [0, 1, 3, 6])
def test_a6_a_restores_launch_whose_answer_was_lost_is_asked_for_with_the_same_token(minutes: int) -> None:
    lost = CallFault("machines.launch", has_effect=True, since=AN_HOUR)

    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), calls=(lost,), pace=Pace(to_show=timedelta(minutes=minutes)))))

    assert "machines.launch: no answer" in str(sim.story)
    assert_back_and_proven_on_one_machine(sim)


@pytest.mark.fault("A2")
@pytest.mark.parametrize("call", ["volumes.create_volume", "volumes.attach", "machines.launch"])
@pytest.mark.parametrize("has_effect", [True, False], ids=["done", "not done"])
def test_a2_what_was_asked_of_ec2_for_a_restore_and_shows_minutes_later_is_still_the_only_one(
    call: str, has_effect: bool
) -> None:
    lost, slow = CallFault(call, has_effect=has_effect, since=AN_HOUR), Pace(to_show=timedelta(minutes=3))

    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), calls=(lost,), pace=slow, events=(Fate(60),))))

    assert f"{call}: no answer" in str(sim.story)
    assert_back_and_proven_on_one_machine(sim)


@pytest.mark.fault("A7")
def test_a7_one_whose_machines_both_end_before_it_is_back_has_failed_and_leaves_nothing_behind() -> None:
    dies = MachineLife(dies_after=timedelta(minutes=2))
    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), machines=(MachineLife(), dies, dies))))

    assert (the_restore(sim).state, the_restore(sim).address) == (RecoveryState.FAILED, None)
    assert len(its_boxes(sim)) == 2
    assert is_gone(sim)


# -- machines that never say a word ------------------------------------------------------------------------------------


SILENT = MachineLife(gets_ready=False, hangs=True)


def its_boxes(sim: Simulation) -> list[Box]:
    return [box for box in sim.machines.boxes.values() if tags.RECOVERY in box.machine.tags]


@pytest.mark.fault("R2")
@pytest.mark.parametrize("lost", [False, True], ids=["events", "no events"])
def test_r2_a_restores_machine_that_never_says_a_word_is_replaced_and_the_server_is_back(lost: bool) -> None:
    lives = (MachineLife(), SILENT)
    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), machines=lives, events=(Fate(copies=0 if lost else 1),))))

    restore, (first, second) = the_restore(sim), its_boxes(sim)
    assert (restore.state, restore.verdict) == (RecoveryState.OPEN, "proven")
    assert restore.address == second.machine.address
    assert second.machine.launched - first.machine.launched < timedelta(minutes=25)
    assert (first.machine.state, len(sim.volumes.volumes)) == ("terminated", 2)
    assert restore.findings[0].startswith(f"machine {first.machine.id} said nothing within 15 minutes of its launch")
    assert sim.alarms.when(FAILED) is None
    until_its_time_is_over(sim)
    assert {box.machine.state for box in its_boxes(sim)} == {"terminated"}


@pytest.mark.fault("R2")
def test_r2_a_restore_of_which_two_machines_never_say_a_word_has_failed_within_the_hour_and_is_told() -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), machines=(MachineLife(), SILENT, SILENT))))

    restore, boxes = the_restore(sim), its_boxes(sim)
    assert (restore.state, restore.verdict, len(boxes)) == (RecoveryState.FAILED, "failed", 2)
    assert restore.closed is not None
    assert restore.closed - restore.opened < AN_HOUR
    told = sim.alarms.when(FAILED)
    assert told is not None
    assert told - restore.opened < AN_HOUR
    why, where_to_look, before = restore.findings
    for box, finding in zip(boxes, (before, why), strict=True):
        assert f"machine {box.machine.id} said nothing within 15 minutes of its launch" in finding
    assert f"aws ec2 get-console-output --instance-id {boxes[1].machine.id}" in where_to_look
    assert {box.machine.state for box in boxes} == {"terminated"}
    assert len(sim.volumes.volumes) == 1


@pytest.mark.fault("A7")
@pytest.mark.parametrize("ends", [timedelta(seconds=10), timedelta(minutes=2, seconds=30)], ids=["before", "after"])
def test_a7_a_restores_machine_that_is_ended_before_or_after_its_first_word_is_replaced_at_once(
    ends: timedelta,
) -> None:
    sim = played(MachineLife(dies_after=ends))

    restore, (first, second) = the_restore(sim), its_boxes(sim)
    assert (restore.state, restore.verdict) == (RecoveryState.OPEN, "proven")
    assert first.ended is not None
    assert second.machine.launched - first.ended < timedelta(minutes=1)
    assert len(sim.volumes.volumes) == 2


@pytest.mark.fault("A7")
@pytest.mark.parametrize(("step", "limit"), [("mount", 5 * AN_HOUR), ("boot", 2 * AN_HOUR)])
def test_a7_a_restores_machine_that_goes_no_further_is_replaced_and_the_server_is_back(
    step: str, limit: timedelta
) -> None:
    sim = played(MachineLife(sticks_at=step, hangs=True))

    restore, (first, second) = the_restore(sim), its_boxes(sim)
    assert (restore.state, restore.verdict, restore.attempt) == (RecoveryState.OPEN, "proven", 2)
    assert restore.address == second.machine.address
    assert first.machine.state == "terminated"
    assert second.machine.launched - first.machine.launched < limit + timedelta(minutes=15)
    assert f"was at {'image boot' if step == 'boot' else step} for" in restore.findings[0]


@pytest.mark.fault("A7")
@pytest.mark.parametrize(
    ("life", "within", "why"),
    [
        (SILENT, 2 * AN_HOUR, "said nothing within 15 minutes of its launch"),
        (
            MachineLife(sticks_at="compare", hangs=True),
            7 * AN_HOUR,
            "no report before the deadline; its machine was at: compare",
        ),
    ],
    ids=["silent", "hangs"],
)
def test_a7_a_drill_whose_machine_says_nothing_or_no_more_has_failed_and_leaves_nothing_behind(
    life: MachineLife, within: timedelta, why: str
) -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(Deed(AN_HOUR, Does.DRILL, "us0"),), machines=(MachineLife(), life))))

    drill = the_restore(sim)
    assert (drill.state, drill.verdict, len(its_boxes(sim))) == (RecoveryState.FAILED, "failed", 1)
    assert why in drill.findings[0]
    assert drill.closed is not None
    assert drill.closed - drill.opened < within
    assert is_gone(sim)


# -- zones without room ------------------------------------------------------------------------------------------------


HALF_AN_HOUR = AN_HOUR / 2
FULL = NoRoom("zone-a", AN_HOUR - timedelta(minutes=1), 2 * AN_HOUR)


def its_zones(sim: Simulation) -> tuple[set[str], set[str]]:
    """Where its machines stand or stood, and where volumes are that are no receiver's."""
    volumes = {volume.zone for volume in sim.volumes.volumes.values() if tags.RECOVERY in volume.tags}
    return {box.machine.zone for box in its_boxes(sim)}, volumes


@pytest.mark.fault("R1")
def test_r1_a_restore_whose_zone_has_no_room_is_back_from_another_and_says_so() -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE,), no_room=(FULL,))))

    restore = the_restore(sim)
    assert (restore.state, restore.verdict, restore.zone) == (RecoveryState.OPEN, "proven", "zone-b")
    assert restore.findings == ("EC2 gave it no machine in zone-a: it is brought up in zone-b",)
    assert its_zones(sim) == ({"zone-b"}, {"zone-b"})
    assert str(sim.story).count("EBS makes") == 2
    until_its_time_is_over(sim)
    assert is_gone(sim)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("does", [Does.DRILL, Does.OPEN])
def test_r1_a_drill_and_an_opening_go_to_another_zone_as_a_restore_does(does: Does) -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(Deed(AN_HOUR, does, "us0"),), no_room=(FULL,))))

    assert (the_restore(sim).state, its_zones(sim)) == (RecoveryState.DONE, ({"zone-b"}, set()))


@pytest.mark.fault("R1")
@pytest.mark.parametrize(
    "meanwhile", [(), (Deed(AN_HOUR + HALF_AN_HOUR, Does.LOSE_THE_TABLE),)], ids=["", "table lost"]
)
def test_r1_a_restore_without_any_room_makes_nothing_and_is_back_when_there_is_some_again(
    meanwhile: tuple[Deed, ...],
) -> None:
    full = (FULL, replace(FULL, where="zone-b"))
    sim = play(Scenario(plan=FaultPlan(deeds=(RESTORE, *meanwhile), no_room=full)))

    restore = the_restore(sim)
    assert (restore.verdict, restore.zone) == ("proven", "zone-a")
    assert restore.launched is not None
    assert timedelta(0) <= restore.launched - restore.opened - AN_HOUR < timedelta(minutes=10)
    assert restore.findings[0].endswith("no capacity for any of t3a.medium in zone-a, zone-b")
    assert str(sim.story).count("EBS makes") == 2
