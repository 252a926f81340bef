"""`ebbtide drill`: it is waited for, and says what came of it."""

import json
from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.core.model import RecoveryKind, RecoveryState, Times
from ebbtide_console.cli.main import main
from tests.builders import a_moment, a_recovery, a_recovery_id
from tests.unit.test_open_commands import answered

COMING = a_recovery(RecoveryKind.DRILL)
KNOWN = replace(COMING, verdict="proven")
PROVEN = replace(KNOWN, state=RecoveryState.DONE)
BEGUN = wire.recovery_payload(a_recovery_id())


def test_it_is_waited_for_until_it_is_taken_down_and_ends_with_its_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pending, known = wire.standing(COMING, ("the report of machine i-1",)), wire.standing(KNOWN, ("machine i-1 to go",))
    asked = answered(monkeypatch, BEGUN, pending, known, wire.standing(PROVEN))

    code = main(["drill", "us0"])

    assert code == 0
    assert asked == [("drill", {"schema": 1, "host": "us0"}), *[("recover", BEGUN)] * 3]
    assert capsys.readouterr().out.splitlines() == [
        "drilling us0a/2026-11-23/1",
        "  the report of machine i-1",
        "  machine i-1 to go",
        "us0 as it was at 2026-11-23 03:00 UTC: proven",
    ]


def test_it_ends_with_rto_rpo_and_where_the_time_went(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = Times(a_moment(9, 3), {"launch": 2.0, "machine": 95.0, "mount": 0.5, "image boot": 12.4, "compare": 4.0})
    answered(monkeypatch, BEGUN, wire.standing(replace(PROVEN, times=times)))

    main(["drill", "us0"])

    assert capsys.readouterr().out.splitlines()[-4:] == [
        "us0 as it was at 2026-11-23 03:00 UTC: proven",
        "  RTO    2 min 56 s   from when it was asked for until it answered",
        "  RPO    6 h 0 min    from its restore point until it was asked for",
        "  steps  launch 2.0 s, machine 1 min 35 s, mount 0.5 s, image boot 12.4 s, compare 4.0 s",
    ]


def test_a_deployment_that_measures_nothing_yet_is_understood_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    older = {name: value for name, value in wire.standing(PROVEN).items() if name not in ("rto", "rpo", "steps")}
    answered(monkeypatch, BEGUN, older)

    assert main(["drill", "us0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "us0 as it was at 2026-11-23 03:00 UTC: proven"


def test_of_a_stale_point_what_is_proven_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, BEGUN, wire.standing(replace(PROVEN, findings=("stale: its newest restore point is old",))))

    assert main(["drill", "us0"]) == 1
    assert "  stale: its newest restore point is old" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("verdict", "probe", "code"),
    [
        ("content only", None, 0),
        ("content only", "http://127.0.0.1/", 1),
        ("as recorded", "http://127.0.0.1/", 0),
        *((verdict, None, 1) for verdict in ("unproven", "different", "failed", None)),
    ],
)
def test_what_does_not_prove_all_that_it_could_is_an_error_and_every_finding_is_told(
    verdict: str | None,
    probe: str | None,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    over = replace(PROVEN, verdict=verdict, probe=probe, findings=("etc/fstab: missing",))
    answered(monkeypatch, BEGUN, wire.standing(over))

    assert main(["drill", "us0"]) == code
    assert "  etc/fstab: missing" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("verdict", "code"), [("proven", 0), ("different", 1)])
def test_as_json_it_is_one_object_on_standard_output_and_everything_else_beside_it(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over = wire.standing(replace(PROVEN, verdict=verdict, findings=("etc/fstab: mode",)))
    answered(monkeypatch, BEGUN, wire.standing(COMING, ("the report of machine i-1",)), over)

    assert main(["drill", "us0", "--json"]) == code

    said = capsys.readouterr()
    assert json.loads(said.out) == over
    assert said.err.splitlines() == [
        "drilling us0a/2026-11-23/1",
        "  the report of machine i-1",
        "  etc/fstab: mode",
        f"us0 as it was at 2026-11-23 03:00 UTC: {verdict}",
    ]


def test_as_json_whoever_does_not_wait_gets_its_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, BEGUN)

    assert main(["drill", "us0", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == BEGUN


def test_whoever_does_not_wait_gets_its_id(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered(monkeypatch, BEGUN)

    assert main(["drill", "us0", "--no-wait"]) == 0
    assert capsys.readouterr().out == "drilling us0a/2026-11-23/1\n"
