"""What many nights have shown: nothing of it is lost, and it is counted by night."""

from pathlib import Path

import pytest

from tests.sim.long import play_batch
from tests.sim.tally import Batch, Played, begin, result_of, resume, write_down

QUIET = Played(7, nights=2, calls={"volumes.tag": 10, "machines.find": 4})
BUSY = Played(8, nights=1, calls={"volumes.tag": 35})
BROKEN = Played(9, nights=0, broke="I5: what does not hold")


def test_a_batch_that_was_written_down_is_known_again_and_one_cut_short_is_not(tmp_path: Path) -> None:
    ledger = tmp_path / "build" / "nights.jsonl"
    begin(ledger)
    for batch in (Batch((QUIET,), 1.5), Batch((BUSY, BROKEN), 0.5)):
        write_down(batch, ledger)
    with ledger.open("a") as lines:
        lines.write('{"scenarios":[{"seed":10')

    assert resume(ledger) == [Batch((QUIET,), 1.5), Batch((BUSY, BROKEN), 0.5)]
    assert result_of(resume(ledger))["next_seed"] == 10


@pytest.mark.parametrize("left", ['{"scenarios":[{"seed":8', '{"scenarios":[{"seed":8,"calls":{}'])
def test_what_is_written_down_after_a_batch_that_was_cut_short_is_known_again(tmp_path: Path, left: str) -> None:
    ledger = tmp_path / "nights.jsonl"
    begin(ledger)
    write_down(Batch((QUIET,), 1.5), ledger)
    with ledger.open("a") as lines:
        lines.write(left)

    resume(ledger)
    write_down(Batch((BUSY,), 0.5), ledger)

    assert resume(ledger) == [Batch((QUIET,), 1.5), Batch((BUSY,), 0.5)]


def test_the_very_first_time_nothing_is_known_and_the_first_batch_can_be_written_down(tmp_path: Path) -> None:
    ledger = tmp_path / "build" / "nights.jsonl"

    assert resume(ledger) == []
    write_down(Batch((QUIET,), 1.5), ledger)
    assert resume(ledger) == [Batch((QUIET,), 1.5)]


def test_calls_are_counted_by_night_and_what_broke_is_named_with_the_way_to_play_it_again() -> None:
    result = result_of([Batch((QUIET, BUSY, BROKEN), 2.0)])

    assert result["calls_a_night"]["volumes.tag"] == {"mean": 15.0, "p50": 20.0, "max": 35.0}
    assert result["calls_a_night"]["machines.find"] == {"mean": 1.3, "p50": 1.0, "max": 2.0}
    assert result["broken"] == [{"replay": "python -m tests.sim.long --seed 9", "why": "I5: what does not hold"}]
    assert (result["nights"], result["scenarios"], result["nights_per_processor_second"]) == (3, 3, 1.5)


def test_a_batch_of_seeds_is_played_as_it_was_drawn() -> None:
    first, again = play_batch(range(4711, 4713)), play_batch(range(4711, 4713))

    assert first.scenarios == again.scenarios
    assert [each.seed for each in first.scenarios] == [4711, 4712]
    assert all(each.calls["machines.find"] > 10 for each in first.scenarios)
