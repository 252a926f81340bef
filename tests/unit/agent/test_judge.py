"""A report is believed as far as the receiver's own eyes go: it can become worse, never better."""

from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.judge import check_identity, judged
from ebbtide_agent.receiver.lease import Session
from ebbtide_agent.report import STATUSES, Report, parse_report

WIRE = Path(__file__).parents[2] / "contract/wire"
BRIEF = parse_brief((WIRE / "brief-receiver.json").read_bytes())


def a_report(status: str = "complete") -> Report:
    return replace(parse_report((WIRE / "report.json").read_bytes()), status=status)


@pytest.mark.parametrize(
    ("claimed", "seen", "believed"),
    [
        ("complete", Session(0, 1.0), "complete"),
        ("complete-with-warnings", Session(0, 1.0), "complete-with-warnings"),
        ("complete-with-warnings", Session(24, 1.0), "complete-with-warnings"),
        ("complete", Session(24, 1.0), "partial"),
        ("complete", Session(12, 1.0), "partial"),
        ("complete", Session(None, 0.0), "partial"),
        ("complete", None, "failed"),
        ("partial", None, "failed"),
        ("failed", Session(0, 1.0), "failed"),
        ("suspect", None, "suspect"),
        ("suspect", Session(0, 1.0), "suspect"),
        ("suspect", Session(12, 1.0), "suspect"),
    ],
)
def test_what_is_believed(claimed: str, seen: "Session | None", believed: str) -> None:
    assert judged(a_report(claimed), seen).status == believed


@pytest.mark.parametrize("claimed", STATUSES)
@pytest.mark.parametrize("seen", [None, Session(None, 0.0), *(Session(code, 1.0) for code in (0, 11, 12, 23, 24, 137))])
def test_nothing_ever_becomes_better(claimed: str, seen: "Session | None") -> None:
    believed = judged(a_report(claimed), seen)

    assert STATUSES.index(believed.status) >= STATUSES.index(claimed)
    assert believed.receiver is None


@pytest.mark.parametrize("change", [{"nonce": "f" * 32}, {"run": "main/2026-11-22/1"}, {"id": "eu0a"}, {"host": "eu0"}])
def test_another_runs_or_another_hosts_report_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Refused):
        check_identity(replace(a_report(), **change), BRIEF.hosts[0], BRIEF)  # type: ignore[arg-type]
