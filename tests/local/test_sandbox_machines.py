"""Instances of the sandbox, over the wire."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ebbtide_console.sandbox.server import Sandbox
from tests.local.sandbox_parts import (
    WAIT,
    Recorder,
    a_launch,
    a_sandbox,
    a_template,
    a_volume,
    client,
    deploy_ec2_rules,
    instance,
    launch,
    until,
)


def a_running_instance(sandbox: Sandbox, ec2: Any, user_data: str = "#!/bin/sh\ntrue\n") -> str:
    started = launch(ec2, a_template(ec2), user_data=user_data)
    assert sandbox.quiet(WAIT)
    return started


def test_a_launched_instance_runs_its_user_data_at_the_substrates_address(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)

        started = a_running_instance(sandbox, ec2, "#!/bin/sh\necho hello\n")

        described = instance(ec2, started)
        assert described["State"]["Name"] == "running"
        assert described["PrivateIpAddress"] == described["PublicIpAddress"] == "10.77.0.11"
        assert described["ImageId"] == "ami-0debian12arm64"
        assert sandbox.substrate.user_data[started] == "#!/bin/sh\necho hello\n"


def test_the_same_client_token_never_launches_twice(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        client("iam", sandbox.endpoint).create_instance_profile(InstanceProfileName="ours")
        template = a_template(ec2)
        asked = {**a_launch(ec2, template, "token"), "IamInstanceProfile": {"Name": "ours"}}

        [launched] = ec2.run_instances(**asked)["Instances"]
        assert sandbox.quiet(WAIT)
        [again] = ec2.run_instances(**asked)["Instances"]

        assert again["InstanceId"] == launched["InstanceId"]
        assert len(ec2.describe_instances()["Reservations"]) == 1
        with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
            launch(ec2, template, "token", user_data="something else")


def test_the_token_of_a_terminated_instance_is_spent(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        template = a_template(ec2)
        ec2.terminate_instances(InstanceIds=[launch(ec2, template, "token")])

        with pytest.raises(ClientError, match="IdempotentInstanceTerminated"):
            launch(ec2, template, "token")


def test_an_instance_that_powers_itself_off_is_terminated_and_leaves_its_volume_available(tmp_path: Path) -> None:
    recorder = Recorder("on_instance_state", "on_snapshot_state")
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_ec2_rules(sandbox.endpoint)
        ec2 = client("ec2", sandbox.endpoint)
        started = a_running_instance(sandbox, ec2)
        volume = a_volume(ec2)
        ec2.attach_volume(VolumeId=volume, InstanceId=started, Device="/dev/sdf")

        sandbox.substrate.power_off(started)

        assert until(lambda: instance(ec2, started)["State"]["Name"] == "terminated")
        assert until(lambda: len(recorder.states()) == 4)
        assert sorted(recorder.states()) == ["pending", "running", "shutting-down", "terminated"]
        assert {event["detail"]["instance-id"] for event in recorder.events("on_instance_state")} == {started}
        assert [found["State"] for found in ec2.describe_volumes()["Volumes"]] == ["available"]
        assert sandbox.substrate.attached == {}
        assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_terminate_pulls_the_plug_and_says_each_state_once(tmp_path: Path) -> None:
    recorder = Recorder("on_instance_state", "on_snapshot_state")
    with a_sandbox(tmp_path, recorder) as sandbox:
        deploy_ec2_rules(sandbox.endpoint)
        ec2 = client("ec2", sandbox.endpoint)
        started = a_running_instance(sandbox, ec2)

        for _ in range(3):
            answer = ec2.terminate_instances(InstanceIds=[started])["TerminatingInstances"][0]

        assert answer["CurrentState"]["Name"] in ("shutting-down", "terminated")
        assert until(lambda: instance(ec2, started)["State"]["Name"] == "terminated")
        assert sandbox.quiet(WAIT)
        assert sorted(recorder.states()) == ["pending", "running", "shutting-down", "terminated"]


def test_an_instance_terminated_while_it_starts_still_ends(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        started = launch(ec2, a_template(ec2))

        ec2.terminate_instances(InstanceIds=[started])

        assert until(lambda: instance(ec2, started)["State"]["Name"] == "terminated")


def test_a_machine_that_cannot_start_ends_as_a_terminated_instance(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)

        started = launch(ec2, a_template(ec2), user_data="does not boot")

        assert until(lambda: instance(ec2, started)["State"]["Name"] == "terminated")
        assert instance(ec2, started)["StateReason"]["Code"] == "Server.InternalError"


def test_without_the_templates_word_a_power_off_only_stops_the_instance(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        started = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        assert sandbox.quiet(WAIT)

        sandbox.substrate.power_off(started)

        assert until(lambda: instance(ec2, started)["State"]["Name"] == "stopped")
