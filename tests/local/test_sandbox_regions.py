"""Two regions of one sandbox: what crosses from one to the other, what does not, and what is left when one is out."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from moto.dynamodb.models import dynamodb_backends

from ebbtide_console.sandbox import ebs, ebs_rules
from ebbtide_console.sandbox.environment import Environment
from ebbtide_console.sandbox.geography import ACCOUNT, FIRST, SECOND
from ebbtide_console.sandbox.replication import from_template
from ebbtide_console.sandbox.server import Sandbox
from tests.local.sandbox_parts import (
    PREFIX,
    WAIT,
    Paper,
    Recorder,
    a_sandbox,
    a_template,
    a_volume,
    client,
    deploy_ec2_rules,
    deploy_function,
    launch,
)

A_TABLE = {
    "TableName": "ebbtide",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
HERE, THERE = "archive-here", "archive-there"
EVENTS = ("on_instance_state", "on_snapshot_state")
ONCE = Config(retries={"total_max_attempts": 1})
COPY_TAGS = [{"ResourceType": "snapshot", "Tags": [{"Key": "ebbtide:role", "Value": "copy"}]}]


def a_snapshot(sandbox: Sandbox, content: bytes) -> str:
    """A completed one, in the first region, of a volume that held `content`."""
    assert isinstance(sandbox.substrate, Paper)
    ec2 = client("ec2", sandbox.endpoint)
    volume = a_volume(ec2, content.decode())
    sandbox.substrate.disk(volume).write_bytes(content)
    snapshot = str(ec2.create_snapshot(VolumeId=volume, Description="main/1")["SnapshotId"])
    assert sandbox.quiet(WAIT)
    return snapshot


def copied(sandbox: Sandbox, snapshot: str) -> str:
    """The id of a copy in the second region, asked for and still pending."""
    there = client("ec2", sandbox.endpoint, SECOND)
    asked = {"SourceRegion": FIRST, "SourceSnapshotId": snapshot, "Description": "ebbtide main/1"}
    return str(there.copy_snapshot(**asked, TagSpecifications=COPY_TAGS)["SnapshotId"])


def are_slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Snapshots and copies that are asked for from now on, so that they are pending for whoever looks."""
    monkeypatch.setattr(ebs, "COMPLETES_AFTER", seconds)


def snapshots(sandbox: Sandbox, region: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("ec2", sandbox.endpoint, region).describe_snapshots(OwnerIds=["self"])[
        "Snapshots"
    ]
    return found


# -- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_is_of_the_moment_it_was_asked_for_pending_first_and_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_sandbox(tmp_path) as sandbox:
        assert isinstance(sandbox.substrate, Paper)
        snapshot = a_snapshot(sandbox, b"what the hosts sent")
        are_slow(monkeypatch, 3)

        copy = copied(sandbox, snapshot)
        [pending] = snapshots(sandbox, SECOND)
        client("ec2", sandbox.endpoint).delete_snapshot(SnapshotId=snapshot)
        assert sandbox.quiet(WAIT)
        [complete] = snapshots(sandbox, SECOND)

        assert (pending["State"], complete["State"], complete["SnapshotId"]) == ("pending", "completed", copy)
        assert (complete["VolumeId"], complete["VolumeSize"]) == ("vol-ffffffff", 1)
        assert (complete["Description"], complete["Tags"]) == ("ebbtide main/1", COPY_TAGS[0]["Tags"])
        assert snapshots(sandbox, FIRST) == []
        assert sandbox.substrate.disk(copy).read_bytes() == b"what the hosts sent"


def test_only_the_region_that_a_copy_is_in_is_told_with_arns_of_both_shapes(tmp_path: Path) -> None:
    recorder = Recorder(*EVENTS)
    with a_sandbox(tmp_path, recorder) as sandbox:
        snapshot = a_snapshot(sandbox, b"x")
        for region in (FIRST, SECOND):
            deploy_ec2_rules(sandbox.endpoint, region)

        copy = copied(sandbox, snapshot)
        assert sandbox.quiet(WAIT)

        [event] = recorder.events("on_snapshot_state")
        assert event["region"] == SECOND
        assert event["resources"] == [f"arn:aws:ec2:{SECOND}::snapshot/{copy}"]
        assert event["detail"] | {"startTime": "", "endTime": ""} == {
            "event": "copySnapshot",
            "result": "succeeded",
            "cause": "",
            "request-id": "",
            "snapshot_id": f"arn:aws:ec2::{SECOND}:snapshot/{copy}",
            "source": f"arn:aws:ec2::{FIRST}:snapshot/{snapshot}",
            "startTime": "",
            "endTime": "",
        }


def test_what_is_not_complete_or_not_there_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    are_slow(monkeypatch, 3600)
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        pending = ec2.create_snapshot(VolumeId=a_volume(ec2))["SnapshotId"]

        with pytest.raises(ClientError, match="IncorrectState"):
            copied(sandbox, pending)
        with pytest.raises(ClientError, match="NotFound"):
            copied(sandbox, "snap-00000000000000000")

        assert snapshots(sandbox, SECOND) == []


def test_more_copies_at_once_than_ec2_allows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebs_rules, "MOST_COPIES_AT_ONCE", 2)
    with a_sandbox(tmp_path) as sandbox:
        snapshot = a_snapshot(sandbox, b"x")
        are_slow(monkeypatch, 3)
        copied(sandbox, snapshot)
        copied(sandbox, snapshot)

        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            copied(sandbox, snapshot)
        assert sandbox.quiet(WAIT)
        copied(sandbox, snapshot)

        assert len(snapshots(sandbox, SECOND)) == 3


