"""`ebbtide keep`: what rules mean, tried on times from standard input, as restic would have it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.retention import NO_RULES, Rules
from chalicelib.core.trial import parse_times, try_rules
from ebbtide_console.cli.main import main

# A crowded half-year: several of an hour, of a day and of a week, two years, a gap, and a leap day.
HISTORY = """\
2023-12-31T23:00:00Z
2024-01-01T01:00:00Z
2024-02-28T03:00:00Z
2024-02-29T03:00:00Z
2024-02-29T03:30:00Z
2024-02-29T21:00:00Z
2024-03-01T03:00:00Z
2024-03-03T23:59:59Z
2024-03-04T00:00:00Z
2024-04-30T03:00:00Z
2024-05-01T03:00:00Z
2024-05-01T03:15:00Z
"""

# What `restic forget --keep-*` keeps of that history: worked out by hand from its manual and its counting loop.
GOLDEN = {
    ("--last", "2"): ["2024-05-01T03:15:00Z", "2024-05-01T03:00:00Z"],
    ("--hourly", "3"): ["2024-05-01T03:15:00Z", "2024-04-30T03:00:00Z", "2024-03-04T00:00:00Z"],
    ("--daily", "4"): ["2024-05-01T03:15:00Z", "2024-04-30T03:00:00Z", "2024-03-04T00:00:00Z", "2024-03-03T23:59:59Z"],
    # 2024-05-01 and 04-30 share an ISO week, 03-03 is the Sunday before the Monday 03-04.
    ("--weekly", "3"): ["2024-05-01T03:15:00Z", "2024-03-04T00:00:00Z", "2024-03-03T23:59:59Z"],
    ("--monthly", "3"): ["2024-05-01T03:15:00Z", "2024-04-30T03:00:00Z", "2024-03-04T00:00:00Z"],
    # Three years are wanted and two there are: the oldest stands in for the third.
    ("--yearly", "3"): ["2024-05-01T03:15:00Z", "2023-12-31T23:00:00Z"],
    ("--daily", "2", "--monthly", "4"): [
        "2024-05-01T03:15:00Z",
        "2024-04-30T03:00:00Z",
        "2024-03-04T00:00:00Z",
        "2024-02-29T21:00:00Z",
    ],
    ("--last", "1", "--yearly", "-1"): ["2024-05-01T03:15:00Z", "2023-12-31T23:00:00Z"],
    # Weekly is satisfied only by the oldest: 2024-01-01 is a Monday, 2023-12-31 the Sunday before.
    ("--weekly", "9"): [
        "2024-05-01T03:15:00Z",
        "2024-03-04T00:00:00Z",
        "2024-03-03T23:59:59Z",
        "2024-01-01T01:00:00Z",
        "2023-12-31T23:00:00Z",
    ],
}


class Typed(io.BytesIO):
    """Standard input as `sys.stdin` is: text, with its bytes behind it."""

    @property
    def buffer(self) -> io.BytesIO:
        return self


def keep(monkeypatch: pytest.MonkeyPatch, text: str | bytes, *options: str) -> int:
    monkeypatch.setattr(sys, "stdin", Typed(text if isinstance(text, bytes) else text.encode()))
    return main(["keep", *options])


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, *options: str) -> object:
    assert keep(monkeypatch, text, *options, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("options", GOLDEN, ids=" ".join)
def test_the_rules_keep_what_restic_keeps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: Sequence[str]
) -> None:
    told = answer(monkeypatch, capsys, HISTORY, *options)

    assert isinstance(told, dict)
    assert [each["at"] for each in told["keep"]] == GOLDEN[tuple(options)]
    assert sorted(each["at"] for part in told.values() for each in part) == sorted(HISTORY.split())


def test_the_answer_has_exactly_these_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "2026-11-22T03:00:00Z\n\n  2026-11-23T03:00:00Z  \n2026-11-23T02:00:00Z\n"

    told = answer(monkeypatch, capsys, text, "--daily", "3")

    assert told == {
        "keep": [
            {"at": "2026-11-23T03:00:00Z", "reasons": ["daily snapshot"]},
            {"at": "2026-11-22T03:00:00Z", "reasons": ["daily snapshot"]},
        ],
        "expire": [{"at": "2026-11-23T02:00:00Z"}],
    }


def test_nothing_in_is_nothing_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(monkeypatch, capsys, "\n \n", "--daily", "3") == {"keep": [], "expire": []}


def test_without_a_rule_nothing_expires(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(monkeypatch, capsys, HISTORY)

    assert isinstance(told, dict)
    assert told["expire"] == []
    assert {reason for each in told["keep"] for reason in each["reasons"]} == {NO_RULES}


def test_without_json_every_time_is_a_line_with_its_reasons(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "2026-11-21T03:00:00Z\n2026-11-22T03:00:00Z\n2026-11-23T03:00:00Z\n"

    keep(monkeypatch, text, "--last", "1", "--yearly", "2")

    assert capsys.readouterr().out.splitlines() == [
        "keep    2026-11-23T03:00:00Z  last snapshot, yearly snapshot",
        "expire  2026-11-22T03:00:00Z",
        "keep    2026-11-21T03:00:00Z  oldest yearly snapshot",
    ]


def test_every_bad_line_is_told_with_its_number_and_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = keep(monkeypatch, b"2026-11-23T03:00:00Z\n\nyesterday\n2026-13-01\n\xff\xfe\n", "--last", "1")

    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert said.err.splitlines()[:2] == [
        "ebbtide: line 3: 'yesterday', expected a time in ISO 8601 like 2026-11-23T03:00:00Z",
        "ebbtide: line 4: '2026-13-01', expected a time in ISO 8601 like 2026-11-23T03:00:00Z",
    ]
    assert said.err.splitlines()[2].startswith("ebbtide: line 5: ")


@pytest.mark.parametrize("count", ["-2", "all", "1.5", "", "٣", "1_0", "9" * 5000])
def test_what_is_no_count_is_a_fault_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    with pytest.raises(SystemExit) as left:
        keep(monkeypatch, HISTORY, "--daily", count)

    assert left.value.code == 2
    assert "expected a count from 0 up, or -1 to keep all" in capsys.readouterr().err


def test_a_time_without_an_offset_is_utc_and_one_with_an_offset_is_the_instant_it_names() -> None:
    times, faults = parse_times(["2026-11-23T03:00:00", "2026-11-23 16:00:00+13:00", "2026-11-23"])

    assert faults == ()
    assert times == (
        datetime(2026, 11, 23, 3, tzinfo=UTC),
        datetime(2026, 11, 23, 3, tzinfo=UTC),
        datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_a_time_no_clock_of_ours_reaches_is_a_bad_line() -> None:
    _, faults = parse_times(["0001-01-01T00:00:00+14:00"])

    assert [fault.split(":")[0] for fault in faults] == ["line 1"]


def test_the_same_instant_twice_is_two_points() -> None:
    twice = [datetime(2026, 11, 23, 3, tzinfo=UTC)] * 2

    assert [bool(each.reasons) for each in try_rules(twice, Rules(last=2))] == [True, True]
    assert [bool(each.reasons) for each in try_rules(twice, Rules(daily=1))] == [True, False]


zones = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
time_lists = st.lists(st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=zones), max_size=30)


@given(st.data(), time_lists, st.builds(Rules, last=st.integers(-1, 3), daily=st.integers(-1, 5)))
def test_neither_the_order_nor_the_offset_of_the_times_matters(
    data: st.DataObject, times: list[datetime], rules: Rules
) -> None:
    shuffled = data.draw(st.permutations([at.astimezone(UTC) for at in times]))

    assert try_rules(shuffled, rules) == try_rules(times, rules)


def test_a_reader_who_has_had_enough_is_no_fault_to_tell_of(tmp_path: Path) -> None:
    times = tmp_path / "times"
    times.write_text("2026-11-23\n" * 20_000)

    with times.open() as lines:
        told = subprocess.Popen(
            [sys.executable, "-m", "ebbtide_console", "keep", "--last=-1"],
            stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ".:agent"},
        )  # fmt: skip
        assert told.stdout is not None
        told.stdout.close()
        _, said = told.communicate(timeout=120)

    assert (told.returncode, said) == (1, b"")
