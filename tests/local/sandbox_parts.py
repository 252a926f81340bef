"""What the sandbox's tests stand on: a substrate in files and memory, recording handlers, and deployed functions."""

import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from chalicelib.errors import PermanentError
from ebbtide_console.sandbox.claim import claimed
from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.geography import FIRST
from ebbtide_console.sandbox.server import Sandbox, client_environment

PREFIX = "ebbtide-test-"
ZONE = f"{FIRST}a"
WAIT = 120.0  # seconds a test is ready to wait for what takes a fraction of one


class Paper:
    """A substrate whose disks are small files and whose machines only exist on paper.

    `regions` says where each machine is, `user_data` what it was given, `attached` which volume it has.
    """

    kind = "paper"
    sentence = "paper: disks are small files, machines are names"

    def __init__(self, state: Path) -> None:
        self._disks = state / "paper"
        self._disks.mkdir(parents=True, exist_ok=True)
        self._exits: dict[str, Callable[[str], None]] = {}
        self._addresses = 10
        self.machine_endpoint = ""
        self.user_data: dict[str, str] = {}
        self.regions: dict[str, str] = {}
        self.attached: dict[str, str] = {}
        self.names: socket.socket | None = None
        self.full = False
        self.grown: list[tuple[str, int]] = []

    def listen(self, port: int = 0) -> list[socket.socket]:
        try:
            listening = socket.create_server(("127.0.0.1", port), reuse_port=False)
        except OSError as error:
            raise PermanentError(f"port {port} is in use") from error
        self.machine_endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return [listening]

    def listen_names(self) -> socket.socket | None:
        self.names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.names.bind(("127.0.0.1", 0))
        return self.names

    def disk(self, disk_id: str) -> Path:
        return self._disks / disk_id

    def create_disk(self, volume_id: str, size_gib: int, snapshot_id: str | None) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.disk(volume_id).write_bytes(self.disk(snapshot_id).read_bytes() if snapshot_id else b"")

    def grow_disk(self, volume_id: str, size_gib: int) -> None:
        self.grown.append((volume_id, size_gib))

    def snapshot_disk(self, volume_id: str, snapshot_id: str) -> None:
        self.disk(snapshot_id).write_bytes(self.disk(volume_id).read_bytes())

    def delete_disk(self, disk_id: str) -> None:
        self.disk(disk_id).unlink(missing_ok=True)

    def has_disk(self, disk_id: str) -> bool:
        return self.disk(disk_id).exists()

    def assign_address(self) -> str:
        self._addresses += 1
        return f"10.77.0.{self._addresses}"

    def start_machine(
        self, machine_id: str, address: str, region: str, user_data: str, on_exit: Callable[[str], None]
    ) -> None:
        if user_data == "does not boot":
            raise OSError(5, "no machine today")
        self.user_data[machine_id] = user_data
        self.regions[machine_id] = region
        self._exits[machine_id] = on_exit

    @property
    def standing(self) -> set[str]:
        """The machines that have started and not ended."""
        return set(self._exits)

    def attach(self, machine_id: str, volume_id: str) -> None:
        self.attached[volume_id] = machine_id

    def detach(self, machine_id: str, volume_id: str) -> None:
        self.attached.pop(volume_id, None)

    def stop_machine(self, machine_id: str) -> None:
        if machine_id in self._exits:
            self.power_off(machine_id)

    def power_off(self, machine_id: str) -> None:
        """The machine ends, from a thread of the substrate."""
        on_exit = self._exits.pop(machine_id)
        threading.Thread(target=on_exit, args=(machine_id,)).start()

    def ssh_port(self, machine_id: str) -> int:
        return 22

    def machine_log(self, machine_id: str) -> Path:
        return self._disks / f"{machine_id}.log"

    def host_command(self, host: str, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def close(self) -> None:
        self._exits.clear()


class Recorder:
    """Handlers that remember what they were called with; `fails` says how often the next calls raise."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.calls: list[tuple[str, Any, Any]] = []
        self.fails = 0

    def handlers(self) -> Mapping[str, Callable[[Any, Any], Any]]:
        return {name: self._handler(name) for name in self.names}

    def events(self, name: str) -> list[Any]:
        return [event for called, event, _ in self.calls if called == name]

    def states(self, name: str = "on_instance_state") -> list[str]:
        return [event["detail"]["state"] for event in self.events(name)]

    def _handler(self, name: str) -> Callable[[Any, Any], Any]:
        def handle(event: Any, context: Any) -> Any:
            self.calls.append((name, event, context))
            print(name, "was called")
            if self.fails:
                self.fails -= 1
                raise ValueError("not this time")
            return {"handled": name, "event": event}

        return handle


@contextmanager
def a_sandbox(
    state: Path, recorder: Recorder | None = None, clock: Clock | None = None, port: int = 0
) -> Iterator[Sandbox]:
    recorder = recorder or Recorder()
    with claimed(state):
        sandbox = Sandbox(state, Paper(state), port=port, clock=clock, load=recorder.handlers)
        try:
            sandbox.start()
            yield sandbox
        finally:
            sandbox.stop()


def followed(endpoint: str, region: str = FIRST) -> Callable[[], list[dict[str, Any]]]:
    """Have somebody listen to what we say of ourselves; what they have heard, the details of the events."""
    logs, events = client("logs", endpoint, region), client("events", endpoint, region)
    logs.create_log_group(logGroupName="/follower")
    events.put_rule(Name="follower", EventPattern=json.dumps({"source": ["ebbtide"]}))
    arn = f"arn:aws:logs:{region}:123456789012:log-group:/follower"
    events.put_targets(Rule="follower", Targets=[{"Id": "log", "Arn": arn}])

    def heard() -> list[dict[str, Any]]:
        found = logs.filter_log_events(logGroupName="/follower")["events"]
        return [json.loads(event["message"])["detail"] for event in found]

    return heard


def client(service: str, endpoint: str, region: str = FIRST) -> Any:
    settings = client_environment(endpoint, region)
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint,
        region_name=settings["AWS_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )


def deploy_function(endpoint: str, name: str, region: str = FIRST) -> str:
    """A function of the stack, by its short name; its ARN."""
    iam = client("iam", endpoint)
    role = iam.create_role(RoleName=f"role-{name}-{region}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("app.py", "")
    function = client("lambda", endpoint, region).create_function(
        FunctionName=f"{PREFIX}{name}",
        Runtime="python3.13",
        Role=role,
        Handler=f"app.{name}",
        Timeout=30,
        Code={"ZipFile": bundle.getvalue()},
        Environment={
            "Variables": {
                "EBBTIDE_FUNCTION_PREFIX": PREFIX,
                "EBBTIDE_TEST_VARIABLE": "set",
                "EBBTIDE_TEST_REGION": region,
            }
        },
    )
    return str(function["FunctionArn"])


def deploy_rule(
    endpoint: str, name: str, pattern: Mapping[str, Any] | None = None, schedule: str = "", region: str = FIRST
) -> None:
    """The function `name` and the rule that triggers it."""
    events = client("events", endpoint, region)
    trigger = {"ScheduleExpression": schedule} if schedule else {"EventPattern": json.dumps(pattern)}
    events.put_rule(Name=f"{PREFIX}{name}", **trigger)
    events.put_targets(Rule=f"{PREFIX}{name}", Targets=[{"Id": "1", "Arn": deploy_function(endpoint, name, region)}])


def deploy_ec2_rules(endpoint: str, region: str = FIRST) -> None:
    for name, detail_type in (
        ("on_instance_state", "EC2 Instance State-change Notification"),
        ("on_snapshot_state", "EBS Snapshot Notification"),
    ):
        deploy_rule(endpoint, name, {"source": ["aws.ec2"], "detail-type": [detail_type]}, region=region)


def a_volume(ec2: Any, token: str = "volume one", **more: Any) -> str:
    return str(
        ec2.create_volume(
            AvailabilityZone=ZONE,
            Size=1,
            VolumeType="gp3",
            ClientToken=token,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "ebbtide:receiver", "Value": "main"}]}],
            **more,
        )["VolumeId"]
    )


def a_template(ec2: Any) -> str:
    image = "resolve:ssm:/aws/service/debian/release/12/latest/arm64"
    data = {"ImageId": image, "InstanceInitiatedShutdownBehavior": "terminate"}
    made = ec2.create_launch_template(LaunchTemplateName="ebbtide", LaunchTemplateData=data)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def a_launch(
    ec2: Any,
    template: str,
    token: str = "launch one",
    user_data: str = "#!/bin/sh\ntrue\n",
    zone: str = ZONE,
) -> dict[str, Any]:
    subnets = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}])["Subnets"]
    return {
        "LaunchTemplate": {"LaunchTemplateId": template, "Version": "$Latest"},
        "InstanceType": "t4g.small",
        "SubnetId": subnets[0]["SubnetId"],
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "UserData": user_data,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "ebbtide:run", "Value": "main/1"}]}],
    }


def launch(
    ec2: Any, template: str, token: str = "launch one", user_data: str = "#!/bin/sh\ntrue\n", zone: str = ZONE
) -> str:
    [launched] = ec2.run_instances(**a_launch(ec2, template, token, user_data, zone))["Instances"]
    assert launched["State"]["Name"] == "pending"
    return str(launched["InstanceId"])


def instance(ec2: Any, instance_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return found


def until(condition: Callable[[], bool], seconds: float = WAIT) -> bool:
    """Look again and again, until it holds or the time is up."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
