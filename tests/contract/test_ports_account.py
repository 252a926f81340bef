"""Keys, quotas, parameters and dry launches against moto, and what goes over the wire where moto cannot answer.

moto knows no quota of EC2 and EBS, no dry run of KMS (it makes the data key), no default key of EBS that can be asked
for, no key of a snapshot and none of AWS's own: those answers are written here as AWS's documentation has them.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.botocore_stubber import MockRawResponse
from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

from chalicelib.aws.account import AwsAccount
from chalicelib.aws.machines import Ec2Machines
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core import tags
from chalicelib.core.preflight import QuotaName
from chalicelib.errors import PermanentError, TransientError
from chalicelib.ports import LaunchRequest
from tests.contract.aws import REGION, Account

THERE = "eu-central-1"


@pytest.fixture
def looked(account: Account) -> AwsAccount:
    return AwsAccount(account.clients, REGION)


def answer_with(client: Any, operation: str, body: str, status: int = 200) -> list[str]:
    """From now on AWS answers the operation with this; the list grows by what was asked."""
    asked: list[str] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(request.body.decode() if isinstance(request.body, bytes) else str(request.body))
        return AWSResponse(request.url, status, {}, MockRawResponse(body.encode()))

    client.meta.events.register_first(
        f"before-send.{client.meta.service_model.service_id.hyphenize()}.{operation}", answer
    )
    return asked


def kms_says(account: Account, error: str) -> list[str]:
    body = json.dumps({"__type": error, "message": "-"})
    return answer_with(account.clients.kms_in(REGION), "GenerateDataKeyWithoutPlaintext", body, 400)


# -- keys -------------------------------------------------------------------------------------------------------------


def a_key(account: Account) -> str:
    made: Mapping[str, Any] = account.clients.kms_in(REGION).create_key()["KeyMetadata"]
    return str(made["Arn"])


def test_a_dry_use_of_a_key_of_our_own_asks_for_nothing_but_whether_it_would_work(
    account: Account, looked: AwsAccount
) -> None:
    arn, asked = a_key(account), kms_says(account, "DryRunOperationException")

    key = looked.look_at_key(REGION, arn)

    assert (key.id, key.state, key.refused, key.is_ours) == (arn, "Enabled", None, True)
    (request,) = map(json.loads, asked)
    assert (request["DryRun"], request["EncryptionContext"]) == (True, {"ebbtide": "preflight"})


def test_a_key_that_kms_will_not_use_says_why(account: Account, looked: AwsAccount) -> None:
    arn = a_key(account)
    kms_says(account, "KMSInvalidStateException")

    assert looked.look_at_key(REGION, arn).refused == "KMSInvalidStateException"


def test_that_we_may_not_use_a_key_is_no_word_on_the_key(account: Account, looked: AwsAccount) -> None:
    arn = a_key(account)
    kms_says(account, "AccessDeniedException")

    with pytest.raises(PermanentError, match="AccessDenied"):
        looked.look_at_key(REGION, arn)


def test_a_disabled_key_is_not_used_and_one_about_to_go_says_when(account: Account, looked: AwsAccount) -> None:
    kms, arn = account.clients.kms_in(REGION), a_key(account)
    asked = kms_says(account, "DryRunOperationException")
    kms.disable_key(KeyId=arn.rsplit("/", 1)[-1])
    disabled = looked.look_at_key(REGION, arn)
    kms.schedule_key_deletion(KeyId=arn.rsplit("/", 1)[-1], PendingWindowInDays=7)

    doomed = looked.look_at_key(REGION, arn)

    assert (disabled.state, doomed.state) == ("Disabled", "PendingDeletion")
    assert doomed.deletion is not None
    assert doomed.deletion - datetime.now(doomed.deletion.tzinfo) > timedelta(days=6)
    assert asked == []


A_SNAPSHOT = """<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId><status>completed</status>
<startTime>2026-11-23T03:00:00.000Z</startTime><volumeId>vol-1</volumeId><volumeSize>80</volumeSize>
<kmsKeyId>arn:key</kmsKeyId></item></snapshotSet></DescribeSnapshotsResponse>"""


def test_volumes_and_snapshots_name_the_key_they_are_encrypted_with(account: Account, looked: AwsAccount) -> None:
    kms_says(account, "DryRunOperationException")
    answer_with(account.clients.ec2, "DescribeSnapshots", A_SNAPSHOT)
    volumes = EbsVolumes(account.clients)

    volume = volumes.create_volume("v" * 64, f"{REGION}a", 8, "gp3", {tags.SCHEMA: "1"})
    (snapshot,) = volumes.find_snapshots({tags.SCHEMA: "1"})

    assert volume.key == looked.look_at_key(REGION, str(volume.key)).id
    assert snapshot.key == "arn:key"


def test_a_key_of_aws_own_is_never_used(account: Account, looked: AwsAccount) -> None:
    """Its policy lets EBS use it and nobody else; moto takes every key for the customer's."""
    asked = kms_says(account, "AccessDeniedException")
    metadata = {"KeyId": "1", "Arn": "arn:1", "KeyState": "Enabled", "KeyManager": "AWS"}
    answer_with(account.clients.kms_in(REGION), "DescribeKey", json.dumps({"KeyMetadata": metadata}))

    key = looked.look_at_key(REGION, a_key(account))

    assert (key.state, key.refused, key.is_ours, asked) == ("Enabled", None, False, [])


