"""At every single call of a port in turn: the Lambda dies there, or another one does all the same work in between.

Either way everything ends where it would have ended anyway. Another one comes between looks, too, in `make long`.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import count, product

import pytest

from tests.patience import HAS_PATIENCE
from tests.sim.ending import the_end
from tests.sim.faults import NO_TIME, CallFault, Deed, Does, FaultPlan, MachineLife, NoRoom, Pace, Says
from tests.sim.night import A_DAY, AN_HOUR, Scenario
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy

SMALL = SomePolicy((Receiving(window="02:00-02:40", hosts=("us0",)),), "last = 1")
AFTER_THE_NIGHT = AN_HOUR
TO_STAND = timedelta(minutes=10)
# For each of them to do all that it does; afterwards it is looked at again and again, and nothing is new.
LONG_ENOUGH = timedelta(minutes=30)
# The night's own does well; that of the restore does not begin. Both of that are in another zone than it was.
A_SILENT_SECOND = (MachineLife(), MachineLife(gets_ready=False))
A_FULL_ZONE = (NoRoom("zone-a", AFTER_THE_NIGHT),)
FEWEST_CALLS = {
    "tick, reconcile and prune": (Scenario(SMALL), NO_TIME, 100),
    "run_now": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.RUN_NOW, "main"),))), AFTER_THE_NIGHT, 60),
    "drill": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.DRILL, "us0"),))), AFTER_THE_NIGHT, 30),
    "restore": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.RESTORE, "us0"),))), AFTER_THE_NIGHT, 30),
    "replace": (
        Scenario(
            SMALL,
            FaultPlan(
                deeds=(Deed(AFTER_THE_NIGHT, Does.RESTORE, "us0"),), machines=A_SILENT_SECOND, no_room=A_FULL_ZONE
            ),
        ),
        AFTER_THE_NIGHT,
        50,
    ),
    "open": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.OPEN, "us0"),))), AFTER_THE_NIGHT, 40),
    "close": (
        Scenario(
            SMALL,
            FaultPlan(
                deeds=(Deed(AFTER_THE_NIGHT, Does.OPEN, "us0"), Deed(AFTER_THE_NIGHT + TO_STAND, Does.CLOSE, "us0"))
            ),
        ),
        AFTER_THE_NIGHT + TO_STAND,
        10,
    ),
    "rebuild": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.LOSE_THE_TABLE),))), AFTER_THE_NIGHT, 15),
    "apply": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.APPLY, "last = 3"),))), AFTER_THE_NIGHT, 5),
    "prune": (
        Scenario(SMALL, FaultPlan(deeds=(Deed(3 * A_DAY, Does.PRUNE),)), nights=3),
        3 * A_DAY - timedelta(minutes=1),
        5,
    ),
}


def with_a_fault(fault: Says, scenario: Scenario, since: timedelta, at: int, at_deeds: bool) -> Scenario:
    has_effect, until = fault is Says.DIES, since + LONG_ENOUGH
    call = CallFault("*", fault, at, has_effect=has_effect, at_deeds=at_deeds, since=since, until=until)
    return replace(scenario, plan=replace(scenario.plan, calls=(call,)))


@pytest.mark.fault("C1")
@pytest.mark.parametrize("flow", FEWEST_CALLS)
def test_c1_a_lambda_that_dies_after_any_single_call_changes_nothing_about_the_end(flow: str) -> None:
    """To die before a call, or after one that only looks, is to die after the last one, or never to have begun."""
    scenario, since, fewest = FEWEST_CALLS[flow]
    undisturbed = the_end(play(scenario))

    for at in count():
        sim = play(with_a_fault(Says.DIES, scenario, since, at, at_deeds=True))
        assert the_end(sim) == undisturbed, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    # The others look at what is there, after something that has been done.
    assert at >= fewest // 2


@pytest.mark.fault("C3")
@pytest.mark.parametrize(
    ("flow", "minutes"),
    # Until it replaces its machine a replace is a restore, and has the most calls of all: once is enough.
    [*product(["tick, reconcile and prune", "drill", "restore", "open", "close"], [0, 3]), ("replace", 3)],
    ids=lambda value: {0: "shown at once", 3: "shown late"}.get(value, value),
)
def test_c3_another_invocation_between_any_two_calls_changes_nothing_about_the_end(flow: str, minutes: int) -> None:
    """Before what does something, that is; before each look, with patience, where what was made is shown at once."""
    scenario, since, fewest = FEWEST_CALLS[flow]
    at_deeds = not HAS_PATIENCE or (bool(minutes) and flow != "replace")
    scenario = replace(scenario, plan=replace(scenario.plan, pace=Pace(to_show=timedelta(minutes=minutes))))
    quiet = play(scenario)

    for at in count():
        sim = play(with_a_fault(Says.RIVAL, scenario, since, at, at_deeds))
        assert the_end(sim) == the_end(quiet), f"call {at}\n{sim.story}"
        assert len(sim.machines.boxes) == len(quiet.machines.boxes), f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at >= (fewest // 2 if at_deeds else fewest)
