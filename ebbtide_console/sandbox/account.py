"""What an AWS account holds before Ebbtide is deployed into it: a network, a zone, the receiver's host key."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
    """Make a VPC of `network`, such as 10.77.0.0/24, with half of it in each of two zones, and a zone for `domain`."""
    ec2 = sandbox_client("ec2", endpoint, region)
    vpc = ec2.create_vpc(CidrBlock=network)["Vpc"]["VpcId"]
    subnets = tuple(
        ec2.create_subnet(VpcId=vpc, CidrBlock=str(half), AvailabilityZone=region + letter)["Subnet"]["SubnetId"]
        for half, letter in zip(ip_network(network).subnets(), "ab", strict=True)
    )
    for subnet in subnets:
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    route53 = sandbox_client("route53", endpoint, region)
    zone = route53.create_hosted_zone(Name=domain, CallerReference=vpc)["HostedZone"]["Id"]
    return Account(vpc, subnets, zone.rsplit("/", 1)[-1])


def host_key(endpoint: str, receiver: str, region: str) -> str:
    """The public half of a receiver's ssh host key, as a known_hosts file wants it; made when there is none yet."""
    ssm = sandbox_client("ssm", endpoint, region)
    name = f"/ebbtide/{receiver}/host-key"
    try:
        text = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        text = Ed25519PrivateKey.generate().private_bytes(*OPENSSH_PRIVATE).decode()
        ssm.put_parameter(Name=name, Value=text, Type="SecureString")
    key = serialization.load_ssh_private_key(text.encode(), password=None)
    return key.public_key().public_bytes(*OPENSSH_PUBLIC).decode()
