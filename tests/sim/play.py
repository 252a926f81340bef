"""Play a scenario from its first night to its last late event, and hold every night against the invariants."""

from tests.sim.invariants import Invariants
from tests.sim.night import Scenario, Simulation


def play(scenario: Scenario) -> Simulation:
    """The world as it is afterwards. Raises AssertionError with the story of the night."""
    sim = Simulation(scenario)
    invariants = Invariants(sim)
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        for night in sim.nights:
            sim.go_through(night)
            invariants.check()
        sim.let_a_day_pass()
        invariants.check()
    return sim
