"""Restore points opened to their hosts, in simulated worlds: beside a night, whatever a machine does, over there."""

from datetime import timedelta

import pytest

from chalicelib.core import tags
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState
from tests.sim.ending import the_end
from tests.sim.faults import Deed, Does, Fate, FaultPlan, MachineLife
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.test_rows_regions import after_nights, followed, there

BEFORE_THE_SECOND_NIGHT = A_DAY - timedelta(minutes=20)
OPEN = Deed(AN_HOUR, Does.OPEN, "us0")


def the_opening(sim: Simulation) -> Recovery:
    (opening,) = (each for each in sim.catalog.find_recoveries() if each.kind is RecoveryKind.OPENING)
    return opening


def is_all_gone(sim: Simulation) -> bool:
    machines = {box.machine.state for box in sim.machines.boxes.values()}
    return machines == {"terminated"} and {each.tags[tags.ROLE] for each in sim.volumes.volumes.values()} == {"data"}


def but_for_recoveries(sim: Simulation) -> tuple[object, ...]:
    runs, results, points, _, *rest = the_end(sim)
    return runs, results, points, *rest


def test_an_opening_stands_for_an_hour_and_leaves_nothing_behind() -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(OPEN,))))

    opening = the_opening(sim)
    assert (opening.state, opening.verdict) == (RecoveryState.DONE, "opened")
    assert opening.closed is not None
    assert opening.closed - opening.opened >= AN_HOUR
    assert is_all_gone(sim)


def test_beside_a_night_neither_touches_the_other() -> None:
    """It is opened before the window, and stands while the hosts push."""
    quiet = play(Scenario(nights=2))

    sim = play(Scenario(plan=FaultPlan(deeds=(Deed(BEFORE_THE_SECOND_NIGHT, Does.OPEN, "us0"),)), nights=2))

    opening, (second, _) = the_opening(sim), sim.runs()
    (machine,) = (box.machine for box in sim.machines.boxes.values() if tags.RECOVERY in box.machine.tags)
    assert opening.closed is not None
    assert opening.opened < second.opened < opening.closed
    assert str(opening.point.run) == "main/2026-11-23/1"
    assert opening.address == f"10.0.0.{machine.id.removeprefix('i-')}"
    assert opening.address not in sim.address.names.values()
    assert sim.address.names == {name: f"10.0.0.{len(sim.machines.boxes)}" for name in sim.address.names}
    assert but_for_recoveries(sim) == but_for_recoveries(quiet)


@pytest.mark.parametrize(
    "life",
    [
        MachineLife(hangs=True),
        MachineLife(gets_ready=False, hangs=True),
        MachineLife(boots_in=timedelta(minutes=50), hangs=True),
        MachineLife(dies_after=timedelta(minutes=1)),
        MachineLife(dies_after=timedelta(minutes=20)),
    ],
    ids=["hangs", "never opens", "opens too late", "dies at once", "dies while it stands"],
)
def test_whatever_its_machine_does_it_ends_and_leaves_nothing_behind(life: MachineLife) -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(OPEN,), machines=(MachineLife(), life))))

    assert the_opening(sim).state.is_final
    assert is_all_gone(sim)


@pytest.mark.parametrize("lost", ["events", "invocations"])
def test_with_every_event_or_every_second_invocation_lost_it_opens_and_ends_all_the_same(lost: str) -> None:
    fates = {"events": (Fate(copies=0),), "invocations": (Fate(), Fate(copies=0))}

    sim = play(Scenario(plan=FaultPlan(deeds=(OPEN,), **{lost: fates[lost]})))  # type: ignore[arg-type]

    assert (the_opening(sim).state, the_opening(sim).verdict) == (RecoveryState.DONE, "opened")
    assert is_all_gone(sim)


def test_closed_early_it_is_gone_early() -> None:
    sim = play(Scenario(plan=FaultPlan(deeds=(OPEN, Deed(AN_HOUR + timedelta(minutes=20), Does.CLOSE, "us0")))))

    opening = the_opening(sim)
    assert opening.closed is not None
    assert opening.closed - opening.opened < timedelta(minutes=30)
    assert (opening.state, opening.verdict) == (RecoveryState.DONE, "opened")
    assert is_all_gone(sim)


def test_when_the_region_is_out_the_other_one_opens_a_copy_to_its_host() -> None:
    sim = after_nights(2, there())
    followed(sim)
    sim.lose_the_region()

    with sim.doors_open():
        sim.standby.call("open_host", host="us0", minutes=60)
        sim.standby.pass_time(2 * AN_HOUR)

    (opening,) = sim.standby.catalog.find_recoveries()
    assert (opening.state, opening.verdict) == (RecoveryState.DONE, "opened")
    assert [box.machine.state for box in sim.standby.machines.boxes.values()] == ["terminated"]
    assert sim.standby.volumes.volumes == {}
