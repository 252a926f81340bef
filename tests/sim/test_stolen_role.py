"""Row X6, night after night: who stole a receiver's role once has written ahead what coming nights are asked about."""

import json
from collections.abc import Iterator

import pytest

from chalicelib.core.model import RunState
from chalicelib.core.night import MOST_ATTEMPTS
from tests.sim.faults import FaultPlan
from tests.sim.night import Scenario, Simulation
from tests.sim.play import play
from tests.sim.receiver import A_REPORT

NIGHTS = ("main/2026-11-23/1", "main/2026-11-24/1")
# What such a one may know: where runs without a nonce have theirs, and any nonce but that of a night to come.
PLACES = ("runs/{run}", "reports/{run}", "reports/{run}/words", "reports/{run}/hosts")
OF_OTHER_NIGHTS = tuple(
    f"reports/{{run}}/{nonce}/{place}" for nonce in ("", "f" * 32) for place in ("words", "hosts", "")
)


def places_of(run: str) -> Iterator[str]:
    return (place.format(run=run) for place in (*PLACES, *OF_OTHER_NIGHTS))


def a_forged_word(run: str, what: str, attempt: int) -> Iterator[tuple[str, bytes]]:
    said = {"clean": True, "read_only": True, "volume": {"id": "vol-1"}, "why": "says a stranger"}
    word = {"schema": 1, "run": run, "attempt": attempt, "at": "2026-11-22T12:00:00Z", **said}
    return ((f"{place}/{what}/{attempt}.json", json.dumps(word).encode()) for place in places_of(run))


def a_forged_report(run: str, name: str) -> Iterator[tuple[str, bytes]]:
    report = {**A_REPORT, "run": run, "host": name, "id": f"{name}a", "nonce": "0" * 32}
    return ((f"{place}/{name}a.json", json.dumps(report).encode()) for place in places_of(run))


def check_as_it_would_have_been(sim: Simulation) -> None:
    assert {str(run.id): run.state for run in sim.runs()} == dict.fromkeys(NIGHTS, RunState.DONE)
    assert len(sim.machines.boxes) == 2


@pytest.mark.fault("X6", lacks="reports and manifests of one host kept from who has the machine of another")
@pytest.mark.parametrize("what", ["ready", "released", "damaged", "refused"])
def test_x6_words_that_were_written_ahead_stop_no_coming_night(what: str) -> None:
    attempts = range(1, MOST_ATTEMPTS + 1)
    forged = tuple(word for run in NIGHTS for attempt in attempts for word in a_forged_word(run, what, attempt))

    sim = play(Scenario(plan=FaultPlan(forged=forged), nights=2))

    check_as_it_would_have_been(sim)


@pytest.mark.fault("X6", lacks="reports and manifests of one host kept from who has the machine of another")
def test_x6_reports_that_were_written_ahead_cost_no_host_a_coming_night() -> None:
    forged = tuple(report for run in NIGHTS for name in ("us0", "eu0") for report in a_forged_report(run, name))

    sim = play(Scenario(plan=FaultPlan(forged=forged), nights=2))

    check_as_it_would_have_been(sim)
    assert "rejected" not in str(sim.story)
    assert {str(point.run) for point in sim.catalog.find_points("us0a")} == set(NIGHTS)
