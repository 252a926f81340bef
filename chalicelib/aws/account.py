"""What the account holds for us and lets us have: KMS keys, Service Quotas, parameters; only ever looked at."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of, told
from chalicelib.aws.volumes import PAGES
from chalicelib.core.preflight import ENABLED, Key, Quota, QuotaName, is_standard

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_GIB_A_TIB = 1024
# Service and code of each quota that Service Quotas tells:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html
# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html: snapshots, and TiB of gp3
_CODES = {
    QuotaName.VCPUS: ("ec2", "L-1216C47A", 1),
    QuotaName.SNAPSHOTS: ("ebs", "L-309BACF6", 1),
    QuotaName.GP3: ("ebs", "L-7A658B76", _GIB_A_TIB),
}
# KMS says that a dry run would have gone well by an error of this name.
# https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
_WOULD_HAVE = "DryRunOperationException"
_CANNOT_BE_USED = ("DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException")
# IAM lets us use a key in this context only: nothing that anyone else has encrypted is in it.
_CONTEXT = {"ebbtide": "preflight"}


class AwsAccount:
    """`here` is the region that everything but keys and copies is about."""

    def __init__(self, clients: Clients, here: str) -> None:
        self._clients = clients
        self._here = here

    # -- keys

    def default_key(self, region: str) -> str:
        with told(f"asking for the default key of EBS in {region}"):
            return self._ec2(region).get_ebs_default_kms_key_id()["KmsKeyId"]

    def look_at_key(self, region: str, key_id: str) -> Key:
        """AWS's own keys let EBS use them and nobody else, and cannot be disabled: their state is all there is."""
        kms = self._clients.kms_in(region)
        with told(f"looking at key {key_id} in {region}"):
            found = kms.describe_key(KeyId=key_id)["KeyMetadata"]
        state, is_ours = found["KeyState"], found.get("KeyManager") == "CUSTOMER"
        refused = self._dry_use(kms, found["Arn"]) if is_ours and state == ENABLED else None
        return Key(found["Arn"], region, state, found.get("DeletionDate"), refused, is_ours=is_ours)

    def _dry_use(self, kms: Any, arn: str) -> str | None:
        """What KMS has against it. That we are not allowed to is no word on the key, and raised."""
        with told(f"using key {arn} without doing anything"):
            try:
                kms.generate_data_key_without_plaintext(
                    KeyId=arn, KeySpec="AES_256", EncryptionContext=_CONTEXT, DryRun=True
                )
            except ClientError as error:
                if code_of(error) in _CANNOT_BE_USED:
                    return code_of(error)
                if code_of(error) != _WOULD_HAVE:
                    raise
        return None

    # -- quotas

    def find_quota(self, region: str, name: QuotaName) -> Quota:
        with told(f"asking for the quota of {name} in {region}"):
            return Quota(name, region, self._limit(region, name), _USED[name](self._ec2(region)))

    def _limit(self, region: str, name: QuotaName) -> float:
        service, code, unit = _CODES[name]
        answer = self._clients.quotas_in(region).get_service_quota(ServiceCode=service, QuotaCode=code)
        return float(answer["Quota"]["Value"]) * unit

    def vcpus_of(self, instance_types: Iterable[str]) -> Mapping[str, int]:
        with told("looking up instance types"):
            return _vcpus_of(self._clients.ec2, set(instance_types))

    # -- parameters

    def has_parameter(self, name: str) -> bool:
        """Asked for as it lies there, encrypted: what it says is nobody's business here."""
        with told(f"looking for parameter {name}"):
            try:
                self._clients.ssm.get_parameter(Name=name, WithDecryption=False)
            except ClientError as error:
                if code_of(error) == "ParameterNotFound":
                    return False
                raise
        return True

    def _ec2(self, region: str) -> "EC2Client":
        return self._clients.ec2 if region == self._here else self._clients.ec2_in(region)


def _vcpus_of(ec2: "EC2Client", instance_types: Iterable[str]) -> dict[str, int]:
    wanted = sorted(instance_types)
    if not wanted:
        return {}
    pages = ec2.get_paginator("describe_instance_types")
    return {
        found["InstanceType"]: found["VCpuInfo"]["DefaultVCpus"]
        for page in pages.paginate(InstanceTypes=wanted)  # type: ignore[arg-type]
        for found in page["InstanceTypes"]
    }


def _used_vcpus(ec2: "EC2Client") -> float:
    """What the quota counts: standard on-demand machines that run or are about to, whoever launched them."""
    types = [each for each in _standing_types(ec2) if is_standard(each)]
    vcpus = _vcpus_of(ec2, set(types))
    return sum(vcpus[each] for each in types)


def _standing_types(ec2: "EC2Client") -> "Iterator[str]":
    pages = ec2.get_paginator("describe_instances")
    standing = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    for page in pages.paginate(Filters=standing):  # type: ignore[arg-type]
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                if instance.get("InstanceLifecycle") != "spot":
                    yield instance["InstanceType"]


def _used_snapshots(ec2: "EC2Client") -> float:
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig=PAGES)
    return sum(len(page["Snapshots"]) for page in pages)


def _used_gp3(ec2: "EC2Client") -> float:
    pages = ec2.get_paginator("describe_volumes")
    found = pages.paginate(Filters=[{"Name": "volume-type", "Values": ["gp3"]}])
    return float(sum(volume["Size"] for page in found for volume in page["Volumes"]))


_USED: Mapping[QuotaName, "Callable[[EC2Client], float]"] = {
    QuotaName.VCPUS: _used_vcpus,
    QuotaName.SNAPSHOTS: _used_snapshots,
    QuotaName.GP3: _used_gp3,
}
