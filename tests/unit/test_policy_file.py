"""The policy file: every valid sample parses, every invalid one gets exactly its faults, and nothing else escapes."""

import tomllib
from datetime import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.policy import (
    AlarmPolicy,
    CopyPolicy,
    DrillPolicy,
    HostPolicy,
    Policy,
    ReceiverPolicy,
    RestorePolicy,
    VaultPolicy,
    VolumePolicy,
)
from chalicelib.core.policy_file import parse
from chalicelib.core.policy_values import ARM, X86, architecture_of
from chalicelib.core.retention import Rules
from chalicelib.errors import ConfigError

SAMPLES = Path(__file__).parents[1] / "policies"
VALID = sorted((SAMPLES / "valid").glob("*.toml"))
INVALID = sorted((SAMPLES / "invalid").glob("*.toml"))


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def sample(name: str) -> str:
    return (SAMPLES / "valid" / f"{name}.toml").read_text()


def faults_in(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "000001")
    return refused.value.faults


@pytest.mark.parametrize("path", VALID, ids=names(VALID))
def test_a_valid_sample_parses(path: Path) -> None:
    policy = parse(path.read_text(), "000001", path.name)

    assert policy.version == "000001"


@pytest.mark.parametrize("path", INVALID, ids=names(INVALID))
def test_an_invalid_sample_gets_every_one_of_its_faults(path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(path.read_text(), "000001", path.name)

    assert refused.value.faults == tuple(path.with_suffix(".faults").read_text().splitlines())


def test_every_value_of_the_full_sample_arrives() -> None:
    text = sample("everything")
    first, second = tomllib.loads(text)["host"]["us0"]["keys"]
    (third,) = tomllib.loads(text)["host"]["eu0"]["keys"]
    (fourth,) = tomllib.loads(text)["restore"]["readers"]

    policy = parse(text, "000042")

    assert policy == Policy(
        version="000042",
        receivers={
            "main": ReceiverPolicy(
                name="main",
                start=time(2),
                end=time(6),
                timezone="Europe/London",
                address_name="backup.example.org",
                address_kind="route53",
                allow=("198.51.100.0/24",),
                instances=("t4g.small", "t4g.medium", "m7g.medium"),
                volume=VolumePolicy(80, "gp3", "ext4", "persistent"),
                hosts=("us0", "eu0"),
            )
        },
        hosts={
            "us0": HostPolicy(
                name="us0",
                id="us0a",
                keys=(first, second),
                probe="http://127.0.0.1/",
                start_list=("service nginx start", "service ssh start"),
                quota_gib=30,
                alarm_after=2,
                guard="off",
            ),
            "eu0": HostPolicy("eu0", "eu0a", (third,), retention=Rules(last=1, yearly=-1)),
            "web1": HostPolicy("web1", "web1", (), target="volume", instance_id="i-0123456789abcdef0"),
        },
        retention=Rules(daily=7, weekly=4, monthly=6),
        copy=CopyPolicy("eu-central-1", Rules(daily=2, weekly=4)),
        vault=VaultPolicy("210987654321", Rules(daily=7, monthly=6)),
        restore=RestorePolicy("subnet-0123456789abcdef0", {"arm64": "t4g.medium", "x86_64": "t3a.medium"}, (fourth,)),
        drill=DrillPolicy(7, "24 USD/year"),
        alarm=AlarmPolicy("ops", "https://watch.example.net/3f1c", "200 USD/year"),
    )


def test_what_the_smallest_policy_leaves_out_keeps_everything_and_alarms_nobody() -> None:
    policy = parse(sample("smallest"), "000001")

    assert policy.retention == Rules()
    assert (policy.copy, policy.drill, policy.alarm) == (None, DrillPolicy(), AlarmPolicy())
    assert policy.receivers["main"].volume == VolumePolicy(80)


def test_a_host_has_its_own_rules_or_everyones_and_keeps_all_once_it_left_the_policy() -> None:
    policy = parse(sample("everything"), "000001")

    assert policy.rules_of("us0a") == Rules(daily=7, weekly=4, monthly=6)
    assert policy.rules_of("eu0a") == Rules(last=1, yearly=-1)
    assert policy.rules_of("gone") == Rules()


@pytest.mark.parametrize("key", ["schema", "window", "timezone", "name", "allow", "instance", "volume", "hosts", "id"])
def test_a_required_key_left_out_is_the_only_fault_but_for_what_rests_on_it(key: str) -> None:
    lines = [line for line in sample("smallest").splitlines() if line.split(" ")[0] != key]

    faults = faults_in("\n".join(lines))

    assert len(faults) == 1
    assert f"{key} is missing: expected" in faults[0]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('"Europe/London"', '"Europe"'),
        ('"Europe/London"', '"../etc/passwd"'),
        ('"Europe/London"', '""'),
        ('"02:00-06:00"', '"02:00 - 06:00"'),
        ('"02:00-06:00"', '"24:00-06:00"'),
        ('"02:00-06:00"', '"02:00-06:00\\n"'),
        ('"02:00-06:00"', "7"),
        ('"backup.example.org"', '"-backup.example.org"'),
        ('"80GiB"', '"80 GiB"'),
        ('"80GiB"', '"65TiB"'),
        ('"80GiB"', "80"),
        ('"us0a"', '"us0a\\n"'),
        ('"198.51.100.0/24"', '"198.51.100.0/33"'),
        ('["us0"]', '"us0"'),
    ],
)
def test_a_value_that_almost_fits_is_one_fault_that_shows_it(good: str, bad: str) -> None:
    text = sample("smallest")

    faults = faults_in(text.replace(good, bad))

    assert len(faults) == 1
    assert f"= {bad}: expected" in faults[0] or f'= "{bad}": expected' in faults[0]


