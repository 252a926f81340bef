"""`ebbtide restore`: what is asked, what is told while it comes, and where to log in then."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core import naming
from chalicelib.core.model import Recovery, RecoveryKind, RecoveryState, Step
from chalicelib.core.verdicts import why_down
from chalicelib.errors import Refused
from ebbtide_agent.restore.masked import MASKED, MASKED_WHERE_IT_STANDS
from ebbtide_console.cli import openings
from ebbtide_console.cli.main import main
from tests.builders import a_policy, a_recovery, a_recovery_id
from tests.unit.test_open_commands import answered

COMING = a_recovery(RecoveryKind.RESTORE)
BACK = replace(COMING, address="203.0.113.9")
STANDS = replace(BACK, verdict="proven")
FAILED = replace(COMING, verdict="failed", findings=("snapshot snap-1 is gone",))
WHERE = "us0 is restored (proven): it runs as restored-us0a; log in at 203.0.113.9"
OFF = "us0 is restored (proven): its machine is off; attach vol-1, or close it and restore again"
CLOSING = "`ebbtide close us0a/2026-11-23/1` takes it down before 2026-11-23 11:00 UTC"


def running(recovery: Recovery, *waiting: str) -> dict[str, Any]:
    """The answer of somebody who has looked."""
    return wire.standing(recovery, waiting, runs=True)


def off(recovery: Recovery, *waiting: str) -> dict[str, Any]:
    return wire.standing(recovery, waiting, runs=False)


def test_it_is_waited_for_and_then_told_where_to_log_in_and_what_does_not_run_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pending, up = wire.standing(COMING, ("the report of machine i-1",)), running(STANDS, WHERE)
    asked = answered(monkeypatch, wire.standing(COMING), pending, up)

    code = main(["restore", "us0", "--at", "2026-11-23", "--port", "80", "--port", "443", "--allow", "192.0.2.0/24"])

    ways = {"ports": [80, 443], "allow": ["192.0.2.0/24"]}
    when = {"at": "2026-11-23T23:59:59Z", "name": None, "is_meant": False, "minutes": None}
    assert code == 0
    assert asked[0] == ("restore", {"schema": 1, "host": "us0", **when, **ways})
    assert asked[1:] == [("recover", {"schema": 1, "recovery": str(a_recovery_id())})] * 2
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == [
        "restoring us0a/2026-11-23/1: us0 as it was at 2026-11-23 03:00 UTC",
        "  " + pending["waiting"][0],
        WHERE,
    ]
    different = ("/etc/fstab", "/etc/hostname", "/etc/resolv.conf", "timer", "its users'", "mount", "mail")
    assert [each for each in different if each not in "\n".join(told[3:])] == []
    assert [unit for unit in (*MASKED, *MASKED_WHERE_IT_STANDS) if unit not in "\n".join(told[4:])] == []
    assert told[-1] == CLOSING


@pytest.mark.parametrize(
    ("before", "first", "headline"),
    [
        (replace(STANDS, address=None), "us0a/2026-11-23/1 stands already", "us0 HAS NOT COME UP:"),
        (STANDS, "us0a/2026-11-23/1 stands already", "us0 IS OFF:"),
        (replace(BACK, address=None), "restoring us0a/2026-11-23/1", "us0 IS OFF:"),
    ],
    ids=["it never did", "it was back", "it went off meanwhile"],
)
@pytest.mark.parametrize("words", [[], ["--no-wait"]])
def test_one_that_does_not_run_is_no_success_and_nobody_is_told_what_does_not_start_in_it(
    words: list[str],
    before: Recovery,
    first: str,
    headline: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = replace(STANDS, address=STANDS.address if "OFF" in headline else None)
    answered(monkeypatch, wire.standing(before), off(now, OFF))

    assert main(["restore", "us0", *words]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == [f"{first}: us0 as it was at 2026-11-23 03:00 UTC", headline, OFF, CLOSING]


def test_where_it_is_is_told_once_it_is_back_and_what_the_comparison_says_after_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    back = "us0 is back, and not compared with its backup yet: it runs as restored-us0a; log in at 203.0.113.9"
    is_back = running(BACK, back)
    answered(monkeypatch, wire.standing(COMING), is_back, is_back, running(STANDS, WHERE))

    code = main(["restore", "us0"])

    told = capsys.readouterr().out.splitlines()
    assert code == 0
    assert told[1] == back
    assert told.index(CLOSING) == len(told) - 4
    assert told[-3].startswith("it is being compared with its backup now")
    assert told[-2].startswith("Ctrl-C ends only this waiting")
    assert told[-1] == WHERE


def test_one_that_has_not_come_up_says_so_loudly_before_it_is_compared_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    not_up = replace(COMING, findings=(why_down("it ended: no init"),))
    compared = replace(not_up, verdict="different", findings=("etc: missing", *not_up.findings))
    answered(monkeypatch, wire.standing(COMING), off(not_up, OFF), off(not_up, OFF), off(compared, OFF))

    assert main(["restore", "us0"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1:5] == ["us0 HAS NOT COME UP:", *not_up.findings, OFF, CLOSING]
    assert told[5].startswith("it is being compared with its backup now")
    assert told[7:] == ["us0 HAS NOT COME UP:", "us0 IS NOT WHAT WAS BACKED UP:", *compared.findings, OFF]


def test_whoever_does_not_wait_learns_by_the_exit_code_of_one_that_has_not_come_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    not_up = replace(COMING, findings=(why_down("it ended: no init"),))
    answered(monkeypatch, wire.standing(not_up), off(not_up, OFF))

    assert main(["restore", "us0", "--no-wait"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("us0a/2026-11-23/1 stands already: ")
    assert told[1:] == ["us0 HAS NOT COME UP:", *not_up.findings, OFF, CLOSING]


def test_one_that_is_not_what_was_backed_up_says_so_loudly_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    different = replace(BACK, verdict="different", findings=("etc/passwd: missing",))
    answered(monkeypatch, wire.standing(COMING), running(BACK, "back"), running(different, WHERE))

    assert main(["restore", "us0"]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == ["us0 IS NOT WHAT WAS BACKED UP:", "etc/passwd: missing", WHERE]


@pytest.mark.parametrize(
    ("verdict", "probe", "code"),
    [
        ("content only", None, 0),
        ("content only", "http://127.0.0.1/", 1),
        ("as recorded", "http://127.0.0.1/", 0),
        ("unproven", "http://127.0.0.1/", 1),
    ],
)
@pytest.mark.parametrize("words", [[], ["--no-wait"]])
def test_one_that_runs_is_no_success_until_all_that_could_be_proven_is(
    words: list[str], verdict: str, probe: str | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = running(replace(STANDS, verdict=verdict, probe=probe), WHERE)
    answered(monkeypatch, *[known] * 2)

    assert main(["restore", "us0", *words]) == code


def test_who_interrupts_the_waiting_has_been_told_where_it_is_and_asked_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answered(monkeypatch, wire.standing(COMING), wire.standing(BACK, (WHERE,)), wire.standing(BACK, (WHERE,)))
    monkeypatch.setattr(openings.time, "sleep", interrupted)

    with pytest.raises(KeyboardInterrupt):
        main(["restore", "us0"])

    told = capsys.readouterr().out
    assert WHERE in told
    assert "us0a/2026-11-23/1 goes on: the same command waits for it again" in told
    assert [function for function, _ in asked] == ["restore", "recover", "recover"]


def interrupted(_: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("verdict", "code"), [("proven", 0), ("different", 1)])
def test_as_json_it_is_one_object_on_standard_output_and_where_to_log_in_is_told_beside_it_at_once(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stands = running(replace(STANDS, verdict=verdict), WHERE)
    answered(monkeypatch, wire.standing(COMING), running(BACK, "us0 is back"), stands)

    assert main(["restore", "us0", "--json"]) == code

    said = capsys.readouterr()
    assert json.loads(said.out) == stands
    assert said.err.splitlines()[1] == "us0 is back"
    assert said.err.splitlines()[-1] == WHERE


def test_as_json_one_that_has_failed_is_an_object_as_well_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over = wire.standing(replace(FAILED, state=RecoveryState.FAILED))
    answered(monkeypatch, wire.standing(COMING), over)

    assert main(["restore", "us0", "--json"]) == 1

    said = capsys.readouterr()
    assert json.loads(said.out) == over
    assert said.err.splitlines()[-1] == "ebbtide: restore us0a/2026-11-23/1 is over: snapshot snap-1 is gone"


def test_as_json_whoever_does_not_wait_gets_how_it_stands_and_the_step_that_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.standing(COMING), wire.standing(replace(COMING, step=Step("boot", COMING.opened))))

    assert main(["restore", "us0", "--no-wait", "--json"]) == 0
    standing = json.loads(capsys.readouterr().out)
    assert (standing["state"], standing["step"], standing["since"]) == ("open", "image boot", "2026-11-23T09:00:00Z")


def test_whoever_does_not_wait_is_told_how_to_learn_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answered(monkeypatch, *[wire.standing(COMING)] * 2)

    assert main(["restore", "us0", "--no-wait"]) == 0
    assert asked[0][1]["allow"] is None
    again = "the same command again says where to log in to it; if it fails, the policy's alarm says so"
    assert capsys.readouterr().out.splitlines()[1] == again


def test_whoever_asks_again_without_waiting_is_told_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, wire.standing(STANDS), running(STANDS, WHERE))

    assert main(["restore", "us0", "--no-wait"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "us0a/2026-11-23/1 stands already: us0 as it was at 2026-11-23 03:00 UTC",
        WHERE,
    ]


def test_a_name_in_production_is_asked_for_by_the_option_that_the_refusal_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answered(monkeypatch, *[wire.standing(COMING)] * 2)
    named = naming.RecoveryRequest("us0", name="us0")

    with pytest.raises(Refused, match="us0 is the name of host us0") as refused:
        naming.check_name(named, a_policy())
    (option,) = re.findall("--[a-z-]+", str(refused.value))
    main(["restore", "us0", "--name", "us0", option, "--no-wait"])

    assert (asked[0][1]["name"], asked[0][1]["is_meant"]) == ("us0", True)


@pytest.mark.parametrize("over", [FAILED, replace(FAILED, state=RecoveryState.FAILED)])
def test_one_that_fails_says_why_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], over: object
) -> None:
    answered(monkeypatch, wire.standing(COMING), wire.standing(over))  # type: ignore[arg-type]

    assert main(["restore", "us0"]) == 1
    said = capsys.readouterr()
    assert "snapshot snap-1 is gone" in said.out + said.err
