"""What an AWS account holds before Ebbtide is deployed into it: a network, a zone, the receiver's host key."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chalicelib.wire import host_key_parameter
from ebbtide_console.session import sandbox_client

OPENSSH_PRIVATE = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.OpenSSH,
    serialization.NoEncryption(),
)
OPENSSH_PUBLIC = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


@dataclass(frozen=True)
class Account:
    """Where the stack goes."""

    vpc: str
    subnets: tuple[str, ...]
    zone: str

    @property
    def parameters(self) -> Mapping[str, str]:
        """The template's parameters."""
        return {"VpcId": self.vpc, "SubnetIds": ",".join(self.subnets), "HostedZoneId": self.zone}


def prepare(endpoint: str, network: str, domain: str, region: str) -> Account:
    """Make a VPC of `network`, such as 10.77.0.0/24, with half of it in each of two zones, and a zone for `domain`.

    The zone is made once: Route 53 is of no region.
    """
    ec2 = sandbox_client("ec2", endpoint, region)
    vpc = ec2.create_vpc(CidrBlock=network)["Vpc"]["VpcId"]
    subnets = tuple(
        ec2.create_subnet(VpcId=vpc, CidrBlock=str(half), AvailabilityZone=region + letter)["Subnet"]["SubnetId"]
        for half, letter in zip(ip_network(network).subnets(), "ab", strict=True)
    )
    for subnet in subnets:
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    return Account(vpc, subnets, _zone(endpoint, domain, region))


def _zone(endpoint: str, domain: str, region: str) -> str:
    route53 = sandbox_client("route53", endpoint, region)
    known = {zone["Name"].rstrip("."): zone["Id"] for zone in route53.list_hosted_zones()["HostedZones"]}
    found = known.get(domain) or route53.create_hosted_zone(Name=domain, CallerReference=domain)["HostedZone"]["Id"]
    return str(found).rsplit("/", 1)[-1]


def host_key(endpoint: str, receiver: str, region: str) -> str:
    """The public half of a receiver's ssh host key, as a known_hosts file wants it; made when there is none yet."""
    ssm = sandbox_client("ssm", endpoint, region)
    name = host_key_parameter(receiver)
    try:
        text = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        text = Ed25519PrivateKey.generate().private_bytes(*OPENSSH_PRIVATE).decode()
        ssm.put_parameter(Name=name, Value=text, Type="SecureString")
    key = serialization.load_ssh_private_key(text.encode(), password=None)
    return key.public_key().public_bytes(*OPENSSH_PUBLIC).decode()


def bring_host_key(endpoint: str, receiver: str, region: str, to: str) -> None:
    """Put the receiver's host key into the parameters of another region, as the operator of a standby does."""
    name = host_key_parameter(receiver)
    key = sandbox_client("ssm", endpoint, region).get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    sandbox_client("ssm", endpoint, to).put_parameter(Name=name, Value=key, Type="SecureString", Overwrite=True)
