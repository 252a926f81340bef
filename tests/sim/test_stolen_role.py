"""Row X6, night after night: who stole a receiver's role once has written ahead what coming nights are asked about."""

import json

import pytest

from chalicelib.core.model import RunState
from chalicelib.core.night import MOST_ATTEMPTS
from tests.sim.faults import FaultPlan
from tests.sim.night import Scenario
from tests.sim.play import play

NIGHTS = ("main/2026-11-23/1", "main/2026-11-24/1")


def a_forged_word(run: str, what: str, attempt: int) -> tuple[str, bytes]:
    said = {"clean": True, "read_only": True, "volume": {"id": "vol-1"}, "why": "says a stranger"}
    word = {"schema": 1, "run": run, "attempt": attempt, "at": "2026-11-22T12:00:00Z", **said}
    return f"runs/{run}/{what}/{attempt}.json", json.dumps(word).encode()


@pytest.mark.fault("X6", lacks="reports and manifests of one host kept from who has the machine of another")
@pytest.mark.parametrize("what", ["ready", "released", "damaged", "refused"])
def test_x6_words_that_were_written_ahead_stop_no_coming_night(what: str) -> None:
    attempts = range(1, MOST_ATTEMPTS + 1)
    forged = tuple(a_forged_word(run, what, attempt) for run in NIGHTS for attempt in attempts)

    sim = play(Scenario(plan=FaultPlan(forged=forged), nights=2))

    assert {str(run.id): run.state for run in sim.runs()} == dict.fromkeys(NIGHTS, RunState.DONE)
    assert len(sim.machines.boxes) == 2
