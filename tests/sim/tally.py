"""What many nights by lot have shown so far: kept batch by batch, so that a run that is killed has lost nothing.

The ledger has a line for every batch, the result is what they say together.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Played:
    """One scenario: how many nights of receivers it had, how often each call of a port was made, and what broke."""

    seed: int
    nights: int
    calls: Mapping[str, int] = field(default_factory=dict)
    broke: str = ""


@dataclass(frozen=True)
class Batch:
    """Some scenarios in a row, and how long they took one processor."""

    scenarios: tuple[Played, ...]
    seconds: float

    @property
    def first_seed(self) -> int:
        return self.scenarios[0].seed

    @property
    def after(self) -> int:
        return self.scenarios[-1].seed + 1

    @property
    def nights(self) -> int:
        return sum(each.nights for each in self.scenarios)


def begin(ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("")


def resume(ledger: Path) -> list[Batch]:
    """Every whole line. What a kill has left of one is cut off, or the next batch would go on in its middle."""
    if not ledger.exists():
        begin(ledger)
    known = ledger.read_bytes()
    whole = known[: known.rfind(b"\n") + 1]
    os.truncate(ledger, len(whole))
    return [_batch(json.loads(line)) for line in whole.splitlines()]


def write_down(batch: Batch, ledger: Path) -> None:
    with ledger.open("a") as lines:
        lines.write(json.dumps(asdict(batch), separators=(",", ":")) + "\n")


def _batch(line: dict[str, Any]) -> Batch:
    return Batch(tuple(Played(**each) for each in line["scenarios"]), line["seconds"])


def result_of(batches: Iterable[Batch]) -> dict[str, Any]:
    """What is known of all of them together. Scenarios that broke have no part in the counts of calls."""
    known = list(batches)
    scenarios = [each for batch in known for each in batch.scenarios]
    nights, seconds = sum(each.nights for each in scenarios), sum(batch.seconds for batch in known)
    return {
        "nights": nights,
        "scenarios": len(scenarios),
        "first_seed": min(batch.first_seed for batch in known),
        "next_seed": max(batch.after for batch in known),
        "broken": [_replay(each) for each in scenarios if each.broke],
        "processor_seconds": round(seconds),
        "nights_per_processor_second": round(nights / seconds, 1),
        "calls_a_night": _calls([each for each in scenarios if each.nights and not each.broke]),
    }


def _replay(broken: Played) -> dict[str, str]:
    return {"replay": f"python -m tests.sim.long --seed {broken.seed}", "why": broken.broke}


def _calls(scenarios: list[Played]) -> dict[str, dict[str, float]]:
    """Of all ports, and of each call: the mean of all nights, median and most of the scenarios' own means."""
    totals: Counter[str] = Counter()
    for each in scenarios:
        totals.update(each.calls)
    return {"all": _spread([(sum(each.calls.values()), each.nights) for each in scenarios])} | {
        call: _spread([(each.calls.get(call, 0), each.nights) for each in scenarios]) for call in sorted(totals)
    }


def _spread(counted: list[tuple[int, int]]) -> dict[str, float]:
    a_night = [calls / nights for calls, nights in counted] or [0.0]
    nights = sum(nights for _, nights in counted) or 1
    return {
        "mean": round(sum(calls for calls, _ in counted) / nights, 1),
        "p50": round(median(a_night), 1),
        "max": round(max(a_night), 1),
    }
