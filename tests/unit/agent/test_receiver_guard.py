"""The receiver's own guard, on numbers: what is a loss, and what is not."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ebbtide_agent.manifest import Before, ManifestSummary
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.guard import FEWEST_LOST_BYTES, FEWEST_LOST_ENTRIES, guarded
from ebbtide_agent.receiver.history import MOST_NIGHTS, Held, remembered
from ebbtide_agent.report import parse_report

WIRE = Path(__file__).parents[2] / "contract/wire"
MIB = 1 << 20
HOST = parse_brief((WIRE / "brief-receiver.json").read_bytes()).hosts[0]
REPORT = parse_report((WIRE / "report.json").read_bytes())


def landed(entries: int, size: int, before: Before) -> ManifestSummary:
    return ManifestSummary("", "", entries, entries, size, 0, 0, 0, "", before)


@pytest.mark.parametrize(
    ("entries", "size", "before", "loss"),
    [
        (10, 10, Before(0, 0, 0, 0), None),
        (200, 50, Before(400, 50, 50, 50), None),
        (199, 50, Before(400, 50, 50, 50), "of 400 entries of the last complete night 199 are left"),
        (50, 50, Before(150, 50, 50, 50), "of 150 entries of the last complete night 50 are left"),
        (51, 50, Before(150, 50, 50, 50), None),
        (2, 50, Before(4, 3, 50, 1), None),
        (1, 0, Before(3, 2, 50, 0), "of 3 entries of the last complete night 1 are left"),
        (100, 10 * MIB, Before(100, 100, 20 * MIB, 100), None),
        (
            100,
            5 * MIB,
            Before(100, 100, 15 * MIB, 100),
            f"of {15 * MIB} bytes of the last complete night {5 * MIB} are",
        ),
        (100, 5 * MIB + 1, Before(100, 100, 15 * MIB, 100), None),
        (2000, 2000, Before(2000, 2000, 2000, 1000), None),
        (2000, 2000, Before(2000, 2000, 2000, 999), "of 2000 files of the last complete night 1001 are gone or have"),
        (2, 50, Before(0, 0, 0, 0, "ended early"), "manifest of the last complete night cannot be read"),
        (999, 999, Before(999, 999, 999, 0), None),
        (1000, 1000, Before(1000, 1000, 1000, 0), "of 1000 files of the last complete night 1000 are gone or have"),
    ],
)
def test_what_is_a_loss(entries: int, size: int, before: Before, loss: "str | None") -> None:
    judged = guarded(REPORT, HOST, landed(entries, size, before), ())

    assert judged.status == ("suspect" if loss else REPORT.status)
    assert (loss or "") in " ".join(judged.problems)
    assert guarded(REPORT, replace(HOST, guarded=False), landed(entries, size, before), ()) == REPORT


def before(number: int, entries: int, size: int = 0) -> Before:
    """The night of this number, all of whose files are there as they were."""
    return Before(entries, entries, size, entries, run=f"main/{number}")


@pytest.mark.parametrize(
    ("entries", "size", "loss"),
    [
        (700, 30 * MIB, None),
        (699, 30 * MIB, "of 1400 entries of main/2, the most of 3 complete nights, 699 are left"),
        (700, 30 * MIB - 1, f"of {60 * MIB} bytes of main/1, the most of 3 complete nights, {30 * MIB - 1} are left"),
        (499, 30 * MIB, "of 1000 entries of the last complete night 499 are left"),
    ],
)
def test_what_went_in_several_nights_is_a_loss_as_what_went_in_one(entries: int, size: int, loss: "str | None") -> None:
    nights = (Held("main/1", 1200, 60 * MIB), Held("main/2", 1400, 50 * MIB), Held("main/3", 1000, 40 * MIB))

    judged = guarded(REPORT, HOST, landed(entries, size, before(3, 1000, 40 * MIB)), nights)

    assert judged.status == ("suspect" if loss else REPORT.status)
    assert (loss or "") in judged.problems[0] if judged.problems else loss is None


def test_a_night_is_remembered_once_and_as_long_as_so_many_have_not_followed_it() -> None:
    nights: tuple[Held, ...] = ()
    for number in range(MOST_NIGHTS + 1):
        for _ in range(2):
            nights = remembered(nights, before(number, number))

    assert nights == tuple(Held(f"main/{number}", number, 0) for number in range(1, MOST_NIGHTS + 1))


@pytest.mark.parametrize("nothing", [Before(0, 0, 0, 0), replace(before(2, 5), damage="ended early")])
def test_what_is_not_there_or_cannot_be_read_is_no_night_to_remember(nothing: Before) -> None:
    nights = (Held("main/1", 7, 0),)

    assert remembered(nights, nothing) == nights


SIZES = some.integers(0, 64).map(lambda half: (1 << 30) * 2 // (half + 2))


@given(
    some.lists(some.tuples(some.integers(1, 5000), SIZES, some.sampled_from([True, True, True, False])), max_size=80)
)
def test_no_run_of_complete_nights_ends_with_less_than_half_of_what_the_fullest_of_its_window_held(
    counts: "list[tuple[int, int, bool]]",
) -> None:
    """Those that the operator has called meant begin another run; those that are suspect are in none."""
    complete: list[tuple[int, int]] = []
    nights, last = (), Before(0, 0, 0, 0)
    for number, (entries, size, is_guarded) in enumerate(counts):
        host = replace(HOST, guarded=is_guarded)
        nights = remembered(nights, last) if is_guarded else ()

        if not guarded(REPORT, host, landed(entries, size, last), nights).is_complete:
            assert is_guarded
            continue

        last = before(number, entries, size)
        complete = [*complete, (entries, size)][-MOST_NIGHTS - 1 :] if is_guarded else [(entries, size)]
        most_entries, most_bytes = max(each for each, _ in complete), max(each for _, each in complete)
        assert entries * 2 >= most_entries or most_entries - entries < FEWEST_LOST_ENTRIES
        assert size * 2 >= most_bytes or most_bytes - size < FEWEST_LOST_BYTES