def test_the_default_key_is_asked_for_in_its_region(looked: AwsAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(response: EC2Response) -> ActionResult:
        return ActionResult({"KmsKeyId": f"the key of {response.region}"})

    monkeypatch.setattr(EC2Response, "get_ebs_default_kms_key_id", answer, raising=False)

    assert [looked.default_key(each) for each in (REGION, THERE)] == [f"the key of {each}" for each in (REGION, THERE)]


# -- quotas -----------------------------------------------------------------------------------------------------------


def limit_is(account: Account, value: float, region: str = REGION) -> list[str]:
    body = json.dumps({"Quota": {"Value": value}})
    return answer_with(account.clients.quotas_in(region), "GetServiceQuota", body)


def test_the_vcpus_in_use_are_those_of_standing_standard_machines(account: Account, looked: AwsAccount) -> None:
    asked = limit_is(account, 5)
    machines = Ec2Machines(account.clients, account.launch_template)
    ended = machines.launch(a_request(account, "m5.4xlarge", "1"))
    machines.terminate(ended.id)
    for number, instance_type in enumerate(("t4g.small", "t4g.small", "m7g.medium", "g5g.xlarge")):
        machines.launch(a_request(account, instance_type, str(number)))

    quota = looked.find_quota(REGION, QuotaName.VCPUS)

    assert (quota.limit, quota.used) == (5, 2 + 2 + 1)
    assert json.loads(asked[0]) == {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}


A_SPOT_MACHINE = """<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>
<instanceType>m5.xlarge</instanceType><instanceLifecycle>spot</instanceLifecycle></item></instancesSet></item>
</reservationSet></DescribeInstancesResponse>"""


def test_spot_machines_have_a_quota_of_their_own(account: Account, looked: AwsAccount) -> None:
    limit_is(account, 5)
    answer_with(account.clients.ec2, "DescribeInstances", A_SPOT_MACHINE)

    assert looked.find_quota(REGION, QuotaName.VCPUS).used == 0


def test_gp3_is_counted_in_gib_and_snapshots_by_number_whoever_made_them(account: Account, looked: AwsAccount) -> None:
    asked = limit_is(account, 2)
    ec2 = account.clients.ec2
    before = looked.find_quota(REGION, QuotaName.SNAPSHOTS).used
    made = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=30, VolumeType="gp3")
    ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=500, VolumeType="gp2")
    ec2.create_snapshot(VolumeId=made["VolumeId"])

    gp3, snapshots = (looked.find_quota(REGION, name) for name in (QuotaName.GP3, QuotaName.SNAPSHOTS))

    assert (gp3.limit, gp3.used) == (2048, 30)
    assert (snapshots.limit, snapshots.used - before) == (2, 1)
    assert [json.loads(each)["QuotaCode"] for each in asked] == ["L-309BACF6", "L-7A658B76", "L-309BACF6"]


def test_snapshots_are_counted_page_by_page(account: Account, looked: AwsAccount) -> None:
    limit_is(account, 2)
    sent: list[Mapping[str, Any]] = []
    account.clients.ec2.meta.events.register(
        "before-call.ec2.DescribeSnapshots", lambda params, **_: sent.append(params["body"])
    )

    looked.find_quota(REGION, QuotaName.SNAPSHOTS)

    assert [(body["Owner.1"], body.get("MaxResults")) for body in sent] == [("self", 1000)]


def test_a_quota_that_may_not_be_asked_for_is_a_fault(account: Account, looked: AwsAccount) -> None:
    body = json.dumps({"__type": "AccessDeniedException", "message": "-"})
    answer_with(account.clients.quotas_in(REGION), "GetServiceQuota", body, 400)

    with pytest.raises(PermanentError, match="the quota of snapshots in us-east-1"):
        looked.find_quota(REGION, QuotaName.SNAPSHOTS)


def test_the_vcpus_of_types_are_looked_up(looked: AwsAccount) -> None:
    assert looked.vcpus_of(["t4g.small", "m5.xlarge"]) == {"t4g.small": 2, "m5.xlarge": 4}
    assert looked.vcpus_of([]) == {}


# -- parameters and dry launches --------------------------------------------------------------------------------------


def test_a_parameter_is_there_or_not_and_is_never_decrypted(account: Account, looked: AwsAccount) -> None:
    asked: list[Mapping[str, Any]] = []
    account.clients.ssm.meta.events.register(
        "before-parameter-build.ssm.GetParameter", lambda params, **_: asked.append(params)
    )
    account.clients.ssm.put_parameter(Name="/ebbtide/main/host-key", Value="-", Type="SecureString")

    found = [looked.has_parameter(f"/ebbtide/{name}/host-key") for name in ("main", "other")]

    assert found == [True, False]
    assert [each["WithDecryption"] for each in asked] == [False, False]


def a_request(account: Account, instance_type: str = "t4g.small", token: str = "t") -> LaunchRequest:
    wanted = {tags.SCHEMA: "1", tags.ROLE: "preflight"}
    return LaunchRequest(token, instance_type, account.subnet, account.group, "#!/bin/sh\n", wanted)


def test_a_dry_launch_that_would_go_well_launches_nothing(account: Account) -> None:
    machines = Ec2Machines(account.clients, account.launch_template)

    machines.would_launch(a_request(account))

    assert machines.find({tags.SCHEMA: "1"}) == []


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("UnauthorizedOperation", 403, PermanentError),
        ("InvalidSubnetID.NotFound", 400, PermanentError),
        ("RequestLimitExceeded", 503, TransientError),
    ],
)
def test_what_ec2_has_against_a_launch_is_raised(account: Account, code: str, status: int, kind: type) -> None:
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
    answer_with(account.clients.ec2, "RunInstances", body, status)

    with pytest.raises(kind, match=code):
        Ec2Machines(account.clients, account.launch_template).would_launch(a_request(account))
