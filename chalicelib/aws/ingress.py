"""What a security group lets in: TCP ports, each for networks."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of
from chalicelib.core.model import Way

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, IpPermissionTypeDef


def find_ways(clients: Clients, group: str) -> frozenset[Way]:
    """Those that lead to a single TCP port each: we make no others, and none is ours to close."""
    rules = clients.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return frozenset(
        Way(rule["FromPort"], network)
        for rule in rules
        if rule["IpProtocol"] == "tcp" and rule["FromPort"] == rule["ToPort"]
        for network in _networks(rule)
    )


def open_way(clients: Clients, group: str, way: Way) -> None:
    """Open already is success."""
    try:
        clients.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[_rule(way)])
    except ClientError as error:
        if code_of(error) != "InvalidPermission.Duplicate":
            raise


def close_way(clients: Clients, group: str, way: Way) -> None:
    """Closed already is success."""
    try:
        clients.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[_rule(way)])
    except ClientError as error:
        if code_of(error) != "InvalidPermission.NotFound":
            raise


def _networks(rule: "IpPermissionOutputTypeDef") -> Iterator[str]:
    yield from (entry["CidrIp"] for entry in rule.get("IpRanges", []))
    yield from (entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", []))


def _rule(way: Way) -> "IpPermissionTypeDef":
    rule: IpPermissionTypeDef = {"IpProtocol": "tcp", "FromPort": way.port, "ToPort": way.port}
    if ip_network(way.network).version == 4:
        return {**rule, "IpRanges": [{"CidrIp": way.network}]}
    return {**rule, "Ipv6Ranges": [{"CidrIpv6": way.network}]}
