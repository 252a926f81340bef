"""`ebbtide open` and `ebbtide close`: what is asked, what is told while it comes, and exactly what to do then."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.model import RecoveryKind, RecoveryState, Step
from chalicelib.core.verdicts import why_down
from chalicelib.errors import PermanentError
from ebbtide_console import session
from ebbtide_console.cli import openings
from ebbtide_console.cli.main import main
from tests.builders import a_moment, a_recovery, a_recovery_id

COMING = a_recovery(RecoveryKind.OPENING)
OPEN = replace(COMING, verdict="opened", address="203.0.113.9")
FAILED = replace(COMING, verdict="failed", state=RecoveryState.FAILED, findings=("no tree of us0a is on the volume",))
CLOSED = replace(OPEN, state=RecoveryState.DONE)
Asked = list[tuple[str, Mapping[str, Any]]]


def answered(monkeypatch: pytest.MonkeyPatch, *answers: Mapping[str, Any] | Exception) -> Asked:
    """One after the other, and nothing beyond them."""
    asked: Asked = []
    coming = iter(answers)

    def invoke(function: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((function, payload))
        answer = next(coming)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(session, "invoke", invoke)
    monkeypatch.setattr(openings, "LOOK_EVERY_SECONDS", 0)
    return asked


def test_it_is_waited_for_and_then_told_what_to_run_where_and_until_when(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pending, serving = (
        wire.standing(COMING, ("machine i-1 is pending",)),
        wire.standing(COMING, ("machine i-1 to open",)),
    )
    asked = answered(
        monkeypatch, wire.standing(COMING), pending, pending, serving, wire.standing(OPEN, ("us0 is open",))
    )

    code = main(["open", "us0", "--at", "2026-11-23T03:00", "--for", "45m"])

    assert code == 0
    assert asked[0] == ("open_host", {"schema": 1, "host": "us0", "at": "2026-11-23T03:00:00Z", "minutes": 45})
    assert asked[1:] == [("recover", {"schema": 1, "recovery": str(a_recovery_id())})] * 4
    assert capsys.readouterr().out.splitlines() == [
        "opening us0a/2026-11-23/1: us0 as it was at 2026-11-23 03:00 UTC",
        "  machine i-1 is pending",
        "  machine i-1 to open",
        "open, read-only, until 2026-11-23 11:00 UTC. On us0, for instance:",
        "  ebbtide-agent restore /etc/fstab --from 203.0.113.9",
        "`ebbtide close us0` ends it before that",
    ]


def test_a_day_means_its_last_point(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answered(monkeypatch, wire.standing(COMING), wire.standing(COMING))

    for at in ("2026-11-23", "2026-11-23T00:00+01:00"):
        main(["open", "us0", "--no-wait", "--at", at])

    assert [payload["at"] for _, payload in asked] == ["2026-11-23T23:59:59Z", "2026-11-22T23:00:00Z"]


def test_whoever_does_not_wait_is_told_how_to_learn_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answered(monkeypatch, wire.standing(COMING))

    code = main(["open", "us0", "--no-wait"])

    assert (code, asked) == (0, [("open_host", {"schema": 1, "host": "us0", "at": None, "minutes": 120})])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "it will stand until 2026-11-23 11:00 UTC; the same command again says where",
        "`ebbtide close us0` ends it before that",
    ]


def test_one_that_fails_says_why_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.standing(COMING), wire.standing(FAILED))

    assert main(["open", "us0"]) == 1
    assert capsys.readouterr().err == ("ebbtide: opening us0a/2026-11-23/1 is over: no tree of us0a is on the volume\n")


def test_what_cannot_be_done_yet_is_told_once_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = PermanentError("function ebbtide-dev-recover failed: no capacity for t4g.small")
    answered(monkeypatch, wire.standing(COMING), full, full, wire.standing(OPEN))

    assert main(["open", "us0"]) == 0
    assert capsys.readouterr().out.count("not yet: function ebbtide-dev-recover failed: no capacity") == 1


def test_one_that_nothing_is_known_of_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.standing(COMING), {})

    assert main(["open", "us0"]) == 1
    assert "nothing is known of us0a/2026-11-23/1" in capsys.readouterr().err


def test_closing_waits_until_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leaving = wire.standing(OPEN, ("machine i-1 is shutting-down",))
    asked = answered(monkeypatch, wire.closing([a_recovery_id()]), leaving, wire.standing(CLOSED))

    assert main(["close", "us0"]) == 0
    assert asked[0] == ("close_host", {"schema": 1, "of": "us0"})
    assert capsys.readouterr().out.splitlines() == [
        "closing us0a/2026-11-23/1: that may take five minutes, and goes on without this command",
        "  machine i-1 is shutting-down",
        "closed: its machine and its volume are gone",
    ]


def test_of_several_that_were_closed_it_is_told_that_all_are_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = wire.closing([a_recovery_id(), a_recovery_id(attempt=2)])
    answered(monkeypatch, both, wire.standing(CLOSED), wire.standing(CLOSED))

    assert main(["close", "us0"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["closed: their machines and their volumes are gone"]


def test_what_is_open_already_is_not_called_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.standing(OPEN), wire.standing(OPEN))

    assert main(["open", "us0"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "us0a/2026-11-23/1 is open already: us0 as it was at 2026-11-23 03:00 UTC"
    )


def test_close_alone_says_what_stands_and_closes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    restored = replace(a_recovery(RecoveryKind.RESTORE, a_recovery_id(attempt=2)), step=Step("boot", COMING.opened))
    not_up = replace(
        restored, id=a_recovery_id(attempt=3), step=Step("compare", COMING.opened), findings=(why_down("no init"),)
    )
    closed = replace(OPEN, id=a_recovery_id("eu0a"), host="eu0", deadline=a_moment(10))
    asked = answered(monkeypatch, wire.all_standing([OPEN, restored, not_up, closed]))
    monkeypatch.setattr(openings, "the_time", lambda: a_moment(10))

    assert main(["close"]) == 0
    assert asked == [("close_host", {"schema": 1, "of": None})]
    lines = capsys.readouterr().out.splitlines()
    as_of_then = ("us0", "2026-11-23 03:00")
    assert [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines] == [
        ["id", "what", "host", "as of (UTC)", "where", "how it stands", "until (UTC)"],
        ["us0a/2026-11-23/1", "opening", "us0", "2026-11-23 03:00", "203.0.113.9", "opened", "2026-11-23 11:00"],
        ["us0a/2026-11-23/2", "restore", *as_of_then, "at: image boot", "2026-11-23 11:00"],
        ["us0a/2026-11-23/3", "restore", *as_of_then, "has not come up, at: compare", "2026-11-23 11:00"],
        ["eu0a/2026-11-23/1", "opening", "eu0", "2026-11-23 03:00", "203.0.113.9", "goes", "2026-11-23 10:00"],
    ]


def test_where_nothing_stands_close_alone_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.all_standing([]))

    assert main(["close"]) == 0
    assert capsys.readouterr().out == "nothing stands open or restored\n"


@pytest.mark.parametrize("text", ["14m", "25h", "2d", "0h", "2", "two hours", "-2h", "99999h"])
def test_a_time_that_is_none_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    asked = answered(monkeypatch)

    with pytest.raises(SystemExit):
        main(["open", "us0", f"--for={text}"])

    assert asked == []
    assert "expected a time such as 45m, 2h or 7d, from 15m to 24h" in capsys.readouterr().err
