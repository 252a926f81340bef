"""What an operator asks for: policies applied or refused whole, runs begun by hand, drills, prunes, rebuilds."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import app
from chalicelib.core.model import RunState
from chalicelib.errors import ConfigError, PermanentError, Refused
from tests.app.stage import Stage
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_run_id


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_a_policy_is_archived_as_the_next_version_and_put_into_force(stage: Stage) -> None:
    changed = A_POLICY_TEXT.replace("daily = 7", "daily = 14")

    answer = stage.call("apply_policy", text=changed, expected="000001")

    assert answer["version"] == "000002"
    assert any("daily" in line for line in answer["changes"])
    assert stage.world.catalog.version == "000002"
    assert stage.world.archive.get("policies/000002.toml") == changed.encode()
    assert stage.world.archive.get("policies/000001.toml") == A_POLICY_TEXT.encode()


def test_the_same_policy_again_is_no_new_version(stage: Stage) -> None:
    answer = stage.call("apply_policy", text=A_POLICY_TEXT, expected=None)

    assert answer == {"schema": 1, "version": "000001", "changes": []}


def test_a_faulty_policy_changes_nothing_and_tells_every_fault(stage: Stage) -> None:
    settled = stage.memory()
    faulty = A_POLICY_TEXT.replace("daily = 7", "daily = -7").replace("02:00-06:00", "late")

    answer = stage.call("apply_policy", text=faulty, expected=None)

    assert len(answer["faults"]) == 2
    assert stage.memory() == settled
    assert stage.world.catalog.version == "000001"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('id    = "us0a"', 'id    = "us0b"'), "an id is permanent"),
        (("us0]", "us9]"), "belongs to us0"),
    ],
)
def test_a_hosts_id_is_its_own_for_ever(stage: Stage, change: tuple[str, str], fault: str) -> None:
    text = A_POLICY_TEXT.replace(*change).replace(
        '"us0", "eu0"', '"us9", "eu0"' if "us9]" in change else '"us0", "eu0"'
    )

    answer = stage.call("apply_policy", text=text, expected=None)

    assert [line for line in answer["faults"] if fault in line]


def test_the_id_of_a_host_that_left_is_given_to_no_other(stage: Stage) -> None:
    us0_alone = A_POLICY_TEXT.split("[host.eu0]")[0].replace('["us0", "eu0"]', '["us0"]')
    stage.call("apply_policy", text=us0_alone, expected="000001")

    answer = stage.call(
        "apply_policy", text=A_POLICY_TEXT.replace('eu0"]', 'web"]').replace("t.eu0", "t.web"), expected=None
    )
    back_again = stage.call("apply_policy", text=A_POLICY_TEXT, expected=None)

    assert answer["faults"] == ["host.web.id: 'eu0a' belongs to eu0, expected an id that was never used"]
    assert back_again["version"] == "000003"


def test_a_policy_that_todays_rules_refuse_does_not_stand_in_the_way_of_a_good_one(stage: Stage) -> None:
    stage.world.archive.objects["policies/000001.toml"] = A_POLICY_TEXT.replace("80GiB", "a lot").encode()

    answer = stage.call("apply_policy", text=A_POLICY_TEXT, expected="000001")

    assert answer["version"] == "000002"


def test_what_else_lies_beside_the_archived_policies_is_no_version(stage: Stage) -> None:
    for stray in ("policies/", "policies/README.md", "policies/999999.toml.bak"):
        stage.world.archive.put_once(stray, b"")
    stage.lose_the_table()

    assert stage.call("rebuild")["policy"] == "000001"
    assert stage.call("apply_policy", text=A_POLICY_TEXT + "# again\n", expected=None)["version"] == "000002"


def test_a_host_with_a_volume_of_its_own_needs_no_word_on_what_it_is_restored_on(stage: Stage) -> None:
    on_a_volume = '\n[host.web1]\nid = "web1"\ntarget = "volume"\ninstance_id = "i-0123456789abcdef0"\n'

    applied = stage.call("apply_policy", text=A_POLICY_TEXT + on_a_volume, expected=None)

    assert "host.web1: added" in applied["changes"]


def test_a_policy_written_against_an_older_version_is_refused(stage: Stage) -> None:
    stage.call("apply_policy", text=A_POLICY_TEXT + "\n# second\n", expected="000001")

    answer = stage.call("apply_policy", text=A_POLICY_TEXT + "\n# third\n", expected="000001")

    assert answer["faults"] == [
        "policy: version 000002 is in force, expected 000001: start again from what is in force"
    ]


def test_an_open_run_keeps_its_policy(stage: Stage) -> None:
    stage.tick()
    stage.ready()
    without_eu0 = A_POLICY_TEXT.replace('["us0", "eu0"]', '["us0"]')
    stage.call("apply_policy", text=without_eu0, expected=None)
    stage.report("eu0")

    stage.report_event("eu0")

    assert stage.the_run().policy_version == "000001"
    assert [result.id for result in stage.world.catalog.find_results(a_run_id())] == ["eu0a"]


def test_a_receiver_stays_while_its_run_is_open(stage: Stage) -> None:
    stage.tick()
    renamed = A_POLICY_TEXT.replace("[receiver.main]", "[receiver.other]")

    answer = stage.call("apply_policy", text=renamed, expected=None)

    assert answer["faults"] == [
        "receiver.main: it is gone while run main/2026-11-23/1 is open; expected to stay until that is closed"
    ]


def test_a_night_is_begun_by_hand_as_long_as_the_window(stage: Stage) -> None:
    stage.set_clock(a_moment(12))

    answer = stage.call("run_now", receiver="main")

    run = stage.the_run()
    assert answer == {"schema": 1, "run": str(run.id)}
    assert (run.opened, run.deadline) == (a_moment(12), a_moment(16))
    assert stage.deliver() == ["reconcile_run"]
    assert len(stage.world.machines.requests) == 1


def test_no_night_is_begun_beside_an_open_one(stage: Stage) -> None:
    stage.tick()

    with pytest.raises(Refused, match="main/2026-11-23/1 is open"):
        stage.call("run_now", receiver="main")


def test_two_operators_at_once_get_one_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.set_clock(a_moment(12))
    monkeypatch.setattr(stage.world.catalog, "find_runs", lambda receiver: [])  # both look before either writes
    stage.call("run_now", receiver="main")

    with pytest.raises(Refused, match="someone else opened a run at the same moment"):
        stage.call("run_now", receiver="main")

    assert list(stage.world.catalog.runs) == [a_run_id()]


def test_two_operators_at_once_on_either_side_of_midnight_get_one_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.world.catalog, "find_runs", lambda receiver: [])
    stage.set_clock(a_moment(23, 59))
    stage.call("run_now", receiver="main")
    stage.set_clock(a_moment(0, 0, day=24))

    with pytest.raises(Refused, match="someone else opened a run"):
        stage.call("run_now", receiver="main")

    assert list(stage.world.catalog.runs) == [a_run_id()]


def test_a_night_by_hand_that_was_open_past_the_windows_end_is_not_followed_by_a_missed_one(stage: Stage) -> None:
    stage.set_clock(a_moment(1, 30))
    stage.call("run_now", receiver="main")
    stage.world.catalog.save_run(replace(stage.the_run(), state=RunState.DONE, closed=a_moment(6, 20)))

    stage.tick(a_moment(6, 25))

    assert stage.the_run().id == a_run_id()


def test_a_night_by_hand_before_the_window_does_not_stand_for_it(stage: Stage) -> None:
    stage.set_clock(a_moment(0, 30))
    stage.call("run_now", receiver="main")
    stage.world.catalog.save_run(replace(stage.the_run(), state=RunState.DONE))

    stage.tick(a_moment(2, 5))

    assert [run.id for run in stage.world.catalog.find_runs("main")] == [a_run_id(attempt=2), a_run_id(attempt=1)]


def test_a_receiver_that_the_policy_does_not_have_is_told_with_those_it_has(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="expected one of: main"):
        stage.call("run_now", receiver="mian")


def test_a_drill_starts_from_the_newest_point_and_wakes_its_recovery(stage: Stage) -> None:
    a_whole_night(stage)

    answer = stage.call("drill", host="us0")

    assert answer == {"schema": 1, "recovery": "us0a/2026-11-23/1"}
    assert stage.deliver() == ["recover", "tell_progress"]
    assert len(stage.world.machines.by_id) == 2


def test_where_the_policy_wants_drills_the_hours_first_tick_after_a_night_begins_one_and_then_another(
    stage: Stage,
) -> None:
    stage.call("apply_policy", text=f'{A_POLICY_TEXT}\n[drill]\nevery = "7 days"\n', expected="000001")
    a_whole_night(stage)

    begun = []
    for hour in (2, 3):
        stage.tick(a_moment(hour, 1))
        begun.append([str(each.id) for each in stage.world.catalog.find_recoveries()])

    us0, eu0 = "us0a/2026-11-23/1", "eu0a/2026-11-23/1"
    assert begun == [[us0], [eu0, us0]]


def test_a_due_drill_that_is_refused_is_logged_and_raises_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.call("apply_policy", text=f'{A_POLICY_TEXT}\n[drill]\nevery = "7 days"\n', expected="000001")
    stage.world.catalog.record_point(a_point("us0a", "snap-gone"))

    stage.tick(a_moment(12))

    assert [record.why for record in caplog.records if record.message == "not drilled"] == [  # type: ignore[attr-defined]
        "host us0: EC2 shows none of the snapshots that hold its restore points here: snap-gone. "
        "Ask again in some minutes, then look for copies of them in another region or account"
    ]
    assert stage.world.catalog.find_recoveries() == []


def a_whole_night(stage: Stage) -> None:
    stage.tick()
    stage.ready()
    stage.report("us0")
    stage.report("eu0")
    stage.released()
    stage.tick()
    stage.complete_snapshots()
    stage.tick()


def test_without_a_point_there_is_nothing_to_restore(stage: Stage) -> None:
    with pytest.raises(Refused, match="no restore point"):
        stage.call("restore", host="us0")


@pytest.mark.fault("O5")
@pytest.mark.parametrize("taken", ["us0", "eu0", "us0.example.org", "backup.example.org", "backup"])
def test_a_restore_takes_a_name_in_production_only_when_that_is_meant(stage: Stage, taken: str) -> None:
    a_whole_night(stage)
    settled = stage.memory()

    with pytest.raises(Refused, match=f"{taken} is the name of"):
        stage.call("restore", host="us0", name=taken)
    assert stage.memory() == settled

    stage.call("restore", host="us0", name=taken, is_meant=True)
    (recovery,) = stage.world.catalog.find_recoveries()
    assert recovery.name == taken


@pytest.mark.fault("O5")
def test_a_restore_has_a_name_of_its_own_unless_it_is_given_one(stage: Stage) -> None:
    a_whole_night(stage)

    stage.call("restore", host="us0")
    stage.call("restore", host="us0", name="us0-of-march")
    again = stage.call("restore", host="us0", name="us0-of-march")

    assert [recovery.name for recovery in stage.world.catalog.find_recoveries()] == ["restored-us0a", "us0-of-march"]
    assert again["recovery"].endswith("/2")


@pytest.mark.parametrize("name", ["", "US0", "a b", "-a", "x" * 64, "a..b", "systemd.unit=emergency.target\n"])
def test_what_is_no_name_is_refused(stage: Stage, name: str) -> None:
    a_whole_night(stage)

    with pytest.raises(ConfigError, match="expected a host name"):
        stage.call("restore", host="us0", name=name, is_meant=True)

    assert stage.world.catalog.find_recoveries() == []


@pytest.mark.parametrize("nobody", ["", "us", "us0b/x", "everyone"])
@pytest.mark.parametrize("door", ["restore", "drill"])
def test_nobody_is_restored_by_a_name_that_is_none(stage: Stage, door: str, nobody: str) -> None:
    a_whole_night(stage)
    settled = stage.memory()

    with pytest.raises(PermanentError, match="no host of the policy, and no host id either"):
        stage.call(door, host=nobody)

    assert stage.memory() == settled
    assert stage.world.catalog.find_recoveries() == []


def test_an_opening_is_asked_for_waited_for_and_closed(stage: Stage) -> None:
    a_whole_night(stage)

    asked = stage.call("open_host", host="us0", minutes=30)
    again = stage.call("open_host", host="us0", minutes=30)
    coming = stage.call("recover", recovery=asked["recovery"])
    address = stage.world.machines.get("i-2").address
    stage.world.archive.put_once(f"recoveries/{asked['recovery']}/opened.json", b"{}")
    standing = stage.call("recover", recovery=asked["recovery"])
    closing = stage.call("close_host", of="us0")
    gone = stage.call("recover", recovery=asked["recovery"])

    assert (asked["kind"], asked["state"], asked["verdict"]) == ("opening", "open", None)
    assert (asked["is_new"], again["is_new"], again["recovery"]) == (True, False, asked["recovery"])
    assert coming["waiting"] == ["machine i-2 to open"]
    assert (standing["verdict"], standing["address"]) == ("opened", address)
    assert closing["recoveries"] == [asked["recovery"]]
    assert (gone["state"], gone["verdict"]) == ("done", "opened")
    assert [machine.state for machine in stage.world.machines.by_id.values()] == ["terminated"] * 2


def test_whoever_closes_nothing_is_told_what_stands_open_or_restored_and_no_drill(stage: Stage) -> None:
    a_whole_night(stage)
    restored, opened = stage.call("restore", host="us0"), stage.call("open_host", host="us0")
    stage.call("drill", host="us0")
    settled = stage.memory()

    standing = stage.call("close_host", of=None)["standing"]

    assert [(each["recovery"], each["kind"]) for each in standing] == [
        (restored["recovery"], "restore"),
        (opened["recovery"], "opening"),
    ]
    assert stage.memory() == settled


def test_whoever_waits_for_a_recovery_that_is_none_is_told_nothing(stage: Stage) -> None:
    assert stage.call("recover", recovery="us0a/2026-11-23/9") is None


def test_a_prune_tells_its_plan_and_a_dry_run_deletes_nothing(stage: Stage) -> None:
    a_whole_night(stage)
    settled = stage.memory()

    answer = stage.call("prune", dry_run=True)

    assert (answer["marked"], answer["deleted"]) == ([], [])
    assert [each["snapshot"] for each in answer["plan"]] == [stage.the_snapshot()]
    assert stage.memory() == settled


def test_a_prune_beside_another_says_so_and_has_not_failed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    a_whole_night(stage)
    a_lease_of(stage, "another invocation")
    emitted: list[object] = []
    monkeypatch.setattr(app, "emit", emitted.append)
    settled = stage.memory()

    answer = stage.call("prune", dry_run=False)

    assert "under way" in answer["refused"]
    assert answer.keys() == stage.call("prune", dry_run=True).keys()
    assert stage.memory() == settled
    assert emitted == [()]


def a_lease_of(stage: Stage, holder: str) -> None:
    held = stage.world.catalog.find_lease("prune")
    assert held is not None
    stage.world.catalog.save_lease(replace(held, until=a_moment(4), holder=holder))


def test_a_prune_that_was_killed_is_gone_on_with_when_lambda_tries_it_again(stage: Stage) -> None:
    a_whole_night(stage)
    a_lease_of(stage, "invocation-1")

    answer = app.prune({"schema": 1, "dry_run": False}, SimpleNamespace(aws_request_id="invocation-1"))

    assert answer["refused"] is None


def test_a_snapshot_is_held_and_released_by_its_hosts_point(stage: Stage) -> None:
    a_whole_night(stage)

    held = stage.call("hold", host="us0", at=None, why="the auditors", by="ada", dry_run=False)
    planned = stage.call("prune", dry_run=True)
    released = stage.call("release", snapshot=stage.the_snapshot(), dry_run=False)

    assert (held["snapshot"], held["before"]) == (stage.the_snapshot(), None)
    assert held["after"] == released["before"]
    assert {"host": None, "why": f"held by ada since {held['after']['since']}: the auditors"} in (
        planned["plan"][0]["reasons"]
    )
    assert stage.call("release", host="us0", dry_run=False)["before"] is None


@pytest.mark.parametrize(
    "target", [{}, {"snapshot": "snap-1", "host": "us0"}, {"snapshot": "snap-1", "at": "2026-11-23T00:00:00Z"}]
)
def test_what_is_to_be_held_is_named_in_one_way(stage: Stage, target: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match="payload"):
        stage.call("release", **target, dry_run=False)


def test_a_count_below_zero_is_no_confirmation(stage: Stage) -> None:
    with pytest.raises(PermanentError, match="allow is -1"):
        stage.call("prune", dry_run=True, allow=-1)


def test_a_host_that_left_the_policy_is_forgotten(stage: Stage) -> None:
    a_whole_night(stage)
    without_eu0 = A_POLICY_TEXT.replace('["us0", "eu0"]', '["us0"]').replace(
        A_POLICY_TEXT[A_POLICY_TEXT.index("[host.eu0]") : A_POLICY_TEXT.index("[retention]")], ""
    )
    stage.call("apply_policy", text=without_eu0, expected=None)

    answer = stage.call("forget_host", host="eu0", by="ada", dry_run=False)

    assert (answer["id"], len(answer["points"]), answer["already"]) == ("eu0a", 1, False)
    assert stage.world.archive.list("forgotten/") == ["forgotten/eu0a.json"]


def test_a_lost_table_is_rebuilt_to_what_it_was(stage: Stage) -> None:
    a_whole_night(stage)
    before = {point.host_id for point in stage.world.catalog.find_points()}
    stage.lose_the_table()

    answer = stage.call("rebuild")

    assert (answer["runs"], answer["results"], answer["policy"]) == (1, 2, "000001")
    assert {point.host_id for point in stage.world.catalog.find_points()} == before
    assert stage.the_run().state is RunState.DONE