# -- what is whose ----------------------------------------------------------------------------------------------------


def test_everything_comes_back_in_the_region_it_was_in(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        copied(sandbox, a_snapshot(sandbox, b"x"))
        for region in (FIRST, SECOND):
            ssm = client("ssm", sandbox.endpoint, region)
            ssm.put_parameter(Name="/ebbtide/main/host-key", Value=f"of {region}", Type="SecureString")
        assert sandbox.quiet(WAIT)
        before = {region: snapshots(sandbox, region) for region in (FIRST, SECOND)}

    with a_sandbox(tmp_path) as sandbox:
        after = {region: snapshots(sandbox, region) for region in (FIRST, SECOND)}

        assert after == before
        assert [len(found) for found in after.values()] == [1, 1]
        assert [host_key(sandbox, region) for region in (FIRST, SECOND)] == [f"of {FIRST}", f"of {SECOND}"]


def host_key(sandbox: Sandbox, region: str) -> str:
    ssm = client("ssm", sandbox.endpoint, region)
    return str(ssm.get_parameter(Name="/ebbtide/main/host-key", WithDecryption=True)["Parameter"]["Value"])


def test_a_record_of_before_there_were_regions_is_of_the_first(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        snapshot = a_snapshot(sandbox, b"x")
    for record in (tmp_path / "records").iterdir():
        fields = json.loads(record.read_bytes())
        assert fields.pop("region") == FIRST
        record.write_text(json.dumps(fields))

    with a_sandbox(tmp_path) as sandbox:
        assert [found["SnapshotId"] for found in snapshots(sandbox, FIRST)] == [snapshot]
        assert len(client("ec2", sandbox.endpoint).describe_volumes()["Volumes"]) == 1


def test_a_machine_finds_itself_in_the_region_it_was_launched_in(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        assert isinstance(sandbox.substrate, Paper)
        ec2 = client("ec2", sandbox.endpoint, SECOND)

        machine = launch(ec2, a_template(ec2), zone=f"{SECOND}a")
        assert sandbox.quiet(WAIT)

        assert sandbox.substrate.regions == {machine: SECOND}


def test_every_invocation_has_the_environment_of_its_own_region(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def handlers() -> Mapping[str, Any]:
        return {"tick": lambda event, context: seen.append((os.environ["AWS_REGION"], os.environ[ours]))}

    ours = "EBBTIDE_TEST_REGION"
    recorder = Recorder()
    recorder.handlers = handlers  # type: ignore[method-assign]
    with a_sandbox(tmp_path, recorder) as sandbox:
        for region in (FIRST, SECOND):
            deploy_function(sandbox.endpoint, "tick", region)
        for region in (SECOND, FIRST, SECOND):
            client("lambda", sandbox.endpoint, region).invoke(FunctionName=f"{PREFIX}tick", Payload=b"{}")

    assert seen == [(SECOND, SECOND), (FIRST, FIRST), (SECOND, SECOND)]


def test_two_deployments_never_run_at_once_and_two_invocations_of_one_do() -> None:
    environment = Environment()
    together = threading.Barrier(2, timeout=WAIT)
    seen: list[tuple[str, str]] = []

    def invoke(deployment: str) -> None:
        with environment.of(deployment, {"EBBTIDE_TEST_REGION": deployment}):
            together.wait()  # another of the same deployment is within, too
            seen.append((deployment, os.environ["EBBTIDE_TEST_REGION"]))
            together.wait()

    threads = [threading.Thread(target=invoke, args=(name,)) for name in ("a", "b", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    environment.restore()

    assert sorted(seen) == [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]
    assert "EBBTIDE_TEST_REGION" not in os.environ


# -- replication ------------------------------------------------------------------------------------------------------


def buckets(sandbox: Sandbox) -> Any:
    """One in each region; a client of S3."""
    for bucket, region in ((HERE, FIRST), (THERE, SECOND)):
        s3 = client("s3", sandbox.endpoint, region)
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return client("s3", sandbox.endpoint)


def replicate(s3: Any, *prefixes: str, status: str = "Enabled") -> None:
    """From now on what is written into the first bucket goes to the other one, too; all of it, or what begins so."""
    rules = [
        {
            "ID": prefix or "all",
            "Priority": number,
            "Status": status,
            "Filter": {"Prefix": prefix},
            "Destination": {"Bucket": f"arn:aws:s3:::{THERE}"},
        }
        for number, prefix in enumerate(prefixes or ("",))
    ]
    s3.put_bucket_replication(Bucket=HERE, ReplicationConfiguration={"Role": "arn:aws:iam::1:role/r", "Rules": rules})


def names(s3: Any, bucket: str) -> list[str]:
    return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def test_what_is_written_is_replicated_and_stays_there_when_it_is_deleted_here(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        replicate(s3)

        s3.put_object(Bucket=HERE, Key="reports/one", Body=b"complete", Metadata={"host": "us0"})
        s3.put_object(Bucket=THERE, Key="recoveries/two", Body=b"there")
        assert sandbox.quiet(WAIT)
        s3.delete_object(Bucket=HERE, Key="reports/one")
        assert sandbox.quiet(WAIT)

        replica = s3.get_object(Bucket=THERE, Key="reports/one")
        assert (replica["Body"].read(), replica["Metadata"]) == (b"complete", {"host": "us0"})
        assert "recoveries/two" not in names(s3, HERE)

    with a_sandbox(tmp_path) as sandbox:
        assert names(client("s3", sandbox.endpoint), THERE) == ["recoveries/two", "reports/one"]


def test_a_rule_replicates_what_begins_with_its_prefix_and_nothing_else(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        replicate(s3, "reports/", "policies/")

        for key in ("reports/one", "policies/two", "receipts/three"):
            s3.put_object(Bucket=HERE, Key=key, Body=b"x")
        assert sandbox.quiet(WAIT)

        assert names(s3, THERE) == ["policies/two", "reports/one"]


def test_a_rule_that_is_disabled_replicates_nothing(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        replicate(s3, status="Disabled")

        s3.put_object(Bucket=HERE, Key="one", Body=b"x")
        assert sandbox.quiet(WAIT)

        assert names(s3, THERE) == []


def test_a_rule_that_the_template_leaves_out_is_none() -> None:
    """moto leaves None in a list where CloudFormation leaves out what is `AWS::NoValue`."""
    rule = {"Id": "to-there", "Status": "Enabled", "Filter": {"Prefix": ""}, "Destination": {"Bucket": "there"}}

    configured = from_template({"ReplicationConfiguration": {"Role": "r", "Rules": [None, rule]}})

    assert configured == {"Role": "r", "Rule": [{**rule, "ID": "to-there"}]}


def test_while_replication_is_stopped_nothing_arrives_and_then_all_of_it(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        replicate(s3)

        sandbox.objects.replication.stop()
        s3.put_object(Bucket=HERE, Key="one", Body=b"1")
        s3.put_object(Bucket=HERE, Key="two", Body=b"2")
        assert sandbox.quiet(WAIT)
        late = names(s3, THERE)
        sandbox.objects.replication.resume()
        assert sandbox.quiet(WAIT)

        assert late == []
        assert names(s3, THERE) == ["one", "two"]


def test_what_is_older_than_the_rules_comes_by_a_batch(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        s3.put_object(Bucket=HERE, Key="older", Body=b"x")
        replicate(s3)
        s3.put_object(Bucket=HERE, Key="newer", Body=b"x")
        assert sandbox.quiet(WAIT)
        by_itself = names(s3, THERE)

        sandbox.replicate_older(HERE)

        assert by_itself == ["newer"]
        assert names(s3, THERE) == ["newer", "older"]


# -- an outage --------------------------------------------------------------------------------------------------------


def asks(sandbox: Sandbox, service: str, operation: str, region: str, **what: str) -> None:
    made = boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=sandbox.endpoint,
        region_name=region,
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=ONCE,
    )
    getattr(made, operation)(**what)


EVERYTHING = [
    ("ec2", "describe_snapshots"),
    ("dynamodb", "list_tables"),
    ("s3", "list_buckets"),
    ("ssm", "describe_parameters"),
    ("lambda", "list_functions"),
    ("events", "list_rules"),
]


def test_a_region_that_is_out_answers_nothing_and_the_other_one_everything(tmp_path: Path) -> None:
    recorder = Recorder("tick", *EVENTS)
    with a_sandbox(tmp_path, recorder) as sandbox:
        assert isinstance(sandbox.substrate, Paper)
        deploy_ec2_rules(sandbox.endpoint)
        ec2 = client("ec2", sandbox.endpoint)
        machine = launch(ec2, a_template(ec2))
        assert sandbox.quiet(WAIT)
        before, stood = len(recorder.calls), sandbox.substrate.standing

        sandbox.first.go_out()
        assert sandbox.quiet(WAIT)

        assert (stood, sandbox.substrate.standing) == ({machine}, set())
        for service, operation in EVERYTHING:
            with pytest.raises(HTTPClientError):
                asks(sandbox, service, operation, FIRST)
            asks(sandbox, service, operation, SECOND)
        assert len(recorder.calls) == before


def test_a_bucket_of_a_region_that_is_out_is_not_reached_from_the_other(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        buckets(sandbox).put_object(Bucket=HERE, Key="one", Body=b"1")

        sandbox.first.go_out()

        with pytest.raises(HTTPClientError):
            asks(sandbox, "s3", "list_objects_v2", SECOND, Bucket=HERE)
        asks(sandbox, "s3", "list_objects_v2", SECOND, Bucket=THERE)


def test_nothing_of_a_region_that_is_lost_is_left(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = buckets(sandbox)
        replicate(s3)
        s3.put_object(Bucket=HERE, Key="one", Body=b"1")
        client("ssm", sandbox.endpoint).put_parameter(Name="/ebbtide/main/host-key", Value="x", Type="SecureString")
        client("dynamodb", sandbox.endpoint).create_table(**A_TABLE)
        snapshot = a_snapshot(sandbox, b"x")
        copy = copied(sandbox, snapshot)
        assert sandbox.quiet(WAIT)

        sandbox.lose(sandbox.first)

        assert not dynamodb_backends[ACCOUNT][FIRST].tables
        there = client("s3", sandbox.endpoint, SECOND)
        assert [found["Name"] for found in there.list_buckets()["Buckets"]] == [THERE]
        assert (sandbox.substrate.has_disk(snapshot), sandbox.substrate.has_disk(copy)) == (False, True)
        assert {path.name for path in (tmp_path / "records").iterdir()} == {f"{copy}.json"}
        assert list((tmp_path / "parameters").iterdir()) == []
        assert [path.name for path in (tmp_path / "s3").iterdir()] == [THERE]
        there.create_bucket(Bucket=HERE, CreateBucketConfiguration={"LocationConstraint": SECOND})  # the name is free
