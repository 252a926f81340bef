"""How a host stands, told to people and to machines, and by the exit code."""

import fcntl
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent import moments
from ebbtide_agent.commands.status import as_lines
from ebbtide_agent.host.history import remember
from ebbtide_agent.host.identity import Installed, encode_installed
from ebbtide_agent.host.mark import note_begun
from ebbtide_agent.host.standing import standing_of
from ebbtide_agent.host_main import main
from ebbtide_agent.report import PARTIAL, Health, Report, encode_report
from tests.unit.agent.test_survey import A_REPORT, Host

WHEN = A_REPORT.finished


def told(host: Host, now: datetime = WHEN + timedelta(hours=10)) -> list[str]:
    return [f"{name}: {text}" for name, text in as_lines(standing_of(host.paths), now)]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.paths.state.mkdir()
    return host


def test_before_the_first_night_there_is_nothing_to_tell(host: Host) -> None:
    assert told(host) == [
        "last night: none was reported yet",
        "index: none; the next push compares everything, contents too",
    ]


def test_the_last_night_and_the_index_are_told(host: Host) -> None:
    host.now = WHEN
    host.keep(host.take(None), 7)
    os.utime(host.paths.index, (WHEN.timestamp(), WHEN.timestamp()))
    failing = (Health("disk /dev/sda", "warning", "SMART says that it is failing"), Health("array md0", "well", ""))
    remember(host.paths, replace(A_REPORT, problems=("one\033[2J",), health=failing), host.said.append)

    assert told(host) == [
        f"last night: complete, run {A_REPORT.run}",
        "ended: 2026-11-23T02:12:30Z, 10 hours ago, after 0:02:30",
        "files: 8412, 258 MiB in all; 5 MiB sent",
        "problem: one\\x1b[2J",
        "disk warning: disk /dev/sda: SMART says that it is failing",
        "index: 3 entries, kept 2026-11-23T02:12:30Z, 10 hours ago",
        "generation: 7",
        "compared: everything, 2026-11-23T02:12:30Z; again from 2026-11-29T14:12:30Z on",
    ]


def test_a_report_that_nobody_recorded_says_so(host: Host) -> None:
    unrecorded = "recorded: no: the receiver did not answer to the report"
    remember(host.paths, replace(A_REPORT, receiver=None), host.said.append)
    assert unrecorded in told(host)

    # Of a target where nobody answers there was none to expect.
    remember(host.paths, replace(A_REPORT, receiver=None, nonce=""), host.said.append)

    assert unrecorded not in told(host)


@pytest.mark.parametrize(
    ("minute", "said"),
    [(150, "begin at 02:30 by this host's clock, in the window 02:00-06:00"), (None, "as an earlier agent has")],
)
def test_when_the_nights_begin_is_told(host: Host, minute: int | None, said: str) -> None:
    host.paths.installed.write_bytes(encode_installed(Installed({}, "02:00-06:00", minute)))

    (nights,) = (line for line in told(host) if line.startswith("nights: "))
    assert nights.startswith(f"nights: {said}")


@pytest.mark.parametrize(("minutes", "said"), [(0, "0 minutes ago"), (119, "119 minutes ago"), (120, "2 hours ago")])
def test_a_night_that_has_just_ended_is_told_in_minutes(host: Host, minutes: int, said: str) -> None:
    remember(host.paths, A_REPORT, host.said.append)

    assert said in told(host, WHEN + timedelta(minutes=minutes))[1]


def test_a_first_push_that_was_cut_off_shows_how_far_it_is(host: Host) -> None:
    cut_off = replace(A_REPORT, status=PARTIAL, exit_code=12, bytes_total=10 << 30, bytes_sent=4 << 30)
    remember(host.paths, cut_off, host.said.append)

    assert (
        "first push: 40 % after 1 night (4.0 GiB of 10.0 GiB); done on 2026-11-25, if nights go on like this"
        in told(host)
    )


def test_a_night_that_goes_on_is_told_and_one_that_was_killed(host: Host) -> None:
    host.paths.running.write_text("2026-11-24T02:10:00Z")
    with host.paths.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert told(host)[0] == f"under way: a backup, process {os.getpid()}"
    assert told(host)[0] == (
        "cut short: the run of 2026-11-24T02:10:00Z: it was stopped or killed, or the machine went down"
    )


