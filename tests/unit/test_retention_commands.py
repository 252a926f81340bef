"""`ebbtide prune`, `hold` and `release`: what they send, what they show, and that they show it before they act."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.holds import Hold
from chalicelib.core.model import RestorePoint, Snapshot, TreeKind
from chalicelib.core.pruning import Stock, plan_prune
from chalicelib.core.retention import Rules
from ebbtide_console import session
from ebbtide_console.cli.main import main
from ebbtide_console.cli.prune_table import why
from tests.builders import a_moment, a_point, a_run_id, a_snapshot

AUDIT = Hold("the auditors", "ada", "2026-11-20T10:00:00Z")


class Doors:
    """The functions of the control plane, which answer as they are told and remember what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.answer: dict[str, Any] = {}
        monkeypatch.setattr(session, "invoke", self._invoke)

    def _invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((function, payload))
        return self.answer


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    return Doors(monkeypatch)


def a_plan(*extra: Snapshot, cap: int | None = None) -> dict[str, Any]:
    """Two nights of two hosts, of which the newer is kept, and whatever else there is."""
    snapshots = (a_snapshot("snap-22", a_run_id(22)), a_snapshot("snap-23", a_run_id(23)), *extra)
    known = RestorePoint("us0a", a_moment(), "snap-23", a_run_id(), TreeKind.FAKE_SUPER, None)
    return wire.pruned(plan_prune(Stock(snapshots, (known,)), lambda _: Rules(last=1), a_moment(7), cap))


def test_the_plan_is_a_table_with_hosts_reasons_and_cost(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    held = a_snapshot("snap-21", a_run_id(21), extra={"ebbtide:hold": "[red]evidence[/red]"})
    doors.answer = a_plan(held)

    code = main(["prune", "--dry-run"])

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert (code, doors.asked) == (0, [("prune", {"schema": 1, "dry_run": True, "allow": None})])
    assert lines == [
        "snapshot taken fate at most why it stays",
        "snap-21 2026-11-21T03:00:00Z keep $4.00/month held: [red]evidence[/red]",
        "snap-22 2026-11-22T03:00:00Z mark $4.00/month",
        "snap-23 2026-11-23T03:00:00Z keep $4.00/month newest snapshot of main",
        "last snapshot: eu0a, us0a",
        "3 snapshots, 1 to mark, 0 to unmark, 0 to delete",
    ]


def test_a_real_run_says_what_was_done_in_the_same_words(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = a_plan(a_snapshot("snap-x", state="pending"))

    main(["prune", "--allow", "31"])

    said = capsys.readouterr().out
    assert doors.asked == [("prune", {"schema": 1, "dry_run": False, "allow": 31})]
    assert "left alone: snap-x: it is pending" in said
    assert said.splitlines()[-1] == "2 snapshots, 1 marked, 0 unmarked, 0 deleted"


def test_with_json_the_answer_is_printed_as_it_came(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = a_plan()

    main(["prune", "--dry-run", "--json"])

    assert json.loads(capsys.readouterr().out) == doors.answer


def test_a_refused_prune_says_why_last_and_fails(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = a_plan(a_snapshot("snap-20", a_run_id(20), extra={"ebbtide:marked": "2026-11-21"}), cap=0)

    code = main(["prune"])

    assert code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("refused: 1 snapshots would be deleted and one night may delete 0")


def test_many_hosts_are_told_as_a_few_and_a_number() -> None:
    hosts = tuple(f"h{number:03d}" for number in range(100))
    answer = wire.pruned(plan_prune(Stock((a_snapshot(complete=hosts),)), lambda _: Rules(last=1), a_moment(7)))

    assert why(answer["plan"][0]).splitlines()[1] == "last snapshot: h000, h001, h002, h003 and 96 more"


@pytest.mark.parametrize("count", ["-1", "many", ""])
def test_what_is_no_count_is_not_allowed(doors: Doors, count: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["prune", "--allow", count])

    assert (left.value.code, doors.asked) == (2, [])


def test_a_hold_is_shown_before_it_is_put_on(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = wire.held(a_snapshot("snap-23"), None, AUDIT)

    code = main(["hold", "us0", "--at", "2026-11-23", "--reason", "the auditors", "--by", "ada", "--yes"])

    assert code == 0
    shown, done = doors.asked
    why = {"why": "the auditors", "by": "ada"}
    assert shown == ("hold", {"schema": 1, "host": "us0", "at": "2026-11-23T23:59:59Z", **why, "dry_run": True})
    assert done == ("hold", {"schema": 1, "snapshot": "snap-23", **why, "dry_run": False})
    assert capsys.readouterr().out.splitlines() == [
        "snap-23  2026-11-23T03:00:00Z  run main/2026-11-23/1",
        "  now    not held",
        "  after  held by ada since 2026-11-20T10:00:00Z: the auditors",
        "done",
    ]


def test_a_hold_names_the_person_at_the_keyboard(doors: Doors) -> None:
    doors.answer = wire.held(a_snapshot(), None, AUDIT)

    main(["hold", "snap-1", "--reason", "why", "--dry-run"])

    [(_, payload)] = doors.asked
    assert "@" in payload["by"]
    assert payload["snapshot"] == "snap-1"


@pytest.mark.parametrize(("word", "calls"), [("y", 2), ("yes", 2), ("n", 1), ("", 1)])
def test_a_release_asks_a_person_first(doors: Doors, monkeypatch: pytest.MonkeyPatch, word: str, calls: int) -> None:
    doors.answer = wire.held(a_snapshot(), AUDIT, None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: word)

    code = main(["release", "snap-1"])

    assert (len(doors.asked), code) == (calls, 0 if calls == 2 else 1)


def test_where_nobody_can_be_asked_a_release_wants_yes(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doors.answer = wire.held(a_snapshot(), AUDIT, None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    code = main(["release", "snap-1"])

    assert (code, len(doors.asked)) == (1, 1)
    assert "ebbtide release --yes" in capsys.readouterr().err


def test_what_changes_nothing_asks_nothing_and_does_nothing(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = wire.held(a_snapshot(), None, None)

    code = main(["release", "snap-1"])

    assert (code, len(doors.asked)) == (0, 1)
    assert capsys.readouterr().out.splitlines()[-1] == "nothing changes"


def test_a_time_goes_with_a_host_only(doors: Doors) -> None:
    assert main(["release", "snap-1", "--at", "2026-11-23"]) == 1
    assert doors.asked == []


def test_forgetting_a_host_shows_its_points_first(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    doors.answer = wire.forgot("eu0a", [a_point("eu0a")], already=False)

    code = main(["hosts", "forget", "eu0", "--by", "ada", "--yes"])

    payload = {"schema": 1, "host": "eu0", "by": "ada"}
    assert code == 0
    assert doors.asked == [("forget_host", payload | {"dry_run": dry_run}) for dry_run in (True, False)]
    assert capsys.readouterr().out.splitlines()[0] == "snap-1  2026-11-23T03:00:00Z"


def test_a_host_already_forgotten_changes_nothing(doors: Doors) -> None:
    doors.answer = wire.forgot("eu0a", [], already=True)

    assert main(["hosts", "forget", "eu0"]) == 0
    assert len(doors.asked) == 1
