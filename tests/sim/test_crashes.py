"""The Lambda dies at any single call of any port: what is tried again ends where it would have ended anyway (C1)."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from chalicelib.core import tags
from tests.sim.faults import NO_TIME, CallFault, Deed, Does, FaultPlan, Says
from tests.sim.night import A_DAY, AN_HOUR, Scenario, Simulation
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy

SMALL = SomePolicy((Receiving(window="02:00-02:40", hosts=("us0",)),), "last = 1")
AFTER_THE_NIGHT = AN_HOUR
FEWEST_CALLS = {
    "tick, reconcile and prune": (Scenario(SMALL), NO_TIME, 100),
    "run_now": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.RUN_NOW, "main"),))), AFTER_THE_NIGHT, 60),
    "drill": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.DRILL, "us0"),))), AFTER_THE_NIGHT, 60),
    "restore": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.RESTORE, "us0"),))), AFTER_THE_NIGHT, 30),
    "rebuild": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.LOSE_THE_TABLE),))), AFTER_THE_NIGHT, 15),
    "apply": (Scenario(SMALL, FaultPlan(deeds=(Deed(AFTER_THE_NIGHT, Does.APPLY, "last = 3"),))), AFTER_THE_NIGHT, 5),
    "prune": (
        Scenario(SMALL, FaultPlan(deeds=(Deed(3 * A_DAY, Does.PRUNE),)), nights=3),
        3 * A_DAY - timedelta(minutes=1),
        5,
    ),
}


def the_end(sim: Simulation) -> tuple[object, ...]:
    """Everything that counts when all is over, without times, ids and numbers of attempts."""
    catalog, volumes = sim.catalog, sim.volumes
    snapshots = [(each.tags[tags.RUN], each.state, each.tags.get(tags.MARKED)) for each in volumes.snapshots.values()]
    return (
        [(run.id, run.state, run.why) for run in sim.runs()],
        sorted((str(run_id), host_id, result.status) for (run_id, host_id), result in catalog.results.items()),
        sorted((point.host_id, str(point.run), point.proven is None) for point in catalog.points.values()),
        [(each.id, each.kind, each.state, each.verdict) for each in catalog.find_recoveries()],
        sorted(snapshots, key=str),
        sorted(volume.tags[tags.ROLE] for volume in volumes.volumes.values()),
        sum(box.machine.state != "terminated" for box in sim.machines.boxes.values()),
        sim.archive.get(f"policies/{catalog.policy_version()}.toml"),
    )


def with_a_death(scenario: Scenario, since: timedelta, at: int, after: bool) -> Scenario:
    death = CallFault("*", Says.DIES, skip=at, has_effect=after, since=since, until=since + AN_HOUR)
    return replace(scenario, plan=replace(scenario.plan, calls=(death,)))


@pytest.mark.fault("C1")
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("flow", FEWEST_CALLS)
def test_a_lambda_that_dies_at_any_single_call_changes_nothing_about_the_end(flow: str, after: bool) -> None:
    scenario, since, fewest = FEWEST_CALLS[flow]
    undisturbed = the_end(play(scenario))

    for at in count():
        sim = play(with_a_death(scenario, since, at, after))
        assert the_end(sim) == undisturbed, f"call {at}\n{sim.story}"
        if not sim.weather.struck:
            break

    assert at >= fewest
