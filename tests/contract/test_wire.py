"""The examples both sides of every wire must meet: each one parses, and what we write equals the example."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.aws.bus import SOURCE
from chalicelib.core import tags
from chalicelib.core.holds import Target
from chalicelib.core.model import (
    ExpectedHost,
    HostStatus,
    Quota,
    Recovery,
    RecoveryId,
    RecoveryKind,
    RecoveryReport,
    RecoveryState,
    RestoredServer,
    RestorePoint,
    Run,
    RunId,
    RunState,
    Step,
    Times,
    TreeKind,
    Way,
)
from chalicelib.core.naming import Mode, RecoveryRequest
from chalicelib.core.opening import OpeningRequest
from chalicelib.core.policy import HostPolicy, ReceiverPolicy, VolumePolicy
from chalicelib.core.steps import LAUNCH
from chalicelib.core.volume_night import OwnReport
from chalicelib.errors import PermanentError
from ebbtide_agent.instance import parse_instance
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.station import word_key
from ebbtide_agent.report import manifest_key, report_key
from ebbtide_agent.restore.recovery import parse_brief as parse_recovery_brief

EXAMPLES = Path(__file__).parent / "wire"
RUN = RunId("main", date(2026, 11, 23), 1)
NONCE = "00112233445566778899aabbccddeeff"
OWN_RUN = RunId("host.web1", date(2026, 11, 23), 7951)
RECOVERY = RecoveryId("us0a", date(2026, 11, 23), 1)


def the_example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.json").read_bytes()


def the_object(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(the_example(name))
    return loaded


def a_moment(hour: int, minute: int = 0, day: int = 23) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def the_run() -> Run:
    host = ExpectedHost("us0", "us0a", "0123456789abcdef0123456789abcdef")
    return Run(RUN, "000001", opened=a_moment(2), deadline=a_moment(6), hosts=(host,), nonce=NONCE)


def the_recovery() -> Recovery:
    point = RestorePoint(
        host_id="us0a",
        at=a_moment(2, 45, day=22),
        snapshot_id="snap-0abc",
        run=RunId("main", date(2026, 11, 22), 1),
        tree=TreeKind.FAKE_SUPER,
        manifest="manifests/us0a/main/2026-11-22/1.jsonl.gz",
    )
    return Recovery(
        RECOVERY,
        RecoveryKind.DRILL,
        "us0",
        "restored-us0a",
        point,
        "http://127.0.0.1/",
        "000001",
        opened=a_moment(9),
        deadline=a_moment(11),
        step=Step(LAUNCH, a_moment(9)),
        nonce=NONCE,
    )


def test_a_receiver_is_briefed_as_in_the_example() -> None:
    receiver = ReceiverPolicy(
        name="main",
        start=time(2),
        end=time(6),
        timezone="UTC",
        address_name="backup.example.org",
        address_kind="route53",
        allow=(),
        instances=("t4g.small",),
        volume=VolumePolicy(80),
        hosts=("us0",),
    )
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDummyKeyOfUs0 root@us0"
    hosts = {"us0": HostPolicy("us0", "us0a", (key,), quota_gib=30)}

    brief = wire.receiver_brief(the_run(), receiver, hosts, "vol-0abc", timedelta(minutes=30), is_distrusted=True)

    assert json.loads(brief) == the_object("brief-receiver")


def test_a_run_is_rebuilt_from_its_brief() -> None:
    run = wire.parse_run_brief(the_example("brief-receiver"))

    assert run == the_run()


def test_a_run_that_was_briefed_before_keys_bore_a_nonce_has_words_and_reports_where_they_were() -> None:
    older = {name: value for name, value in the_object("brief-receiver").items() if name != "nonce"}

    run = wire.parse_run_brief(json.dumps(older).encode())

    assert wire.word_key(run, "ready", 1) == f"runs/{RUN}/ready/1.json"
    assert wire.report_key(run, "us0a") == f"reports/{RUN}/us0a.json"


def test_a_receivers_words_are_looked_for_where_it_says_them() -> None:
    machine = parse_instance((EXAMPLES / "instance.json").read_bytes())

    assert wire.word_key(the_run(), "released", 1) == word_key("released", machine)
    assert NONCE in word_key("released", machine)


def test_a_hosts_report_is_looked_for_where_its_receiver_puts_it() -> None:
    brief = parse_brief(the_example("brief-receiver"))

    assert wire.report_key(the_run(), "us0a") == report_key(brief.run, brief.nonce, "us0a")
    assert NONCE in report_key(brief.run, brief.nonce, "us0a")
    assert NONCE in manifest_key("us0a", brief.run, brief.nonce)


def test_a_host_with_a_volume_of_its_own_reports_its_run_its_volume_and_its_promise() -> None:
    report = wire.parse_host_report(OWN_RUN, the_example("host-report"))

    assert (report.result.run, report.result.id) == (OWN_RUN, "web1")
    assert report.result.status is HostStatus.COMPLETE
    assert report.result.manifest == "manifests/web1/host.web1/2026-11-23/7951.jsonl.gz"
    assert report.own == OwnReport("vol-0abc", TreeKind.REAL, unmounted=True)
    assert report.quiet_until == a_moment(14, 12).replace(second=30)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"id": "us0a"}, "it speaks of host us0a"),
        ({"run": "host.web1/2026-11-23/7952"}, "it speaks of host web1 in run host.web1/2026-11-23/7952"),
        ({"finished": "2026-11-23T02:12:31Z"}, "done at 2026-11-23 02:12:31"),
        ({"status": "missing"}, "expected what became of the host's night"),
        ({"volume": {"quiet_until": "2026-11-23T03:00:00Z"}}, "expected one hour to one day"),
        ({"volume": {"quiet_until": "2026-11-24T02:12:31Z"}}, "expected one hour to one day"),
        ({"volume": {"unmounted": "yes"}}, "expected true or false"),
        (
            {"volume": {"manifest": {"key": "manifests/us0a/main/2026-11-23/1.jsonl.gz"}}},
            "expected one below manifests/web1/",
        ),
    ],
)
def test_a_hosts_report_that_is_not_of_its_run_or_promises_nothing_sensible_does_not_count(
    changed: dict[str, Any], why: str
) -> None:
    report = the_object("host-report")
    volume = {**report["volume"], **changed.get("volume", {})}

    with pytest.raises(PermanentError, match=why):
        wire.parse_host_report(OWN_RUN, json.dumps({**report, **changed, "volume": volume}).encode())


def test_a_hosts_report_keeps_as_much_of_its_problems_as_any_other() -> None:
    report = {**the_object("host-report"), "problems": ["x" * 1000] * 1000}

    problems = wire.parse_host_report(OWN_RUN, json.dumps(report).encode()).result.problems

    assert [len(problem) for problem in problems] == [wire.LONGEST_PROBLEM] * wire.MOST_PROBLEMS


def test_the_key_of_a_hosts_report_says_its_run_and_no_other_key_does() -> None:
    key = "host-reports/2026-11-23/web1/7951.json"

    assert wire.host_report_key(OWN_RUN) == key
    assert wire.run_of_host_report_key(key) == OWN_RUN
    assert wire.host_reports_before(a_moment(2)) < key < wire.host_reports_before(a_moment(2, day=24))


@pytest.mark.parametrize(
    "key",
    [
        "host-reports/2026-11-23/eu0a/web1/7951.json",
        "host-reports/2026-11-23/eu0a/web1/../7951.json",
        "host-reports/2026-11-31/web1/7951.json",
        "host-reports/2026-11-23/web1/0.json",
        "host-reports/2026-11-23/web1/86401.json",
        "host-reports/2026-11-23/web1/7951.json.bak",
        "host-reports/web1/web1/7951.json",
    ],
)
def test_what_else_a_hosts_role_lets_it_write_is_no_report(key: str) -> None:
    with pytest.raises(PermanentError):
        wire.run_of_host_report_key(key)


def test_a_hosts_own_event_is_known_by_its_source() -> None:
    event = the_object("event-host-own-report")

    assert wire.host_of_source(event["source"]) == "web1"
    assert wire.parse_run_payload(event["detail"]) == OWN_RUN
    assert wire.host_of_source("ebbtide.receiver.main") is None
    assert wire.host_of_source("ebbtide.host.web1x") is None


def test_an_own_run_is_remembered_as_in_the_example_and_rebuilt_from_it() -> None:
    done, promised = (a_moment(hour, 12).replace(second=30) for hour in (2, 14))
    run = Run(OWN_RUN, "000001", done, promised, (ExpectedHost("web1.example.org", "web1", ""),))

    assert json.loads(wire.own_brief(run)) == the_object("brief-host")
    assert wire.parse_run_brief(the_example("brief-host")) == run


def test_an_enrolment_is_archived_as_in_the_example() -> None:
    assert json.loads(wire.enrolled_record("web1", a_moment(9))) == the_object("enrolled")
    assert wire.parse_enrolled(the_example("enrolled")) == a_moment(9)
    assert wire.enrolled_key("web1") == "enrolled/web1.json"


def test_a_report_gives_the_result_and_the_nonce() -> None:
    report = wire.parse_report(the_example("report"))

    assert (report.result.run, report.result.name, report.result.id) == (RUN, "us0", "us0a")
    assert report.result.status is HostStatus.COMPLETE
    assert report.result.tree is TreeKind.FAKE_SUPER
    assert report.result.manifest == "manifests/us0a/main/2026-11-23/1.jsonl.gz"
    assert report.result.seconds == the_seconds_of(the_object("report"))
    assert report.nonce == the_object("report")["nonce"]
    assert report.result.quota == Quota(32212254720, 301200000)


@pytest.mark.parametrize(("name", "run", "host_id"), [("report", RUN, "us0a"), ("host-report", OWN_RUN, "web1")])
def test_a_report_tells_where_the_manifest_lies_and_of_what_machine_the_tree_is(
    name: str, run: RunId, host_id: str
) -> None:
    told = wire.parse_reported_tree(run, host_id, the_example(name))

    assert told.architecture == "x86_64"
    assert told.manifest is not None
    assert told.manifest.key == f"manifests/{host_id}/{run}.jsonl.gz"
    assert (told.manifest.sha256[:4], (told.manifest.content or "")[:4]) == ("9f86", "6dcd")


def test_a_manifest_is_believed_of_the_run_and_host_asked_for_alone() -> None:
    report = the_object("report")
    stolen = {**report, "receiver": {**report["receiver"], "manifest": {"key": "manifests/eu0a/x", "sha256": ""}}}

    for run, host_id, body in ((OWN_RUN, "us0a", report), (RUN, "eu0a", report), (RUN, "us0a", stolen)):
        with pytest.raises(PermanentError, match=r"speaks of host us0a|expected one below manifests/us0a/"):
            wire.parse_reported_tree(run, host_id, json.dumps(body).encode())


def test_a_report_of_a_receiver_that_knew_no_quotas_says_nothing_of_one() -> None:
    older = the_object("report")
    del older["receiver"]["quota"]

    assert wire.parse_report(json.dumps(older).encode()).result.quota is None


def the_seconds_of(report: dict[str, Any]) -> float:
    started, finished = (datetime.fromisoformat(report[name]) for name in ("started", "finished"))
    return (finished - started).total_seconds()


def test_a_report_says_no_more_than_we_care_to_keep() -> None:
    chatty = the_object("report") | {"problems": ["x" * 10_000] * 10_000}

    report = wire.parse_report(json.dumps(chatty).encode())

    assert len(report.result.problems) == wire.MOST_PROBLEMS
    assert {len(problem) for problem in report.result.problems} == {wire.LONGEST_PROBLEM}


def test_a_report_warns_of_what_is_wrong_with_the_hosts_disks_and_an_older_one_of_nothing() -> None:
    degraded = {"what": "array md0", "state": "warning", "said": "degraded"}
    worn = the_object("report") | {"health": [degraded, *the_object("report")["health"]]}
    older = {name: value for name, value in worn.items() if name != "health"}
    chatty = worn | {"health": [degraded | {"what": "x" * 999}] * 999}

    said = [wire.parse_report(json.dumps(body).encode()).result.warnings for body in (worn, older, chatty)]

    assert said[:2] == [("array md0: degraded",), ()]
    assert [len(each) for each in said[2]] == [wire.LONGEST_PROBLEM] * wire.MOST_PROBLEMS


@pytest.mark.attack("a host's own words in an operator's mail or terminal", row="X4", outcome="one escaped line each")
@pytest.mark.fault("X4")
def test_what_a_machine_says_becomes_one_line_that_moves_nobodys_cursor() -> None:
    said = "all is well\r\nx: \x1b[2J\u202e"
    speaking = the_object("report") | {"problems": [said], "health": [{"what": said, "state": "warning", "said": said}]}

    result = wire.parse_report(json.dumps(speaking).encode()).result

    assert result.problems == ("all is well\\r\\nx: \\x1b[2J\\u202e",)
    assert all(warning.isprintable() for warning in result.warnings)


@pytest.mark.parametrize("value", [7, "well", [7], [{"what": "a", "state": 7, "said": "b"}]])
def test_a_report_of_other_health_than_that_is_refused(value: object) -> None:
    with pytest.raises(PermanentError, match="health"):
        wire.parse_report(json.dumps(the_object("report") | {"health": value}).encode())


@pytest.mark.parametrize("field", sorted({"schema", "run", "host", "id", "nonce", "status", "files", "receiver"}))
@pytest.mark.parametrize("value", [None, True, -1.5, [], {}, "\x1b[2J"])
def test_a_damaged_report_is_refused_with_the_name_of_the_field(field: str, value: object) -> None:
    if field in ("host", "nonce") and isinstance(value, str):
        value = 7
    damaged = the_object("report") | {field: value}

    with pytest.raises(PermanentError, match=r"report|no run id|no host id|nonce"):
        wire.parse_report(json.dumps(damaged).encode())


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(PermanentError, match="report"):
        wire.parse_report(body)


def test_a_run_is_closed_as_in_the_example() -> None:
    hosts = (
        wire.ClosedHost("us0", "us0a", HostStatus.COMPLETE),
        wire.ClosedHost("eu0", "eu0a", HostStatus.MISSING),
    )
    closed = wire.Closed(RUN, RunState.DEGRADED, a_moment(2, 55), "snap-0abc", "not complete: eu0 missing", hosts)

    assert json.loads(wire.closed_record(closed)) == the_object("closed")
    assert wire.parse_closed(the_example("closed")) == closed


@pytest.mark.parametrize("name", ["ready", "released", "damaged", "refused"])
def test_a_receiver_notice_names_run_and_attempt(name: str) -> None:
    notice = wire.parse_notice(the_example(name))

    assert (notice.run, notice.attempt) == (RUN, 1)


def test_a_release_says_how_full_the_disk_is_and_an_older_one_does_not() -> None:
    older = {name: value for name, value in the_object("released").items() if name != "disk"}

    said, unsaid = wire.parse_notice(the_example("released")), wire.parse_notice(json.dumps(older).encode())

    assert said.disk is not None
    assert vars(said.disk) == the_object("released")["disk"]
    assert (unsaid.disk, unsaid.clean) == (None, True)


def test_a_release_says_whether_the_volume_turned_read_only_and_an_older_one_does_not() -> None:
    said = the_object("released") | {"read_only": True}
    older = {name: value for name, value in said.items() if name != "read_only"}

    assert wire.parse_notice(json.dumps(said).encode()).read_only
    assert not wire.parse_notice(json.dumps(older).encode()).read_only


def test_who_stands_ready_says_with_which_volume_and_an_older_receiver_does_not() -> None:
    older = {name: value for name, value in the_object("ready").items() if name != "volume"}

    said, unsaid = wire.parse_notice(the_example("ready")), wire.parse_notice(json.dumps(older).encode())

    assert (said.volume_id, unsaid.volume_id) == ("vol-0123456789abcdef0", None)
    assert wire.parse_notice(the_example("damaged")).volume_id == "vol-0123456789abcdef0"


def test_who_lets_nobody_in_says_why_in_one_line_that_is_cut_short() -> None:
    said = wire.parse_notice(the_example("refused"))
    long = wire.parse_notice(json.dumps(the_object("refused") | {"why": "\x1b[2J\n" + "x" * 1000}).encode())

    assert said.why == the_object("refused")["why"]
    assert long.why is not None
    assert (long.why[:10], len(long.why)) == (r"\x1b[2J\nx", 500)


@pytest.mark.parametrize("value", [1, ["a line"], {"says": "no"}, "half a character: \ud800"])
def test_a_reason_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(PermanentError, match="receiver notice: why"):
        wire.parse_notice(json.dumps(the_object("refused") | {"why": value}).encode())


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None])
def test_a_disk_of_other_than_counts_is_refused(value: object) -> None:
    damaged = the_object("released")
    damaged["disk"]["used"] = value

    with pytest.raises(PermanentError, match="receiver notice, disk: used"):
        wire.parse_notice(json.dumps(damaged).encode())


def test_a_recovery_is_briefed_as_in_the_example_and_rebuilt_from_it() -> None:
    digest = the_object("brief-recovery")["manifest_sha256"]

    brief = wire.recovery_brief(the_recovery(), "vol-0def", manifest_sha256=digest)

    assert json.loads(brief) == the_object("brief-recovery")
    assert wire.parse_recovery_brief(the_example("brief-recovery")) == the_recovery()


def test_an_opening_is_briefed_as_in_the_example_and_rebuilt_from_it() -> None:
    opening = replace(the_recovery(), kind=RecoveryKind.OPENING, nonce="")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDummyKeyOfUs0 root@us0"

    brief = wire.recovery_brief(opening, "vol-0def", wire.Serving((key,), "/ebbtide/main/host-key", "ext4"))

    assert json.loads(brief) == the_object("brief-opening")
    assert wire.parse_recovery_brief(the_example("brief-opening")) == opening


def test_a_restore_is_briefed_as_in_the_example_and_rebuilt_from_it() -> None:
    ways = (Way(22, "198.51.100.0/24"), Way(80, "198.51.100.0/24"))
    start = ("service nginx start",)
    restore = replace(the_recovery(), kind=RecoveryKind.RESTORE, ways=ways, start=start)

    brief = wire.recovery_brief(restore, "vol-0def")

    assert json.loads(brief) == the_object("brief-restore")
    assert wire.parse_recovery_brief(the_example("brief-restore")) == restore


def test_what_was_asked_for_is_written_as_in_the_example_and_rebuilt_from_it() -> None:
    asked = wire.recovery_asked(the_recovery())

    assert json.loads(asked) == the_object("asked-recovery")
    assert wire.parse_recovery_asked(the_example("asked-recovery")) == the_recovery()


def test_who_logs_in_where_an_opening_stands_does_so_as_by_night() -> None:
    (by_night,) = the_object("brief-receiver")["hosts"]
    opened, night = the_object("brief-opening")["serve"], the_object("brief-receiver")

    assert (opened["uid"], opened["keys"]) == (by_night["uid"], by_night["keys"])
    assert opened["host_key_parameter"] == night["host_key_parameter"]
    assert opened["filesystem"] == night["volume"]["filesystem"]


def test_a_machine_says_that_it_serves_below_its_own_recovery() -> None:
    said = the_object("opened-recovery")

    assert wire.recovery_opened_key(RECOVERY) == f"recoveries/{said['recovery']}/opened.json"
    assert wire.recovery_opened_key(RECOVERY).startswith(wire.recovery_prefix(RECOVERY))
    assert wire.parse_opened(the_example("opened-recovery")) == said["host_key"]


def test_an_operator_is_told_how_an_opening_stands_as_in_the_example() -> None:
    opened = replace(the_recovery(), kind=RecoveryKind.OPENING, verdict="opened", address="203.0.113.9", step=None)
    opening = replace(opened, zone="eu-west-1b")

    standing = wire.standing(opening, ("us0 is open at 203.0.113.9 until 2026-11-23T11:00:00+00:00",))

    assert standing == the_object("standing-opening")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"ports": [0]}, "ports has 0"),
        ({"ports": [70000]}, "ports has 70000"),
        ({"ports": ["80"]}, "ports is '80'"),
        ({"ports": 80}, "ports is 80"),
        ({"allow": ["everyone"]}, "allow: 'everyone'"),
        ({"allow": ["198.51.100.7/24"]}, "allow: 198.51.100.7/24 has host bits set"),
        ({"mode": "opening"}, "mode is 'opening', expected one of restore, drill"),
        ({"at": "yesterday"}, "at is 'yesterday'"),
        ({"at": "2026-02-30"}, "at is '2026-02-30"),
    ],
)
def test_a_restore_that_makes_no_sense_is_refused_and_says_what_does_not(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(PermanentError, match=re.escape(why)):
        wire.parse_recovery_request({"schema": 1, "host": "us0", **asked})


@pytest.mark.parametrize("minutes", [-1, 0, 14, 1441, "120", 20.5])
def test_nothing_is_opened_for_a_moment_or_for_ever(minutes: object) -> None:
    with pytest.raises(PermanentError, match="minutes is"):
        wire.parse_opening_request({"schema": 1, "host": "us0", "minutes": minutes})


def test_a_recovery_report_gives_verdict_and_timings() -> None:
    example = the_object("recovery-report")

    report = wire.parse_recovery_report(the_example("recovery-report"))

    assert (str(report.recovery), report.verdict) == (example["recovery"], example["verdict"])
    assert report.timings == example["timings"]


def test_a_server_that_is_back_says_how_it_runs_and_where_is_its_recoverys() -> None:
    example = the_object("recovery-standing")

    server = wire.parse_restored_server(the_example("recovery-standing"))

    assert (server.recovery, server.host_id, server.boot.booted) == (RECOVERY, "us0a", True)
    assert (server.timings, server.since) == (example["timings"], a_moment(9, 3))


def test_a_step_that_a_machine_begins_is_read_from_where_it_says_it() -> None:
    example = the_object("recovery-step")

    step = wire.parse_step(the_example("recovery-step"))

    assert (step.name, step.since) == (example["step"], a_moment(9, 1) + timedelta(seconds=31))


@pytest.mark.parametrize("nonce", [NONCE, ""], ids=["this version", "an earlier one"])
def test_what_its_machine_says_is_looked_for_where_that_puts_it(nonce: str) -> None:
    recovery = replace(the_recovery(), nonce=nonce, attempt=2)
    brief = parse_recovery_brief(wire.recovery_brief(recovery, "vol-0def"), attempt=2)

    assert wire.recovery_begun_key(recovery) == brief.key("begun/2.json")
    assert wire.recovery_step_key(recovery, "materialise") == brief.key("begun/2/materialise.json")
    assert wire.recovery_standing_key(recovery) == brief.key("standing.json")
    assert wire.recovery_off_key(recovery) == brief.key("off.json")
    assert wire.recovery_report_key(recovery) == brief.key("report.json")
    assert wire.recovery_found_key(recovery) == brief.key("found.jsonl.gz")
    assert all(key.startswith(wire.recovery_words_prefix(recovery)) for key in wire.own_recovery_keys(recovery))


def test_the_last_brief_of_a_recovery_is_known_by_its_key_and_with_it_its_machines_nonce() -> None:
    first, second = replace(the_recovery(), nonce="f" * 32), replace(the_recovery(), attempt=2)
    earlier = replace(the_recovery(), nonce="", attempt=2)
    forged = [f"recoveries/{RECOVERY}/begun/{NONCE}/9/brief.json", f"recoveries/{RECOVERY}/x/3/brief.json"]

    assert wire.latest_brief_among([]) is None
    assert wire.latest_brief_among([wire.recovery_brief_key(first), *forged]) == (1, "f" * 32)
    assert wire.latest_brief_among(map(wire.recovery_brief_key, (first, second))) == (2, NONCE)
    assert wire.latest_brief_among([wire.recovery_brief_key(earlier)]) == (2, "")


def test_whoever_follows_a_recovery_is_told_as_in_the_example() -> None:
    event = the_object("event-recovery-progress")
    step = wire.parse_step(the_example("recovery-step"))

    detail = wire.recovery_progress(replace(the_recovery(), step=step, version=3))

    assert (event["source"], event["detail-type"]) == (SOURCE, wire.RECOVERY_PROGRESS)
    assert detail == event["detail"]
    assert wire.parse_recovery_progress(detail) == detail


@pytest.mark.parametrize("payload", [{}, {"schema": 1}, {"schema": 1, "recovery": "us0a"}])
def test_what_is_no_progress_of_a_recovery_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(PermanentError):
        wire.parse_recovery_progress(payload)


def test_a_recovery_is_closed_as_in_the_example() -> None:
    times = Times(a_moment(9, 2) + timedelta(seconds=58), {"launch": 4.0, "machine": 86.0, "image boot": 12.4})
    closed = wire.ClosedRecovery(RECOVERY, RecoveryState.DONE, "proven", (), "i-0abc", a_moment(9, 12), times)

    assert json.loads(wire.closed_recovery_record(closed)) == the_object("closed-recovery")
    assert wire.parse_closed_recovery(the_example("closed-recovery")) == closed


@pytest.mark.parametrize(
    ("example", "parse"),
    [
        ("recovery-report", wire.parse_recovery_report),
        ("recovery-standing", wire.parse_restored_server),
    ],
)
def test_what_a_machine_said_before_it_told_when_it_answered_is_read(
    example: str, parse: Callable[[bytes], RecoveryReport | RestoredServer]
) -> None:
    before = {name: said for name, said in the_object(example).items() if name not in ("began", "answered")}

    now, old = parse(the_example(example)), parse(json.dumps(before).encode())

    assert (now.began, now.answered) == (a_moment(9, 1) + timedelta(seconds=30), a_moment(9, 2) + timedelta(seconds=58))
    assert old == replace(now, began=None, answered=None)


def test_a_recovery_that_was_closed_before_times_were_kept_is_read() -> None:
    before = {name: said for name, said in the_object("closed-recovery").items() if name != "times"}

    assert wire.parse_closed_recovery(json.dumps(before).encode()).times is None


def test_that_somebody_has_ended_a_recovery_is_among_how_it_closed() -> None:
    closed = replace(wire.parse_closed_recovery(the_example("closed-recovery")), ended_early=True)

    assert wire.parse_closed_recovery(wire.closed_recovery_record(closed)) == closed


@pytest.mark.parametrize("name", ["event-host-report", "event-receiver-released"])
def test_the_events_of_a_receiver_name_its_run(name: str) -> None:
    assert wire.parse_run_payload(the_object(name)["detail"]) == RUN


def test_an_event_tells_of_a_hosts_report_or_of_the_receiver_itself() -> None:
    names = ("event-host-report", "event-receiver-released")

    assert [wire.find_reporter(the_object(name)["detail"]) for name in names] == ["us0a", None]


def test_the_event_of_a_recovery_names_it() -> None:
    detail = the_object("event-recovery-report")["detail"]

    assert wire.is_about_a_recovery(detail)
    assert wire.parse_recovery_payload(detail) == RECOVERY


def test_the_events_of_ec2_name_their_resource() -> None:
    assert wire.parse_instance_event(the_object("event-instance-state")["detail"]) == "i-0abc"
    assert wire.parse_snapshot_event(the_object("event-snapshot-state")["detail"]) == "snap-0abc"


def test_a_snapshot_arn_of_the_other_shape_names_the_same_snapshot() -> None:
    detail = {"snapshot_id": "arn:aws:ec2:us-east-1::snapshot/snap-0abc"}

    assert wire.parse_snapshot_event(detail) == "snap-0abc"


PAYLOADS: dict[str, Callable[[dict[str, Any]], object]] = {
    "payload-run": lambda example: wire.run_payload(wire.parse_run_payload(example)),
    "payload-recovery": lambda example: wire.recovery_payload(wire.parse_recovery_payload(example)),
    "payload-prune": lambda example: wire.prune_payload(**vars(wire.parse_prune(example))),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_comes_back_as_it_went_out(name: str) -> None:
    assert PAYLOADS[name](the_object(name)) == the_object(name)


def test_what_the_operator_sends_is_read() -> None:
    assert wire.parse_apply(the_object("payload-apply")) == wire.ApplyRequest("schema = 1", None)
    assert wire.parse_receiver_name(the_object("payload-run-now")) == "main"
    assert wire.parse_recovery_request(the_object("payload-drill")) == RecoveryRequest("us0")
    assert wire.parse_recovery_request(the_object("payload-restore-named")) == RecoveryRequest(
        "us0",
        a_moment(2, 45, day=22),
        name="us0",
        is_meant=True,
        ports=(80, 443),
        networks=("198.51.100.0/24", "2001:db8::/32"),
    )
    assert wire.parse_recovery_request(the_object("payload-restore")).at == a_moment(0, day=22)
    assert wire.parse_recovery_request(the_object("payload-restore-drill")) == RecoveryRequest(
        "us0", point="snap-0abc", mode=Mode.DRILL
    )
    assert wire.parse_opening_request(the_object("payload-open-host")) == OpeningRequest(
        "us0", a_moment(2, 45, day=22), timedelta(hours=4)
    )
    assert wire.parse_opening_request({"schema": 1, "host": "us0"}) == OpeningRequest("us0", None, timedelta(hours=2))
    assert wire.parse_closing(the_object("payload-close-host")) == "us0"
    assert wire.parse_closing({"schema": 1, "of": None}) is None
    assert wire.parse_hold(the_object("payload-hold")) == wire.HoldRequest(
        Target(host="us0", at=a_moment(0, day=22)), dry_run=True, why="the auditors", by="ada@desk"
    )
    assert wire.parse_release(the_object("payload-release")) == wire.HoldRequest(Target("snap-0abc"), dry_run=False)
    assert wire.parse_forget(the_object("payload-forget-host")) == wire.ForgetRequest("eu0", "ada@desk", dry_run=True)


@pytest.mark.parametrize("slip", [{}, {"host": "us0"}])
def test_a_closing_that_does_not_say_of_what_is_refused(slip: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match=r"^payload: of is None, expected a text"):
        wire.parse_closing({"schema": 1, **slip})


def the_offer() -> wire.Offer:
    tagged = tags.snapshot_tags(RUN, ("us0a", "eu0a"), TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)
    return wire.Offer("snap-0abc", "us-east-1", "000001", {k: v for k, v in tagged.items() if k != tags.ROLE})


def test_an_offer_is_written_and_read_as_in_the_example() -> None:
    assert json.loads(wire.offer_record(the_offer())) == the_object("offer")
    assert wire.parse_offer(the_example("offer")) == the_offer()


@pytest.mark.parametrize(
    "damage",
    [{"region": "us-east-1.example.org/"}, {"region": None}, {"tags": {"ebbtide:run": 7}}, {"tags": []}, {"policy": 1}],
)
def test_an_offer_that_says_anything_else_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(PermanentError, match="offer"):
        wire.parse_offer(json.dumps(the_object("offer") | damage).encode())


def test_a_receipt_is_written_as_in_the_example_and_told_by_its_key() -> None:
    record = wire.receipt_record("snap-0abc", "snap-0def", a_moment(5))
    key = wire.receipt_key("210987654321", "snap-0abc")

    assert json.loads(record) == the_object("receipt")
    assert wire.snapshots_named_by([key, "receipts/210987654321/../x.json", "receipts/snap-1.json"]) == {"snap-0abc"}


def test_a_forgotten_host_is_recorded_as_in_the_example() -> None:
    record = wire.forgotten_record("eu0a", "ada@desk", a_moment(12))

    assert json.loads(record) == the_object("forgotten")
    assert wire.host_of_forgotten_key(wire.forgotten_key("eu0a")) == "eu0a"


def test_a_prune_that_does_not_say_how_many_allows_the_usual() -> None:
    assert wire.parse_prune({"schema": 1, "dry_run": True}) == wire.PruneRequest(dry_run=True, allow=None)


def test_every_example_carries_the_schema() -> None:
    examples = {path.name: json.loads(path.read_bytes()) for path in EXAMPLES.glob("*.json")}

    schemas = {
        name: example["detail"].get("schema") if "detail" in example else example.get("schema")
        for name, example in examples.items()
        if example.get("source") != "aws.ec2"
    }

    assert schemas
    assert set(schemas.values()) == {1}, schemas