@pytest.mark.parametrize(
    ("status", "code"), [("complete", 0), ("complete-with-warnings", 0), ("partial", 3), ("failed", 1)]
)
def test_the_exit_code_is_the_last_nights(
    host: Host, status: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "--etc", str(host.paths.etc), "--state", str(host.paths.state), "--json"]
    assert main(words) == 1
    host.keep(host.take(None), 7)
    remember(host.paths, ended_now(status=status, exit_code=12), host.said.append)
    capsys.readouterr()

    assert main(words) == code

    told = json.loads(capsys.readouterr().out)
    assert told["last"]["status"] == status
    assert told["index"]["entries"] == 3
    assert (told["first_push"] is not None) == (status == "partial")
    assert told["under_way"] is None


def ended_now(**changes: Any) -> Report:
    now = datetime.now(UTC)
    return replace(A_REPORT, started=now - timedelta(minutes=9), finished=now, **changes)


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_left_no_report_is_no_complete_night(
    host: Host, killed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    last = ended_now()
    host.paths.lock.touch()
    note_begun(host.paths.lock, last.started)
    remember(host.paths, last, host.said.append)
    words = ["status", "--etc", str(host.paths.etc), "--state", str(host.paths.state)]
    assert main(words) == 0
    assert json.loads(told_as_json(words, capsys))["unreported"] is None

    # A clock that was ahead, and is not now, is no excuse.
    begun = last.started - timedelta(hours=3)
    note_begun(host.paths.lock, begun)
    if killed:
        host.paths.running.write_text(moments.write(begun))

    assert main(words) == 1
    assert json.loads(told_as_json(words, capsys))["unreported"] == moments.write(begun)
    said = told(host, datetime.now(UTC))
    assert said[0].startswith(f"cut short: the run of {moments.write(begun)}: " if killed else "no report: of the run")
    assert said[1] == f"reported: complete, run {A_REPORT.run}"


def told_as_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    main([*words, "--json"])
    return capsys.readouterr().out


def test_nor_is_one_that_ended_long_ago(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    words = ["status", "--etc", str(host.paths.etc), "--state", str(host.paths.state)]
    remember(host.paths, replace(A_REPORT, finished=now - timedelta(hours=37)), host.said.append)

    assert main(words) == 1
    assert json.loads(told_as_json(words, capsys))["overdue"]
    assert told(host, now)[0] == "overdue: no night has ended for 36 hours: ebbtide-agent check says what starts it"


def test_a_machine_is_told_all_that_a_person_is(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.now = WHEN
    host.keep(host.take(None), 7)
    os.utime(host.paths.index, (WHEN.timestamp(), WHEN.timestamp()))
    host.paths.installed.write_bytes(encode_installed(Installed({}, "02:00-06:00", 150)))
    host.paths.running.write_text("2026-11-24T02:10:00Z")
    host.paths.lock.touch()
    note_begun(host.paths.lock, moments.read("2026-11-24T02:10:00Z"))
    cut_off = ended_now(status=PARTIAL, exit_code=12, bytes_total=10 << 30, bytes_sent=4 << 30)
    remember(host.paths, cut_off, host.said.append)

    main(["status", "--etc", str(host.paths.etc), "--state", str(host.paths.state), "--json"])

    assert json.loads(capsys.readouterr().out) == {
        "under_way": None,
        "cut_short": "2026-11-24T02:10:00Z",
        "unreported": "2026-11-24T02:10:00Z",
        "overdue": False,
        "last": json.loads(encode_report(cut_off)),
        "first_push": {
            "percent": 40,
            "nights": 1,
            "bytes_sent": 4 << 30,
            "bytes_total": 10 << 30,
            "done_by": (cut_off.finished + timedelta(days=2)).date().isoformat(),
        },
        "nights": {"minute": 150, "window": "02:00-06:00"},
        "index": {
            "entries": 3,
            "generation": 7,
            "kept": "2026-11-23T02:12:30Z",
            "full": "2026-11-23T02:12:30Z",
            "full_by": "2026-11-29T14:12:30Z",
        },
    }


def test_an_old_night_is_told_in_days(host: Host) -> None:
    remember(host.paths, A_REPORT, host.said.append)

    assert "3 days ago" in told(host, datetime(2026, 11, 26, 3, 0, tzinfo=UTC))[2]
