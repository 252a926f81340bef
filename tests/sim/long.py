"""Many nights by lot, on every core: `make long`. What breaks is listed with the command that plays it again.

A seed is a scenario: `python -m tests.sim.long --seed 4711` plays that one again and tells its story. Every batch is
written down when it ends: called again, it goes on where the last one stopped; `--first-seed` begins anew.
"""

import argparse
import gc
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import count
from pathlib import Path
from random import Random

from tests.sim.chance import a_scenario
from tests.sim.play import play
from tests.sim.tally import Batch, Played, begin, result_of, resume, write_down

SEEDS_AT_ONCE = 50
BATCHES_A_RESULT = 20


def main() -> int:
    asked = _arguments()
    if asked.seed is not None:
        print(play(a_scenario(Random(asked.seed))).story)
        return 0
    if asked.first_seed is not None:
        begin(asked.ledger)
    known = resume(asked.ledger)
    first = max((batch.after for batch in known), default=asked.first_seed or 0)
    for number, batch in enumerate(_played(first, asked, sum(batch.nights for batch in known)), 1):
        known.append(batch)
        write_down(batch, asked.ledger)
        if number % BATCHES_A_RESULT == 0:
            _write_result(known, asked.result)
    _write_result(known, asked.result)
    print(asked.result.read_text(), end="")
    return 1 if any(each.broke for batch in known for each in batch.scenarios) else 0


def _write_result(known: list[Batch], result: Path) -> None:
    versions = {"python": sys.version.split()[0], "day": date.today().isoformat()}
    result.write_text(json.dumps({**result_of(known), **versions}, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=_a_number, default=100_000, help="at least so many, with the ledger's")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no longer than this, however many those are")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--first-seed", type=int, help="begin anew, with this one")
    parser.add_argument("--ledger", type=Path, default=Path("build/long-nights.jsonl"))
    parser.add_argument("--result", type=Path, default=Path("tests/sim/long-nights.json"))
    parser.add_argument("--seed", type=int, help="only this one, with its story")
    return parser.parse_args()


def _a_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number of nights from 1 up")
    return int(text)


def _played(first: int, asked: argparse.Namespace, nights: int) -> Iterator[Batch]:
    """Batch after batch, in the order of the seeds, until there are enough nights or the time is up; one at least."""
    if nights >= asked.nights:
        return
    began = time.monotonic()
    seeds = (range(begins, begins + SEEDS_AT_ONCE) for begins in count(first, SEEDS_AT_ONCE))
    with ProcessPoolExecutor(asked.workers, initializer=_think_less_of_garbage) as pool:
        coming = deque(pool.submit(play_batch, next(seeds)) for _ in range(asked.workers + 1))
        is_over = False
        while not is_over:
            batch = coming.popleft().result()
            coming.append(pool.submit(play_batch, next(seeds)))
            nights += batch.nights
            yield batch
            is_over = nights >= asked.nights or time.monotonic() - began >= 60 * asked.minutes
        pool.shutdown(cancel_futures=True)


def _think_less_of_garbage() -> None:
    """A tenth of the time: what is imported stays, and a scenario's world is small."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def play_batch(seeds: range) -> Batch:
    """All of them, whatever breaks."""
    began = time.process_time()
    return Batch(tuple(map(_play, seeds)), round(time.process_time() - began, 1))


def _play(seed: int) -> Played:
    scenario = a_scenario(Random(seed))
    try:
        sim = play(scenario)
    except Exception as fault:  # noqa: BLE001
        return Played(seed, 0, broke=str(fault).split("\n\n")[0])
    return Played(seed, len(sim.nights), dict(sim.weather.counted))


if __name__ == "__main__":
    sys.exit(main())
