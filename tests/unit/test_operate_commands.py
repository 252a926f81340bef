"""`ebbtide preflight`: what it asks, what it shows, and that a shell can tell that something is wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.preflight import Key, Seen, judge
from ebbtide_console import session
from ebbtide_console.cli.main import main
from tests.builders import a_moment


def answered(monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def invoke(function: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((function, payload))
        return answer

    monkeypatch.setattr(session, "invoke", invoke)
    return asked


def test_what_stands_in_the_way_is_shown_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Seen(keys=(Key("key-1", "us-east-1", "Disabled", holds=("volume vol-1",)),))
    asked = answered(monkeypatch, wire.looked(judge(seen, None, a_moment(12))))

    code = main(["preflight"])

    lines = capsys.readouterr().out.splitlines()
    assert (code, asked) == (1, [("preflight", {"schema": 1})])
    assert lines[0] == "key unusable: key key-1 in us-east-1 is Disabled"
    assert "  since: 2026-11-23T12:00:00Z" in lines
    assert lines[-2].startswith("  what to do: Enable it")
    assert lines[-1] == "1 to look at"


def test_when_nothing_does_that_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, wire.looked(judge(Seen(), None, a_moment(12))))

    assert main(["preflight"]) == 0
    assert capsys.readouterr().out == "the next night has what it needs\n"
