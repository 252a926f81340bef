"""What the sandbox keeps: through a restart, and through kill -9 at any moment."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import PermanentError, Refused
from ebbtide_console.sandbox.geography import FIRST
from tests.local.sandbox_parts import WAIT, ZONE, a_sandbox, a_template, a_volume, client, launch

ROOT = Path(__file__).parents[2]
BUCKET = "ebbtide-archive"
THERE = {"LocationConstraint": FIRST}


@contextmanager
def a_killed_process(state: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A sandbox in a process of its own; it is killed at the end, if not before."""
    command = [sys.executable, "-m", "tests.local.sandbox_process", str(state)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, cwd=ROOT, env=buffered, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def put(s3: Any, key: str, body: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*", ContentType="application/json")


def test_volumes_snapshots_objects_and_parameters_come_back_as_they_were(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2, s3, ssm = (client(name, sandbox.endpoint) for name in ("ec2", "s3", "ssm"))
        volume = a_volume(ec2)
        snapshot = ec2.create_snapshot(VolumeId=volume, Description="main/1")["SnapshotId"]
        assert sandbox.quiet(WAIT)
        ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "ebbtide:hold", "Value": "audit"}])
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        put(s3, "runs/main/2026-11-23/1/brief.json", b"{}")
        ssm.put_parameter(Name="/ebbtide/main/host-key", Value="secret", Type="SecureString")
        before = [_volumes(ec2), _snapshots(ec2), _head(s3, "runs/main/2026-11-23/1/brief.json"), _parameter(ssm)]

    with a_sandbox(tmp_path) as sandbox:
        ec2, s3, ssm = (client(name, sandbox.endpoint) for name in ("ec2", "s3", "ssm"))

        after = [_volumes(ec2), _snapshots(ec2), _head(s3, "runs/main/2026-11-23/1/brief.json"), _parameter(ssm)]

        assert after == before
        assert after[3]["Value"] == "secret"
        assert a_volume(ec2) == volume  # the client token is still known


def test_what_was_deleted_stays_deleted(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2, s3, ssm = (client(name, sandbox.endpoint) for name in ("ec2", "s3", "ssm"))
        volume = a_volume(ec2)
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        put(s3, "one", b"1")
        put(s3, "two", b"2")
        ssm.put_parameter(Name="/ebbtide/main/host-key", Value="secret", Type="SecureString")
        assert sandbox.quiet(WAIT)

        ec2.delete_volume(VolumeId=volume)
        ec2.delete_snapshot(SnapshotId=snapshot)
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "one"}]})
        ssm.delete_parameter(Name="/ebbtide/main/host-key")

    with a_sandbox(tmp_path) as sandbox:
        ec2, s3, ssm = (client(name, sandbox.endpoint) for name in ("ec2", "s3", "ssm"))

        assert (_volumes(ec2), _snapshots(ec2)) == ([], [])
        assert [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["two"]
        with pytest.raises(ClientError, match="ParameterNotFound"):
            _parameter(ssm)


def test_instances_do_not_survive_and_their_volumes_come_back_available(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        started = launch(ec2, a_template(ec2))
        assert sandbox.quiet(WAIT)
        ec2.attach_volume(VolumeId=a_volume(ec2), InstanceId=started, Device="/dev/sdf")

    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)

        assert ec2.describe_instances()["Reservations"] == []
        assert [(found["State"], found["AvailabilityZone"]) for found in _volumes(ec2)] == [("available", ZONE)]


def test_a_bucket_that_came_back_can_be_created_once_by_the_next_deployment(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        put(s3, "policies/000001.toml", b"schema = 1\n")

    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)

        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)

        assert s3.get_object(Bucket=BUCKET, Key="policies/000001.toml")["Body"].read() == b"schema = 1\n"
        with pytest.raises(ClientError, match="BucketAlready"):
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)


def test_a_key_is_written_once_with_if_none_match(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        put(s3, "reports/us0a.json", b"first")

        with pytest.raises(ClientError, match="PreconditionFailed"):
            put(s3, "reports/us0a.json", b"second")

        assert s3.get_object(Bucket=BUCKET, Key="reports/us0a.json")["Body"].read() == b"first"


def test_keys_of_every_shape_survive(tmp_path: Path) -> None:
    keys = ["a", "a/b", "..", "a//b", "ä/ö +", "x" * 1000, "x" * 999 + "y", "+new-x"]
    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        for key in keys:
            put(s3, key, key.encode())

    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)

        assert {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys} == {
            key: key.encode() for key in keys
        }


