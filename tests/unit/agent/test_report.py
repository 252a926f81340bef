"""The shapes that travel: read from the shared examples and written back the same; anything else is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.instance import Instance, parse_instance
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.report import (
    bounded,
    encode_hello,
    encode_report,
    parse_hello,
    parse_report,
)

WIRE = Path(__file__).parents[2] / "contract/wire"
NONCE = "00112233445566778899aabbccddeeff"


def example(name: str) -> dict[str, Any]:
    return dict(json.loads((WIRE / name).read_bytes()))


def test_a_report_survives_reading_and_writing() -> None:
    assert json.loads(encode_report(parse_report((WIRE / "report.json").read_bytes()))) == example("report.json")


def test_what_a_host_sends_has_no_receivers_part() -> None:
    report = replace(parse_report((WIRE / "report.json").read_bytes()), receiver=None)

    sent = json.loads(encode_report(report))

    assert sent == {name: value for name, value in example("report.json").items() if name != "receiver"}


def test_a_hello_survives_reading_and_writing() -> None:
    assert json.loads(encode_hello(parse_hello((WIRE / "hello.json").read_bytes()))) == example("hello.json")


def test_an_instance_is_read() -> None:
    instance = parse_instance((WIRE / "instance.json").read_bytes())

    brief = "runs/main/2026-11-23/1/vol-0abc/brief.json"
    assert instance == Instance("receiver", "main/2026-11-23/1", 1, "ebbtide-archive", "us-east-1", brief, NONCE)


def test_an_instance_of_an_earlier_control_plane_has_no_nonce() -> None:
    older = {name: value for name, value in example("instance.json").items() if name != "nonce"}

    assert parse_instance(json.dumps(older).encode()).nonce == ""


def test_a_brief_is_read() -> None:
    brief = parse_brief((WIRE / "brief-receiver.json").read_bytes())

    assert (brief.run, brief.receiver, brief.volume_id) == ("main/2026-11-23/1", "main", "vol-0abc")
    assert [(host.name, host.id, host.quota) for host in brief.hosts] == [("us0", "us0a", 30 * 2**30)]


def test_what_was_written_before_there_were_quotas_is_read_without() -> None:
    brief, report = example("brief-receiver.json"), example("report.json")
    del brief["hosts"][0]["quota_gib"]
    del report["receiver"]["quota"]

    received = parse_report(json.dumps(report).encode()).receiver

    assert parse_brief(json.dumps(brief).encode()).hosts[0].quota is None
    assert received and received.quota is None


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"},
        {"uid": 0},
        {"keys": ['ssh-ed25519 AAAA x\ncommand="sh" ssh-ed25519 AAAA']},
        {"keys": ['command="sh" ssh-ed25519 AAAA']},
        {"keys": [1]},
    ],
)
def test_a_brief_that_would_write_something_else_into_sshds_files_is_refused(change: dict[str, Any]) -> None:
    brief = example("brief-receiver.json")
    brief["hosts"][0].update(change)

    with pytest.raises(PermanentError):
        parse_brief(json.dumps(brief).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"status": "proven"},
        {"files": -1},
        {"files": True},
        {"files": "1"},
        {"started": "yesterday"},
        {"started": "2026-11-23T02:10:00"},
        {"nonce": None},
        {"scripts": [1]},
        {"receiver": []},
    ],
)
def test_a_report_that_is_not_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PermanentError):
        parse_report(json.dumps({**example("report.json"), **change}).encode())


def test_of_an_older_agents_scripts_nobody_knows_that_they_were_killed() -> None:
    script = {"name": "10-dump", "exit_code": 124, "seconds": 1.5, "output": ""}

    (result,) = parse_report(json.dumps({**example("report.json"), "scripts": [script]}).encode()).scripts

    assert (result.required, result.timed_out) == (True, False)


def test_of_ten_thousand_problems_fifty_lines_are_kept() -> None:
    kept = bounded(tuple(f"problem {number} {'x' * 1000}" for number in range(10_000)))

    assert len(kept) == 50
    assert kept[-1] == "and 9951 more"
    assert max(map(len, kept)) == 500


def test_of_a_problem_with_a_path_as_long_as_a_page_its_beginning_and_what_became_of_it_are_kept() -> None:
    long = f'rsync: [receiver] stat "/{"d" * 4000}" (in tree) failed: File name too long (36)'

    (kept,) = bounded((long,))

    assert len(kept) == 500
    assert kept.startswith('rsync: [receiver] stat "/ddd')
    assert kept.endswith('d" (in tree) failed: File name too long (36)')
    assert bounded((kept,)) == (kept,)
