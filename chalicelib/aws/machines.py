"""EC2 instances of ours, all launched from the deployment's launch templates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from botocore.exceptions import ClientError

from chalicelib.aws import tagging
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of, told
from chalicelib.core.model import Machine
from chalicelib.errors import TokenSpentError
from chalicelib.ports import LaunchRequest

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        IamInstanceProfileSpecificationTypeDef,
        InstanceTypeDef,
        ReservationResponseTypeDef,
    )


class _Profile(TypedDict, total=False):
    IamInstanceProfile: "IamInstanceProfileSpecificationTypeDef"


_WOULD_HAVE = "DryRunOperation"
_NO_SUBNET = "InvalidSubnetID.NotFound"
_ABSENT = ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")


class Ec2Machines:
    """Machines by their tags and by their id."""

    def __init__(self, clients: Clients, launch_template: str) -> None:
        self._clients = clients
        self._launch_template = launch_template
        self._zones: dict[str, str] = {}

    def find(self, tags: Mapping[str, str]) -> list[Machine]:
        pages = self._clients.ec2.get_paginator("describe_instances")
        with told(f"looking for machines of {dict(tags)}"):
            return [
                _machine(instance)
                for page in pages.paginate(Filters=tagging.filters(tags))
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]

    def get(self, machine_id: str) -> Machine:
        """Raises KeyError when absent."""
        with told(f"looking at machine {machine_id}"):
            try:
                answer = self._clients.ec2.describe_instances(InstanceIds=[machine_id])
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    raise KeyError(machine_id) from None
                raise
        found = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
        if not found:
            raise KeyError(machine_id)
        return _machine(found[0])

    def launch(self, request: LaunchRequest) -> Machine:
        """Raises CapacityError, and TokenSpentError or TokenTakenError for a token of another machine or request."""
        with told(f"launching a {request.instance_type} for {request.tags.get('Name', 'nobody')}"):
            answer = self._run(request, dry=False)
        machine = _machine(answer["Instances"][0])
        if machine.is_gone or machine.is_leaving:
            raise TokenSpentError(f"the token of machine {machine.id} is spent: it is {machine.state}")
        return machine

    def would_launch(self, request: LaunchRequest) -> None:
        """EC2 checks the request and its permissions, and answers with an error of its own name that it would.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html: DryRun
        """
        with told(f"asking for a {request.instance_type} in {request.subnet}, without launching it"):
            try:
                self._run(request, dry=True)
            except ClientError as error:
                if code_of(error) != _WOULD_HAVE:
                    raise

    def _run(self, request: LaunchRequest, dry: bool) -> "ReservationResponseTypeDef":
        return self._clients.ec2.run_instances(
            DryRun=dry,
            LaunchTemplate={"LaunchTemplateId": request.template or self._launch_template, "Version": "$Latest"},
            InstanceType=request.instance_type,  # type: ignore[arg-type]
            SubnetId=request.subnet,
            SecurityGroupIds=[request.security_group],
            **_with_profile(request),
            UserData=request.user_data,
            ClientToken=request.token,
            TagSpecifications=[
                tagging.on_create("instance", request.tags),
                tagging.on_create("volume", _of_the_root_volume(request.tags)),
            ],
            MinCount=1,
            MaxCount=1,
        )

    def terminate(self, machine_id: str) -> None:
        with told(f"terminating machine {machine_id}"):
            try:
                self._clients.ec2.terminate_instances(InstanceIds=[machine_id])
            except ClientError as error:
                if code_of(error) not in _ABSENT:
                    raise

    def tag(self, machine_id: str, tags: Mapping[str, str]) -> None:
        with told(f"tagging {machine_id}"):
            self._clients.ec2.create_tags(Resources=[machine_id], Tags=tagging.written(tags))

    def zone_of(self, subnet: str) -> str:
        """Asked for once: it never changes. Raises KeyError when EC2 knows no such subnet."""
        if subnet not in self._zones:
            self._zones[subnet] = self._look_up_zone(subnet)
        return self._zones[subnet]

    def _look_up_zone(self, subnet: str) -> str:
        with told(f"looking up the zone of subnet {subnet}"):
            try:
                (found,) = self._clients.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
            except ClientError as error:
                if code_of(error) == _NO_SUBNET:
                    raise KeyError(subnet) from None
                raise
        return found["AvailabilityZone"]


def _with_profile(request: LaunchRequest) -> _Profile:
    return {"IamInstanceProfile": {"Arn": request.profile}} if request.profile else {}


def _of_the_root_volume(tags: Mapping[str, str]) -> dict[str, str]:
    """Tagged, so that a sweep finds it; without a role, so that no one takes it for a data volume."""
    return {key: value for key, value in tags.items() if key != "ebbtide:role"}


def _machine(instance: "InstanceTypeDef") -> Machine:
    return Machine(
        id=instance["InstanceId"],
        state=instance["State"]["Name"],
        address=instance.get("PublicIpAddress") or instance.get("PrivateIpAddress") or None,
        zone=instance.get("Placement", {}).get("AvailabilityZone", ""),
        launched=instance["LaunchTime"],
        tags=tagging.read(instance.get("Tags", [])),
        instance_type=instance.get("InstanceType", ""),
    )
