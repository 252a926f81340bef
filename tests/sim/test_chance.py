"""Policies, faults and orders of events drawn by lot: after every night the invariants hold.

`make long` plays a hundred thousand nights and more; what Hypothesis shrinks a failure to can be pasted into a test.
"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.chance import a_scenario
from tests.sim.play import play

SCENARIOS = 30
FEWEST_NIGHTS = 50


def test_whatever_happens_the_invariants_hold_after_every_night() -> None:
    played: list[int] = []

    @settings(max_examples=SCENARIOS, deadline=None, derandomize=True)
    @given(lot=st.randoms(use_true_random=False))
    def play_one(lot: Random) -> None:
        played.append(len(play(a_scenario(lot)).nights))

    play_one()

    assert len(played) >= SCENARIOS
    assert sum(played) >= FEWEST_NIGHTS