@pytest.mark.parametrize(
    "probe",
    [
        "http://127.0.0.1/",
        "https://localhost:8443/health?deep=1",
        "tcp://127.0.0.1:22",
        "tcp://[::1]:5432",
        "command: pg_isready --quiet",
        "command: sh -c 'redis-cli ping | grep PONG'",
    ],
)
def test_a_drill_asks_by_http_by_tcp_or_by_a_command_within_the_image(probe: str) -> None:
    assert parse(sample("smallest") + f'probe = "{probe}"\n', "000001").hosts["us0"].probe == probe


@pytest.mark.parametrize(
    "probe",
    [
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:22/ssh",
        "tcp://:22",
        "udp://127.0.0.1:53",
        "pg_isready",
        "command:",
        "command: ",
        "command: ''",
        "command: sh -c 'echo",
        "command: true\\nfalse",
    ],
)
def test_a_question_that_nobody_could_ask_is_a_fault(probe: str) -> None:
    [fault] = faults_in(sample("smallest") + f'probe = "{probe}"\n')

    assert fault.startswith("policy.toml: host.us0.probe = ")


def test_a_receiver_has_no_more_hosts_than_a_snapshots_tags_hold() -> None:
    text = sample("smallest").replace('hosts    = ["us0"]', f"hosts = {[f'h{n}' for n in range(513)]}")

    assert any("receiver.main.hosts has 513 entries: expected at most 512" in fault for fault in faults_in(text))


@pytest.mark.parametrize(
    ("instance_type", "arm"),
    [("t4g.small", True), ("c7gn.large", True), ("im4gn.large", True), ("x2gd.medium", True), ("a1.large", True),
     ("g5g.xlarge", True), ("t3a.small", False), ("g4dn.xlarge", False), ("m7i-flex.large", False),
     ("u-6tb1.56xlarge", False), ("gr6.4xlarge", False)],
)  # fmt: skip
def test_the_architecture_is_read_from_the_instance_type(instance_type: str, arm: bool) -> None:
    assert architecture_of(instance_type) == (ARM if arm else X86)


@given(st.data())
def test_whatever_stands_in_place_of_a_line_is_read_or_faulted_and_nothing_else(data: st.DataObject) -> None:
    lines = sample("everything").splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    key = lines[place].partition("=")[0] if "=" in lines[place] else "thing "
    values = ["0", "-1", "true", '""', '"é"', "[]", "{}", "[[]]", "2026-11-23", "1.5", "nan", '"\\u0000"', "{ a = 1 }"]
    lines[place] = f"{key}= {data.draw(st.sampled_from(values))}"

    try:
        policy = parse("\n".join(lines), "000001")
    except ConfigError as refused:
        assert all(fault.startswith("policy.toml: ") and "\n" not in fault for fault in refused.faults)
    else:
        assert policy.hosts
