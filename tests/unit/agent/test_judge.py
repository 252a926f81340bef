"""A report is believed as far as the receiver's own eyes go: it can become worse, never better."""

from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.errors import Refused
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.judge import check_identity, explained, judged, says_full
from ebbtide_agent.receiver.lease import Session
from ebbtide_agent.report import STATUSES, Quota, Report, parse_report

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
    assert judged(a_report(claimed), seen, is_out_of_memory=False).status == believed


@pytest.mark.parametrize("claimed", STATUSES)
@pytest.mark.parametrize("seen", [None, Session(None, 0.0), *(Session(code, 1.0) for code in (0, 11, 12, 23, 24, 137))])
@pytest.mark.parametrize("is_out_of_memory", [False, True])
def test_nothing_ever_becomes_better(claimed: str, seen: "Session | None", is_out_of_memory: bool) -> None:
    believed = judged(a_report(claimed), seen, is_out_of_memory)

    assert STATUSES.index(believed.status) >= STATUSES.index(claimed)
    assert believed.receiver is None


@pytest.mark.parametrize("claimed", STATUSES)
@pytest.mark.parametrize("seen", [Session(None, 1.0), Session(-9, 1.0), Session(12, 1.0)])
def test_whose_push_was_ended_for_want_of_memory_is_told_that_first_whatever_it_says(
    claimed: str, seen: Session
) -> None:
    believed = judged(a_report(claimed), seen, is_out_of_memory=True)

    assert "a larger instance" in believed.problems[0]
    assert believed.status == judged(a_report(claimed), seen, is_out_of_memory=False).status


GIB = 2**30
FULL_QUOTA = 'rsync: [receiver] write failed on "/var/big" (in tree): Disk quota exceeded (122)'
FULL_VOLUME = 'rsync: [receiver] write failed on "/var/big" (in tree): No space left on device (28)'
FULL_AT_XATTR = 'rsync: [receiver] write failed on "/linux/xattr.h" (in tree): No space left on device (28)'
LARGE_ATTRIBUTE = 'rsync: [receiver] rsync_xal_set: lsetxattr("x","user.a") failed: No space left on device (28)'


@pytest.mark.parametrize(
    ("status", "problem", "says"),
    [
        ("partial", FULL_QUOTA, True),
        ("failed", FULL_VOLUME, True),
        ("partial", FULL_AT_XATTR, True),
        ("partial", LARGE_ATTRIBUTE, False),
        ("partial", "rsync: connection unexpectedly closed", False),
        ("complete-with-warnings", FULL_QUOTA, False),
    ],
)
def test_a_host_says_full_with_the_words_of_our_own_rsync(status: str, problem: str, says: bool) -> None:
    assert says_full(replace(a_report(status), problems=("first", problem))) is says


@pytest.mark.parametrize(
    ("problem", "quota", "left", "begins"),
    [
        (FULL_QUOTA, Quota(30 * GIB, 29 * GIB), None, "us0 is at its quota of 30 GiB, and holds 29 GiB: raise"),
        (FULL_QUOTA, Quota(30 * GIB, 29 * GIB), GIB, "us0 is at its quota of 30 GiB"),
        (FULL_QUOTA, Quota(30 * GIB, 29 * GIB), GIB - 1, "the volume that takes this backup is full"),
        (FULL_QUOTA, Quota(None, 29 * GIB), 0, "the volume that takes this backup is full"),
        (FULL_QUOTA, None, None, "the volume that takes this backup is full"),
        (FULL_VOLUME, Quota(30 * GIB, 29 * GIB), None, "the volume that takes this backup is full"),
    ],
)
def test_what_is_full_comes_first_and_is_what_had_less_room_left(
    problem: str, quota: "Quota | None", left: "int | None", begins: str
) -> None:
    told = explained(replace(a_report("partial"), problems=(problem,)), quota, left)

    assert told.problems[0].startswith(begins)
    assert told.problems[1:] == (problem,)


@pytest.mark.parametrize("change", [{"nonce": "f" * 32}, {"run": "main/2026-11-22/1"}, {"id": "eu0a"}, {"host": "eu0"}])
def test_another_runs_or_another_hosts_report_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Refused):
        check_identity(replace(a_report(), **change), BRIEF.hosts[0], BRIEF)  # type: ignore[arg-type]
