"""Volumes and snapshots of the sandbox, over the wire."""

from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.account import AwsAccount
from chalicelib.aws.clients import Clients
from chalicelib.core.preflight import ENABLED, QuotaName
from ebbtide_console.sandbox.geography import FIRST
from ebbtide_console.sandbox.server import client_environment
from tests.local.sandbox_parts import (
    WAIT,
    Recorder,
    a_sandbox,
    a_template,
    a_volume,
    client,
    deploy_ec2_rules,
    launch,
)

RECORDED = ("on_instance_state", "on_snapshot_state")


def test_a_volume_has_a_disk_until_it_is_deleted(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)

        volume = a_volume(ec2)
        had_disk = sandbox.substrate.has_disk(volume)
        ec2.delete_volume(VolumeId=volume)

        assert had_disk
        assert not sandbox.substrate.has_disk(volume)
        assert ec2.describe_volumes()["Volumes"] == []


def test_a_volume_that_is_modified_has_a_larger_disk_and_never_a_smaller_one(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        volume = a_volume(ec2)
        [before] = ec2.describe_volumes()["Volumes"]

        ec2.modify_volume(VolumeId=volume, Size=before["Size"] + 4)
        with pytest.raises(ClientError, match="cannot be smaller"):
            ec2.modify_volume(VolumeId=volume, Size=before["Size"])

        [after] = ec2.describe_volumes()["Volumes"]
        assert after["Size"] == before["Size"] + 4
        assert sandbox.substrate.grown == [(volume, after["Size"])]


def test_a_larger_volume_is_as_large_when_the_sandbox_comes_back(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        ec2.modify_volume(VolumeId=a_volume(ec2), Size=40)

    with a_sandbox(tmp_path) as sandbox:
        [found] = client("ec2", sandbox.endpoint).describe_volumes()["Volumes"]

        assert found["Size"] == 40


def test_what_the_preflight_asks_an_account_has_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_sandbox(tmp_path) as sandbox:
        for name, value in client_environment(sandbox.endpoint).items():
            monkeypatch.setenv(name, value)
        account = AwsAccount(Clients(boto3.Session()), FIRST)

        key = account.look_at_key(FIRST, account.default_key(FIRST))
        quotas = [account.find_quota(FIRST, name) for name in QuotaName]

        assert (key.state, key.refused) == (ENABLED, None)
        assert [quota.limit for quota in quotas] == [5, 100_000, 50 * 1024]


def test_the_same_client_token_never_makes_a_second_volume(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)

        first, again, other = a_volume(ec2, "one"), a_volume(ec2, "one"), a_volume(ec2, "two")

        assert first == again
        assert other != first


def test_a_snapshot_is_fixed_at_once_and_completes_with_an_event_a_moment_later(tmp_path: Path) -> None:
    recorder = Recorder(*RECORDED)
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_ec2_rules(sandbox.endpoint)
        ec2 = client("ec2", sandbox.endpoint)
        volume = a_volume(ec2)
        sandbox.substrate.disk(volume).write_text("as it was")

        snapshot = ec2.create_snapshot(
            VolumeId=volume,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "ebbtide:run", "Value": "main/1"}]}],
        )
        sandbox.substrate.disk(volume).write_text("as it became")
        assert sandbox.quiet(WAIT)

        [found] = ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "tag:ebbtide:run", "Values": ["main/1"]}]
        )["Snapshots"]
        [event] = recorder.events("on_snapshot_state")
        assert (snapshot["State"], snapshot["Progress"]) == ("pending", "0%")
        assert (found["State"], found["Progress"]) == ("completed", "100%")
        assert sandbox.substrate.disk(snapshot["SnapshotId"]).read_text() == "as it was"
        assert (event["source"], event["detail"]["event"]) == ("aws.ec2", "createSnapshot")
        assert event["detail"]["result"] == "succeeded"
        assert event["detail"]["snapshot_id"].rsplit("/", 1)[1] == snapshot["SnapshotId"]
        assert event["detail"]["source"].rsplit("/", 1)[1] == volume


def test_a_volume_from_a_snapshot_holds_what_the_snapshot_holds(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        volume = a_volume(ec2)
        sandbox.substrate.disk(volume).write_text("last night")
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        ec2.delete_volume(VolumeId=volume)
        assert sandbox.quiet(WAIT)

        copy = a_volume(ec2, "copy", SnapshotId=snapshot)

        assert sandbox.substrate.disk(copy).read_text() == "last night"


def test_snapshots_are_listed_by_owner_and_page_by_page(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        volume = a_volume(ec2)
        ours = {ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(7)}

        pages = list(
            ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5})
        )
        others = ec2.describe_snapshots(OwnerIds=["999999999999"])["Snapshots"]

        assert [len(page["Snapshots"]) for page in pages] == [5, 2]
        assert {snapshot["SnapshotId"] for page in pages for snapshot in page["Snapshots"]} == ours
        assert others == []


def test_a_deleted_snapshot_is_gone_with_its_disk(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        snapshot = ec2.create_snapshot(VolumeId=a_volume(ec2))["SnapshotId"]

        ec2.delete_snapshot(SnapshotId=snapshot)

        assert sandbox.quiet(WAIT)
        assert not sandbox.substrate.has_disk(snapshot)
        assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
        assert sandbox.work.faults == []


def test_nothing_is_ever_locked(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        ec2.create_snapshot(VolumeId=a_volume(ec2))

        assert ec2.describe_locked_snapshots()["Snapshots"] == []


def test_a_full_disk_fails_the_call_and_leaves_no_volume(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        sandbox.substrate.full = True

        with pytest.raises(ClientError, match="No space left on device"):
            a_volume(ec2)

        assert ec2.describe_volumes()["Volumes"] == []
        assert list((tmp_path / "records").iterdir()) == []


def test_a_volume_is_attached_to_one_running_instance_of_its_zone(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        template = a_template(ec2)
        first, second = launch(ec2, template, "first"), launch(ec2, template, "second")
        assert sandbox.quiet(WAIT)
        volume = a_volume(ec2)
        elsewhere = ec2.create_volume(AvailabilityZone="eu-west-1b", Size=1)["VolumeId"]

        ec2.attach_volume(VolumeId=volume, InstanceId=first, Device="/dev/sdf")

        [described] = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        assert (described["State"], described["Attachments"][0]["InstanceId"]) == ("in-use", first)
        assert sandbox.substrate.attached == {volume: first}
        for refused, instance_id, code in (
            (volume, second, "VolumeInUse"),
            (volume, first, "VolumeInUse"),
            (elsewhere, first, "InvalidVolume.ZoneMismatch"),
        ):
            with pytest.raises(ClientError, match=code):
                ec2.attach_volume(VolumeId=refused, InstanceId=instance_id, Device="/dev/sdg")
        with pytest.raises(ClientError, match="VolumeInUse"):
            ec2.delete_volume(VolumeId=volume)
