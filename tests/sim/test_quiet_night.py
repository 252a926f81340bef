"""The thinnest whole night: through the doors, held against the invariants, told so that a person can read it."""

from datetime import timedelta

from chalicelib.core.model import RunState
from tests.sim.faults import Fate, FaultPlan
from tests.sim.night import Scenario
from tests.sim.play import play
from tests.sim.policies import Receiving, SomePolicy


def test_a_quiet_night_leads_to_a_restore_point_of_every_host() -> None:
    sim = play(Scenario())

    assert [run.state for run in sim.runs()] == [RunState.DONE]
    assert {point.host_id for point in sim.catalog.find_points()} == {"us0a", "eu0a"}


def test_the_story_of_a_night_has_one_line_for_each_thing_in_the_order_of_time() -> None:
    story = str(play(Scenario()).story)

    told = ["opens main/2026-11-23/1", "us0 pushes to i-1", "i-1 is released", "begins snap-0002", "done: RecordPoints"]
    places = [story.find(line) for line in told]
    assert -1 not in places
    assert places == sorted(places)
    assert story.splitlines()[0].startswith("11-23 02:00:00")


def test_the_same_scenario_is_the_same_night_to_the_letter() -> None:
    scenario = Scenario(plan=FaultPlan(events=(Fate(2, timedelta(minutes=7)), Fate(0))), nights=2)

    assert str(play(scenario).story) == str(play(scenario).story)


def test_two_receivers_have_a_night_each() -> None:
    receivers = (Receiving(), Receiving("other", "12:00-13:00", "Pacific/Apia", ("ap0",)))

    sim = play(Scenario(SomePolicy(receivers), nights=2))

    assert {(run.id.receiver, run.state) for run in sim.runs()} == {("main", RunState.DONE), ("other", RunState.DONE)}
    assert len(sim.catalog.find_points("ap0a")) == 2
