"""Play a scenario from its first night to its last late event, and hold every night against the invariants."""

from datetime import timedelta

from tests.sim.invariants import Invariants
from tests.sim.night import A_DAY, Scenario, Simulation
from tests.sim.operator import Operator

THE_LAST_EVENT = timedelta(hours=25)
THE_LAST_COPY = timedelta(days=30)  # a receiver's are made one after the other, and each may take days


def play(scenario: Scenario) -> Simulation:
    """The world as it is afterwards. Raises AssertionError with the story of the night."""
    sim = Simulation(scenario)
    invariants = Invariants(sim)
    with sim.doors_open():
        sim.apply_in_fair_weather()
        sim.send_out_the_hosts()
        operator = Operator(sim)
        for deed in scenario.plan.deeds:
            operator.do(deed)
        for night in sim.nights:
            sim.go_through(night)
            invariants.check()
        sim.pass_time(sim.agenda.now + THE_LAST_EVENT)
        invariants.check()
        latest = sim.agenda.now + THE_LAST_COPY
        while (sim.uncopied() or sim.unfollowed()) and sim.agenda.now < latest:
            sim.pass_time(sim.agenda.now + A_DAY)
        invariants.check_the_end()
    return sim
