"""`ebbtide drills`: of each host when its backup was proved last and how well, read from what outlives the table."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.core import tags
from chalicelib.core.naming import RecoveryRequest
from chalicelib.flows.open_recovery import open_restore
from chalicelib.flows.recover import recover
from ebbtide_console import session
from ebbtide_console.cli import drills
from ebbtide_console.cli.main import main
from tests.builders import a_moment
from tests.fakes import FakeWorld
from tests.past import a_drill, a_night, a_world_with_a_past, an_open_drill

NOW = a_moment(16)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """Two nights of us0 and eu0; us0 was drilled twice, the second time it could not be asked. eu0 never was."""
    world = a_world_with_a_past()
    account = session.Account("123456789012", "us-east-1", "the-archive", world.archive, world.volumes)
    monkeypatch.setattr(session, "the_account", lambda: account)
    monkeypatch.setattr(drills, "the_time", lambda: NOW)
    return world


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The cells of each host's line."""
    _, *lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: [cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines}


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    main(["drills", "--json"])
    return {each["host"]: each for each in json.loads(capsys.readouterr().out)["hosts"]}


def test_it_says_of_each_host_when_it_was_drilled_last_and_what_came_of_it(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["drills"])

    lines = told(capsys)
    newest = "2026-11-23 02:00, 14 h 0 min ago"
    assert code == 1
    assert lines["us0"][:5] == ["us0", newest, "2026-11-23 15:00, 1 h 0 min ago", "2026-11-23 02:00", "content only"]
    assert lines["eu0"] == ["eu0", newest, "never", "`ebbtide drill` proves it"]


def test_all_is_well_once_the_last_drill_of_each_host_proved_all_that_it_could(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    for snapshot_id, snapshot in world.volumes.snapshots.items():
        only_us0 = {name: text for name, text in snapshot.tags.items() if not name.startswith(tags.COMPLETE)}
        world.volumes.snapshots[snapshot_id] = replace(snapshot, tags={**only_us0, **tags.pack(["us0a"])})
    a_drill(world, NOW)

    assert main(["drills"]) == 0
    assert told(capsys)["us0"][4] == "proven"


def test_of_a_drill_whose_point_is_gone_that_is_said(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    lost = a_night(world, 24)
    a_drill(world, a_moment(9, day=24))
    before = said(capsys)["us0"]["drill"]
    del world.volumes.snapshots[world.catalog.get_run(lost).snapshot_id]

    main(["drills"])

    assert told(capsys)["us0"][3:5] == ["2026-11-24 02:00, gone since", "proven"]
    after = said(capsys)["us0"]["drill"]
    assert (before["recovery"], before["gone"], after["gone"]) == (after["recovery"], False, True)


def test_what_was_found_of_one_that_satisfies_is_said_too(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    drill = a_drill(world, NOW)
    key = f"recoveries/{drill}/closed.json"
    closed = json.loads(world.archive.objects[key])
    world.archive.objects[key] = json.dumps({**closed, "findings": ["did not boot: it ended"]}).encode()

    main(["drills"])

    assert told(capsys)["us0"][4:] == ["proven", "0.0 s", "did not boot: it ended"]


def test_a_drill_of_an_older_point_does_not_stand_for_the_newest(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    a_drill(world, NOW, verdict="different")
    before = said(capsys)["us0"]
    a_drill(world, NOW + timedelta(hours=1), point="main/2026-11-22/1")

    assert said(capsys)["us0"] == before
    assert (before["drill"]["verdict"], before["proved"]) == ("different", False)


def test_a_drill_that_was_begun_later_of_an_older_point_stands_for_nothing_newer(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    a_night(world, 24)
    a_drill(world, a_moment(9, day=25), verdict="different", point="main/2026-11-22/1")
    a_drill(world, a_moment(9, day=26), point="main/2026-11-22/1")

    assert said(capsys)["us0"]["drill"]["recovery"] == "us0a/2026-11-23/2"


def test_a_drill_of_a_point_that_is_gone_stands_for_no_newer_one(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = a_night(world, 24)
    a_drill(world, a_moment(9, day=24), verdict="different")
    del world.volumes.snapshots[world.catalog.get_run(lost).snapshot_id]
    proven = a_drill(world, a_moment(9, day=25), point="main/2026-11-23/1")
    a_night(world, 26)

    assert said(capsys)["us0"]["drill"]["recovery"] == str(proven)


def test_neither_a_restore_that_has_ended_nor_a_drill_that_is_under_way_is_one(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    before = said(capsys)["us0"]
    restore = open_restore(RecoveryRequest("us0"), world, NOW)
    recover(restore.id, world, NOW)
    recover(restore.id, world, restore.deadline)
    an_open_drill(world, NOW)

    assert said(capsys)["us0"] == before
    assert before["drill"]["recovery"] == "us0a/2026-11-23/2"


def test_as_json_it_has_what_each_host_was_proved_by(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = said(capsys)

    drill = hosts["us0"]["drill"]
    assert (hosts["us0"]["id"], hosts["us0"]["proved"]) == ("us0a", False)
    assert (drill["opened"], drill["verdict"]) == ("2026-11-23T15:00:00Z", "content only")
    assert (hosts["eu0"]["drill"], hosts["eu0"]["proved"]) == (None, False)


def test_a_drill_that_cannot_be_read_is_told_and_the_one_before_it_stands_in_for_it(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.archive.objects["recoveries/us0a/2026-11-23/2/closed.json"] = b"{}"

    main(["drills"])

    out, err = capsys.readouterr()
    assert "2026-11-23 09:00, 7 h 0 min ago" in out
    assert "not read: recovery us0a/2026-11-23/2: " in err


@pytest.mark.parametrize(
    "key",
    [
        "recoveries/us0a/\x1b[2Jforged/1/begun/1.json",
        "recoveries/us0a/yesterday/closed.json",
        "recoveries/us0a/2026-11-99/3/closed.json",
        "recoveries/us0a/2026-11-23/3/begun/closed.json",
    ],
)
def test_what_is_no_recovery_that_is_known_as_closed_is_neither_read_nor_named(
    world: FakeWorld, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["drills"])
    before = capsys.readouterr()
    world.archive.objects[key] = b"{}"

    main(["drills"])

    assert capsys.readouterr() == before


def test_what_somebody_has_written_into_the_archive_moves_no_cursor(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "recoveries/us0a/2026-11-23/2/closed.json"
    closed = json.loads(world.archive.objects[key])
    forged = {"verdict": "proven\x1b[1A", "findings": ["\x1b[2Jall is well\r\n"]}

    world.archive.objects[key] = json.dumps(closed | forged).encode()
    main(["drills"])

    out, err = capsys.readouterr()
    assert all(each.isprintable() for each in (*out.splitlines(), *err.splitlines()))
    assert r"\x1b[2Jall is well\r\n" in out


def test_where_there_is_no_point_there_is_nothing_to_prove(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.volumes.snapshots.clear()

    assert main(["drills"]) == 1
    assert "there is no restore point in us-east-1" in capsys.readouterr().err