def test_a_multipart_upload_and_a_copy_are_kept_too(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="big")["UploadId"]
        part = s3.upload_part(Bucket=BUCKET, Key="big", UploadId=upload, PartNumber=1, Body=b"big")
        s3.complete_multipart_upload(
            Bucket=BUCKET,
            Key="big",
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "big"})

    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)

        assert [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in ("big", "copy")] == [b"big", b"big"]


def test_parameters_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        client("ssm", sandbox.endpoint).put_parameter(Name="/ebbtide/key", Value="secret", Type="SecureString")

    [file] = (tmp_path / "parameters").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_killed_sandbox_has_lost_nothing_it_acknowledged(tmp_path: Path) -> None:
    with a_killed_process(tmp_path) as (endpoint, process):
        ec2, s3 = client("ec2", endpoint), client("s3", endpoint)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=THERE)
        volume = a_volume(ec2)
        snapshot = ec2.create_snapshot(
            VolumeId=volume,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "ebbtide:run", "Value": "main/1"}]}],
        )
        put(s3, "reports/us0a.json", b"complete")
        os.kill(process.pid, signal.SIGKILL)

    with a_sandbox(tmp_path) as sandbox:
        ec2, s3 = client("ec2", sandbox.endpoint), client("s3", sandbox.endpoint)

        assert [found["VolumeId"] for found in _volumes(ec2)] == [volume]
        [kept] = _snapshots(ec2)
        assert (kept["SnapshotId"], kept["State"]) == (snapshot["SnapshotId"], "completed")
        assert kept["Tags"] == [{"Key": "ebbtide:run", "Value": "main/1"}]
        assert kept["StartTime"] == snapshot["StartTime"]
        assert s3.get_object(Bucket=BUCKET, Key="reports/us0a.json")["Body"].read() == b"complete"


def test_what_a_kill_left_half_made_is_cleared_away(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        half_made, half_deleted = a_volume(ec2, "one"), a_volume(ec2, "two")
    for volume, phase in ((half_made, "creating"), (half_deleted, "deleting")):
        record = tmp_path / "records" / f"{volume}.json"
        record.write_text(record.read_text().replace('"ready"', f'"{phase}"'))
    (tmp_path / "records" / "+new-half").write_text("{")

    with a_sandbox(tmp_path) as sandbox:
        assert _volumes(client("ec2", sandbox.endpoint)) == []
        assert not sandbox.substrate.has_disk(half_made)
        assert not sandbox.substrate.has_disk(half_deleted)
        assert list((tmp_path / "records").iterdir()) == []


def test_a_state_directory_has_one_sandbox_at_a_time(tmp_path: Path) -> None:
    with (
        a_killed_process(tmp_path) as (endpoint, _),
        pytest.raises(Refused, match="another sandbox is running"),
        a_sandbox(tmp_path),
    ):
        raise AssertionError(f"a second sandbox beside {endpoint}")


def test_a_port_in_use_is_said_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with a_killed_process(tmp_path / "one") as (endpoint, _):
        port = int(endpoint.rsplit(":", 1)[1])
        with pytest.raises(PermanentError, match="in use"), a_sandbox(tmp_path / "two", port=port):
            raise AssertionError("a second sandbox on the same port")

    with a_sandbox(tmp_path / "two", port=port) as sandbox:
        assert sandbox.endpoint == endpoint


def _volumes(ec2: Any) -> list[Any]:
    found: list[Any] = ec2.describe_volumes()["Volumes"]
    return found


def _snapshots(ec2: Any) -> list[Any]:
    found: list[Any] = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return found


def _head(s3: Any, key: str) -> dict[str, Any]:
    head = s3.head_object(Bucket=BUCKET, Key=key)
    return {name: head[name] for name in ("LastModified", "ETag", "ContentType", "ContentLength")}


def _parameter(ssm: Any) -> dict[str, Any]:
    found: dict[str, Any] = ssm.get_parameter(Name="/ebbtide/main/host-key", WithDecryption=True)["Parameter"]
    return {name: found[name] for name in ("Name", "Type", "Value", "Version", "LastModifiedDate")}
