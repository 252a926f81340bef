"""The environment made into a world that a whole night runs in, every adapter against moto."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import RunState
from chalicelib.core.retention import Rules
from chalicelib.errors import ConfigError
from chalicelib.flows.reconcile import reconcile
from chalicelib.ports import World
from chalicelib.wiring import the_time, the_world
from tests.builders import A_POLICY_TEXT, a_run
from tests.contract.aws import PREFIX, REGION, Account, deploy_functions

RUN = a_run()
REPORT = json.loads((Path(__file__).parent / "wire" / "report.json").read_text())


@pytest.fixture
def world(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    environment = {
        "TABLE": account.table,
        "BUCKET": account.bucket,
        "LAUNCH_TEMPLATE": account.launch_template,
        "OTHER_LAUNCH_TEMPLATE": account.launch_template,
        "SUBNETS": account.subnet,
        "RECEIVER_GROUP": account.group,
        "DRILL_GROUP": account.group,
        "RESTORE_GROUP": account.group,
        "IMAGE_PROFILE": "arn:aws:iam::123456789012:instance-profile/images",
        "ZONE": account.zone,
        "FUNCTION_PREFIX": PREFIX,
        "AGENT": "agent/ebbtide-agent.pyz",
        "ROLE": "primary",
        "RECEIPTS": account.bucket,
        "VAULT_ACCOUNT": "none",
        "PRIMARY_ACCOUNT": "none",
        "KEEP_AT_LEAST": "daily=7 weekly=4",
        "LOCK_DAYS": "365",
        "TOPIC_PREFIX": "arn:aws:sns:us-east-1:123456789012:ebbtide-test-",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"EBBTIDE_{name}", value)
    monkeypatch.setenv("AWS_REGION", REGION)
    the_world.cache_clear()
    yield the_world()
    the_world.cache_clear()


def test_a_whole_night_runs_on_the_wired_world(account: Account, world: World) -> None:
    deploy_functions(account, "prune", "tell_operators")
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.open_run(RUN)

    serving = reconcile(RUN.id, world, RUN.opened)
    for host in RUN.hosts:
        report = REPORT | {"run": str(RUN.id), "host": host.name, "id": host.id, "nonce": host.nonce}
        world.archive.put_once(wire.report_key(RUN, host.id), json.dumps(report).encode())
    for machine in world.machines.find({tags.RUN: str(RUN.id)}):
        world.machines.terminate(machine.id)
    (volume,) = world.volumes.find_volumes({tags.ROLE: tags.Role.DATA})
    if volume.attached_to:
        account.clients.ec2.detach_volume(VolumeId=volume.id)
    closed = reconcile(RUN.id, world, RUN.opened)

    assert serving.waiting == ("reports of us0, eu0",)
    assert closed.run.state is RunState.DONE
    (snapshot,) = world.volumes.find_snapshots({tags.RUN: str(RUN.id)})
    assert tags.unpack(snapshot.tags) == ("eu0a", "us0a")
    assert {point.snapshot_id for point in world.catalog.find_points()} == {snapshot.id}
    assert wire.parse_run_brief(world.archive.get(wire.brief_key(RUN.id, volume.id))) == RUN


def test_a_night_whose_first_subnet_was_deleted_stands_in_the_next_one(
    account: Account, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, left = (each["SubnetId"] for each in account.clients.ec2.describe_subnets()["Subnets"][:2])
    account.clients.ec2.delete_subnet(SubnetId=gone)
    monkeypatch.setenv("EBBTIDE_SUBNETS", f"{gone},{left}")
    the_world.cache_clear()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.open_run(RUN)

    serving = reconcile(RUN.id, the_world(), RUN.opened)

    (machine,) = world.machines.find({tags.RUN: str(RUN.id)})
    assert serving.waiting == ("reports of us0, eu0",)
    assert machine.zone == world.machines.zone_of(left)


def test_a_vault_knows_whose_backups_it_copies_where_its_receipts_go_and_what_it_keeps_at_least(
    world: World, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_world.cache_clear()
    monkeypatch.setenv("EBBTIDE_ROLE", "vault")
    monkeypatch.setenv("EBBTIDE_PRIMARY_ACCOUNT", "210987654321")
    monkeypatch.setenv("EBBTIDE_RECEIPTS", "their-archive")
    account.clients.s3.create_bucket(Bucket="their-archive")

    vault = the_world()
    vault.receipts.put_once("receipts/x.json", b"")

    assert (vault.settings.is_vault, vault.settings.is_standby) == (True, True)
    assert (vault.settings.primary_account, vault.settings.vault_account) == ("210987654321", None)
    assert (vault.settings.keep_at_least, vault.settings.lock_days) == (Rules(daily=7, weekly=4), 365)
    assert (vault.receipts.list(""), vault.archive.list("receipts/")) == (["receipts/x.json"], [])


@pytest.mark.parametrize("left_out", ["PRIMARY_ACCOUNT", "RECEIPTS"])
def test_a_vault_that_is_not_told_whose_backups_it_copies_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    the_world.cache_clear()
    monkeypatch.setenv("EBBTIDE_ROLE", "vault")
    monkeypatch.setenv("EBBTIDE_PRIMARY_ACCOUNT", "210987654321")
    monkeypatch.setenv(f"EBBTIDE_{left_out}", "none")

    with pytest.raises(ConfigError, match="PrimaryAccount and PrimaryArchive"):
        the_world()


@pytest.mark.parametrize("text", ["daily", "daily=many", "nightly=7", "7"])
def test_rules_that_are_none_are_told(world: World, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    the_world.cache_clear()
    monkeypatch.setenv("EBBTIDE_KEEP_AT_LEAST", text)

    with pytest.raises(ConfigError, match=f"EBBTIDE_KEEP_AT_LEAST is '{text}', expected rules like daily=7"):
        the_world()


@pytest.mark.parametrize("text", ["", "none", "-1", "36501", "30.5"])
def test_days_that_ebs_locks_nothing_for_are_told(world: World, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    the_world.cache_clear()
    monkeypatch.setenv("EBBTIDE_LOCK_DAYS", text)

    with pytest.raises(ConfigError, match=f"EBBTIDE_LOCK_DAYS is '{text}', expected days, 0 to 36500"):
        the_world()


def test_a_setting_that_is_missing_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    the_world.cache_clear()
    monkeypatch.delenv("EBBTIDE_ZONE")

    with pytest.raises(ConfigError, match="EBBTIDE_ZONE"):
        the_world()


def test_the_time_knows_its_zone() -> None:
    assert the_time().utcoffset() is not None
