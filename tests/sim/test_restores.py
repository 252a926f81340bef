"""Servers that stand restored, in simulated worlds: back first, compared then, whatever becomes of their machines."""

from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.model import Recovery, RecoveryState
from chalicelib.core.recovery import LASTS
from tests.sim.faults import Deed, Does, Fate, FaultPlan, MachineLife
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play

RESTORE = Deed(AN_HOUR, Does.RESTORE, "us0")
DOUBTFUL = "restore doubtful"


def the_restore(sim: Simulation) -> Recovery:
    (restore,) = sim.catalog.find_recoveries()
    return restore


def played(life: MachineLife, *deeds: Deed) -> Simulation:
    return play(Scenario(plan=FaultPlan(deeds=(RESTORE, *deeds), machines=(MachineLife(), life))))


def is_gone(sim: Simulation) -> bool:
    """Of it there is nothing left, whatever nights have come since."""
    machines = [box.machine for box in sim.machines.boxes.values() if tags.RECOVERY in box.machine.tags]
    volumes = [volume for volume in sim.volumes.volumes.values() if tags.RECOVERY in volume.tags]
    return [machine.state for machine in machines] == ["terminated"] and not volumes


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


def test_one_that_dies_before_it_is_back_has_failed_and_leaves_nothing_behind() -> None:
    sim = played(MachineLife(dies_after=timedelta(minutes=2)))

    assert (the_restore(sim).state, the_restore(sim).address) == (RecoveryState.FAILED, None)
    assert is_gone(sim)
