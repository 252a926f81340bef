"""What a gate answers to list, and the names of restore points: they become modules, directories and rsync's words."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.points import Offer, Point, encode_offer, parse_offer, point_name

EXAMPLE = Path("tests/contract/wire/list.json")


def test_an_answer_to_list_is_written_as_it_is_read() -> None:
    offer = parse_offer(EXAMPLE.read_bytes())

    assert offer.points[0] == Point(
        "2026-11-22.1", "main/2026-11-22/1", datetime(2026, 11, 22, 2, 45, tzinfo=UTC), 53637
    )
    assert offer.points[1].entries is None
    assert json.loads(encode_offer(offer)) == json.loads(EXAMPLE.read_bytes())


def test_how_long_a_gate_is_open_is_told_by_its_own_clock_and_not_by_an_earlier_gate() -> None:
    offer = parse_offer(EXAMPLE.read_bytes())

    assert offer.left == timedelta(hours=1, minutes=59, seconds=48)
    assert parse_offer(encode_offer(replace(offer, now=None))).left is None


def test_a_night_offers_nothing() -> None:
    assert parse_offer(encode_offer(Offer("us0", "us0a"))) == Offer("us0", "us0a", (), None)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("main/2026-11-23/1", "2026-11-23.1"),
        ("host.web1/2026-11-23/7951", "2026-11-23.7951"),
        ("peer/2026-11-23/021000", "2026-11-23.021000"),
        ("main/2026 11/é", "2026_11._"),
    ],
)
def test_a_point_is_named_by_its_run(run: str, name: str) -> None:
    assert point_name(run) == name


@pytest.mark.parametrize("run", ["", "/", "tree", "../.."])
def test_a_run_that_names_nothing_is_refused(run: str) -> None:
    with pytest.raises(PermanentError, match="none that a restore point could be named by"):
        point_name(run)


@pytest.mark.parametrize("name", ["tree", "-e", "../x", "a/b", "a b", "", "x" * 101, "a\n"])
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    offer = json.loads(EXAMPLE.read_bytes())
    offer["points"][0]["name"] = name

    with pytest.raises(PermanentError, match="is not the name of a restore point"):
        parse_offer(json.dumps(offer).encode())


@pytest.mark.parametrize(
    "change", [{"until": "soon"}, {"now": "soon"}, {"points": [1]}, {"points": None}, {"schema": 2}]
)
def test_an_answer_that_is_none_is_refused(change: "dict[str, object]") -> None:
    with pytest.raises(PermanentError):
        parse_offer(json.dumps({**json.loads(EXAMPLE.read_bytes()), **change}).encode())
