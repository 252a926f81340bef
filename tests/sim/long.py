"""Many nights by lot, on every core: `make long`. Ends with 1, and the story, at the first seed that breaks something.

A seed is a scenario: `python -m tests.sim.long --seed 4711` plays that one again and tells its story.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from random import Random

from tests.sim.chance import a_scenario
from tests.sim.play import play

SEEDS_AT_ONCE = 100


def main() -> int:
    asked = _arguments()
    if asked.seed is not None:
        print(play(a_scenario(Random(asked.seed))).story)
        return 0
    began = time.monotonic()
    seeds, nights = 0, 0
    with ProcessPoolExecutor(asked.workers) as pool:
        for batch in pool.map(play_batch, _batches(asked.nights)):
            seeds, nights = seeds + SEEDS_AT_ONCE, nights + batch[0]
            if batch[1]:
                print(batch[1])
                pool.shutdown(cancel_futures=True)
                return 1
            if time.monotonic() - began >= 60 * asked.minutes:
                pool.shutdown(cancel_futures=True)
                break
    seconds = time.monotonic() - began
    result = {
        "nights": nights,
        "scenarios": seeds,
        "broken": 0,
        "seconds": round(seconds),
        "nights_per_second": round(nights / seconds, 1),
        "workers": asked.workers,
        "python": sys.version.split()[0],
        "day": date.today().isoformat(),
    }
    asked.result.write_text(json.dumps(result, indent=2) + "\n")
    print(asked.result.read_text(), end="")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=100_000, help="at least this many")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no longer than this, however many those are")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--result", type=Path, default=Path("tests/sim/long-nights.json"))
    parser.add_argument("--seed", type=int, help="only this one, with its story")
    return parser.parse_args()


def _batches(nights: int) -> Iterator[range]:
    """A scenario has between three and four nights of receivers on the average, counted as three here."""
    return iter([range(first, first + SEEDS_AT_ONCE) for first in range(0, nights // 3, SEEDS_AT_ONCE)])


def play_batch(seeds: range) -> tuple[int, str]:
    """How many nights of receivers these were, and what broke."""
    nights = 0
    for seed in seeds:
        scenario = a_scenario(Random(seed))
        try:
            nights += len(play(scenario).nights)
        except Exception as fault:  # noqa: BLE001
            return nights, f"seed {seed}: {fault}"
    return nights, ""


if __name__ == "__main__":
    sys.exit(main())
