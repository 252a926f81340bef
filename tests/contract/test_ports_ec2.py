"""Machines, volumes, snapshots, address and functions: our tags, our errors, our retries.

What takes a `cloud` is said of moto and of the simulator alike; the rest is about what goes over the wire.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError
from moto.core.botocore_stubber import MockRawResponse
from moto.core.responses import ActionResult
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from chalicelib.aws.address import Route53Address
from chalicelib.aws.faults import told
from chalicelib.aws.lambdas import AwsLambdas
from chalicelib.aws.machines import Ec2Machines
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core import tags
from chalicelib.core.entrances import MOST_WAYS
from chalicelib.core.model import SnapshotLock, Way
from chalicelib.errors import CapacityError, PermanentError, TokenSpentError, TokenTakenError, TransientError
from chalicelib.ports import LaunchRequest
from tests.contract.aws import PREFIX, Account, deploy_functions
from tests.contract.clouds import BOTH, Cloud, motos, the_simulators

OF_THE_RUN = {tags.SCHEMA: "1", tags.RUN: "main/2026-11-23/1", tags.ROLE: tags.Role.RECEIVER}
OF_DATA = {tags.SCHEMA: "1", tags.ROLE: tags.Role.DATA}
BACKUP = {tags.SCHEMA: "1", tags.RUN: "main/2026-11-23/1", tags.ROLE: tags.Role.BACKUP}


@pytest.fixture(params=BOTH)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return motos(request.getfixturevalue("account")) if request.param == "moto" else the_simulators()


@pytest.fixture
def machines(account: Account) -> Ec2Machines:
    return Ec2Machines(account.clients, account.launch_template)


@pytest.fixture
def volumes(account: Account) -> EbsVolumes:
    return EbsVolumes(account.clients)


@pytest.fixture
def address(account: Account) -> Route53Address:
    return Route53Address(account.clients, account.zone, account.group)


def a_request(where: Account | Cloud) -> LaunchRequest:
    return LaunchRequest("t" * 64, "t4g.small", where.subnet, where.group, "#!/bin/sh\n", OF_THE_RUN)


def test_a_launched_machine_carries_its_tags_from_the_first_moment(cloud: Cloud) -> None:
    machines = cloud.machines
    launched = machines.launch(a_request(cloud))
    cloud.settle()

    found = machines.find(OF_THE_RUN)

    assert [machine.id for machine in found] == [launched.id]
    assert OF_THE_RUN.items() <= found[0].tags.items()
    assert (found[0].state, found[0].instance_type) == ("running", "t4g.small")
    assert found[0].address
    assert machines.get(launched.id) == found[0]
    assert machines.find({**OF_THE_RUN, tags.RUN: "main/2026-11-23/2"}) == []


def test_a_machine_takes_another_tag_in_place_of_one(cloud: Cloud) -> None:
    machine = cloud.machines.launch(a_request(cloud))
    cloud.settle()

    cloud.machines.tag(machine.id, {tags.EXPIRES: "2026-12-01T00:00:00+00:00"})
    cloud.machines.tag(machine.id, {tags.EXPIRES: "2026-12-02T00:00:00+00:00"})

    tagged = cloud.machines.get(machine.id).tags
    assert OF_THE_RUN.items() <= tagged.items()
    assert tagged[tags.EXPIRES] == "2026-12-02T00:00:00+00:00"


def test_the_token_is_sent_and_the_user_data_arrives(account: Account, machines: Ec2Machines) -> None:
    sent: list[Mapping[str, Any]] = []
    account.clients.ec2.meta.events.register(
        "before-call.ec2.RunInstances", lambda params, **_: sent.append(params["body"])
    )

    launched = machines.launch(a_request(account))

    data = account.clients.ec2.describe_instance_attribute(InstanceId=launched.id, Attribute="userData")
    assert sent[0]["ClientToken"] == "t" * 64
    assert data["UserData"]["Value"] == "IyEvYmluL3NoCg=="


def test_a_machine_has_the_profile_that_is_asked_for(account: Account, machines: Ec2Machines) -> None:
    made = account.session.client("iam").create_instance_profile(InstanceProfileName="image")["InstanceProfile"]

    launched = machines.launch(replace(a_request(account), profile=made["Arn"]))

    (found,) = account.clients.ec2.describe_instances(InstanceIds=[launched.id])["Reservations"][0]["Instances"]
    assert found["IamInstanceProfile"]["Arn"] == made["Arn"]


def test_the_token_of_a_volume_is_sent(account: Account, volumes: EbsVolumes) -> None:
    sent: list[Mapping[str, Any]] = []
    account.clients.ec2.meta.events.register(
        "before-call.ec2.CreateVolume", lambda params, **_: sent.append(params["body"])
    )

    volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", OF_DATA)

    assert [(body["ClientToken"], body.get("VolumeInitializationRate")) for body in sent] == [("v" * 64, None)]


def test_the_rate_at_which_a_volume_is_filled_is_sent(account: Account, volumes: EbsVolumes) -> None:
    sent: list[Mapping[str, Any]] = []
    taken = volumes.create_snapshot(volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", OF_DATA).id, "one", BACKUP)
    account.clients.ec2.meta.events.register(
        "before-call.ec2.CreateVolume", lambda params, **_: sent.append(params["body"])
    )

    volumes.create_volume("w" * 64, "us-east-1a", 8, "gp3", OF_DATA, taken.id, rate=300)

    assert [(body["SnapshotId"], body["VolumeInitializationRate"]) for body in sent] == [(taken.id, 300)]


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_a_launch_that_gives_back_a_machine_which_is_going_has_spent_its_token(
    account: Account, machines: Ec2Machines, state: str
) -> None:
    def is_going(parsed: dict[str, Any], **_: object) -> None:
        parsed["Instances"][0]["State"] = {"Code": 48, "Name": state}

    account.clients.ec2.meta.events.register("after-call.ec2.RunInstances", is_going)

    with pytest.raises(TokenSpentError, match=state):
        machines.launch(a_request(account))


def test_a_terminated_machine_is_still_found_and_ending_it_again_is_no_fault(cloud: Cloud) -> None:
    machines = cloud.machines
    launched = machines.launch(a_request(cloud))

    machines.terminate(launched.id)
    machines.terminate(launched.id)
    machines.terminate("i-00000000000000000")
    cloud.settle()

    assert [machine.state for machine in machines.find(OF_THE_RUN)] == ["terminated"]


def test_an_unknown_machine_is_a_key_error(cloud: Cloud) -> None:
    with pytest.raises(KeyError):
        cloud.machines.get("i-00000000000000000")


def test_a_volume_is_made_in_the_zone_of_the_subnet_and_attached_once(cloud: Cloud) -> None:
    machines, volumes = cloud.machines, cloud.volumes
    machine = machines.launch(a_request(cloud))

    volume = volumes.create_volume("v" * 64, machines.zone_of(cloud.subnet), 80, "gp3", OF_DATA)
    cloud.settle()
    volumes.attach(volume.id, machine.id)

    (found,) = volumes.find_volumes(OF_DATA)
    assert (found.id, found.attached_to, found.size_gib, found.zone) == (volume.id, machine.id, 80, machine.zone)
    assert found.tags == OF_DATA


def test_a_subnet_that_is_gone_is_a_key_error_and_takes_no_machine(cloud: Cloud) -> None:
    gone = "subnet-00000000000000000"

    with pytest.raises(KeyError):
        cloud.machines.zone_of(gone)
    with pytest.raises(PermanentError, match=r"InvalidSubnetID\.NotFound"):
        cloud.machines.launch(replace(a_request(cloud), subnet=gone))


def test_a_volume_grows_and_says_when_it_is_done(cloud: Cloud) -> None:
    volumes = cloud.volumes
    volume = volumes.create_volume("v" * 64, cloud.machines.zone_of(cloud.subnet), 80, "gp3", OF_DATA)
    cloud.settle()

    volumes.grow(volume.id, 120)
    cloud.settle()

    (found,) = volumes.find_volumes(OF_DATA)
    assert (found.size_gib, volumes.is_growing(volume.id)) == (120, False)


def test_a_volume_that_never_changed_is_not_growing(cloud: Cloud) -> None:
    volume = cloud.volumes.create_volume("v" * 64, cloud.machines.zone_of(cloud.subnet), 80, "gp3", OF_DATA)

    assert cloud.volumes.is_growing(volume.id) is False


@pytest.mark.parametrize(("state", "grows"), [("modifying", True), ("optimizing", False), ("completed", False)])
def test_a_volume_grows_until_ebs_only_optimizes(
    account: Account, volumes: EbsVolumes, state: str, grows: bool
) -> None:
    """moto is done at once, and tells no state."""
    modified = f"<item><volumeId>vol-1</volumeId><modificationState>{state}</modificationState></item>"
    answer(account, "DescribeVolumesModifications", f"<volumeModificationSet>{modified}</volumeModificationSet>")

    assert volumes.is_growing("vol-1") is grows


def test_to_ask_how_far_a_volume_has_grown_that_ebs_knows_nothing_of_is_no_fault(
    account: Account, volumes: EbsVolumes
) -> None:
    refuse(account, "DescribeVolumesModifications", "InvalidVolumeModification.NotFound")

    assert volumes.is_growing("vol-1") is False


def test_what_ebs_has_against_growing_is_raised(account: Account, volumes: EbsVolumes) -> None:
    refuse(account, "ModifyVolume", "VolumeModificationRateExceeded")

    with pytest.raises(PermanentError, match="VolumeModificationRateExceeded"):
        volumes.grow("vol-1", 120)


def answer(account: Account, operation: str, inside: str) -> None:
    """From now on EC2 answers the operation with this."""
    body = f"<Response>{inside}</Response>".encode()

    def say(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, MockRawResponse(body))

    account.clients.ec2.meta.events.register_first(f"before-send.ec2.{operation}", say)


def test_attaching_where_it_is_attached_is_success_and_elsewhere_is_not(
    account: Account, machines: Ec2Machines, volumes: EbsVolumes
) -> None:
    machine = machines.launch(a_request(account))
    volume = volumes.create_volume("v" * 64, machine.zone, 80, "gp3", OF_DATA)
    volumes.attach(volume.id, machine.id)
    refuse(account, "AttachVolume", "VolumeInUse")

    volumes.attach(volume.id, machine.id)

    with pytest.raises(TransientError):
        volumes.attach(volume.id, "i-00000000000000000")


def refuse(account: Account, operation: str, code: str, status: int = 400) -> list[str]:
    """From now on EC2 answers the operation with this error; the list grows by one for every request on the wire."""
    asked: list[str] = []
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(operation)
        return AWSResponse(request.url, status, {}, MockRawResponse(body.encode()))

    for client in (account.clients.ec2, account.clients.ec2_once):
        client.meta.events.register_first(f"before-send.ec2.{operation}", answer)
    return asked


def test_a_snapshot_is_tagged_on_creation_and_found_by_its_tags(cloud: Cloud) -> None:
    volumes = cloud.volumes
    zone = cloud.machines.zone_of(cloud.subnet)
    volume, another = (volumes.create_volume(token * 64, zone, 8, "gp3", OF_DATA) for token in "vw")

    taken = volumes.create_snapshot(volume.id, "ebbtide main/2026-11-23/1", BACKUP)
    volumes.create_snapshot(another.id, "by hand", {"Name": "by hand"})

    (found,) = volumes.find_snapshots(BACKUP)
    assert found.id == taken.id
    assert found.tags == BACKUP
    assert (found.volume_id, found.size_gib) == (volume.id, 8)
    assert volumes.get_snapshot(taken.id) == found


def test_snapshots_are_asked_for_from_our_own_account_only(account: Account, volumes: EbsVolumes) -> None:
    sent: list[Mapping[str, Any]] = []
    account.clients.ec2.meta.events.register(
        "before-call.ec2.DescribeSnapshots", lambda params, **_: sent.append(params["body"])
    )

    volumes.find_snapshots(BACKUP)

    assert [(body["Owner.1"], int(body["MaxResults"])) for body in sent] == [("self", 1000)]


def test_snapshots_are_found_on_every_page(account: Account, volumes: EbsVolumes) -> None:
    volume = volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", OF_DATA)
    first, second = (volumes.create_snapshot(volume.id, "one", BACKUP) for _ in range(2))
    pages = {None: (first.id, "more"), "more": (second.id, None)}

    def cut(params: Mapping[str, Any], parsed: dict[str, Any], **_: object) -> None:
        ours, parsed_token = pages[asked.pop(0) if asked else None]
        parsed["Snapshots"] = [one for one in parsed["Snapshots"] if one["SnapshotId"] == ours]
        if parsed_token:
            parsed["NextToken"] = parsed_token

    asked: list[str | None] = []
    events = account.clients.ec2.meta.events
    events.register(
        "before-call.ec2.DescribeSnapshots", lambda params, **_: asked.append(params["body"].get("NextToken"))
    )
    events.register("after-call.ec2.DescribeSnapshots", lambda parsed, **_: cut({}, parsed))

    found = volumes.find_snapshots(BACKUP)

    assert {snapshot.id for snapshot in found} == {first.id, second.id}


def in_two_pages(account: Account, operation: str, listed: str) -> None:
    """EC2 answers with the first it has, and with the others when asked for more."""
    tokens: list[str | None] = []

    def cut(parsed: dict[str, Any], **_: object) -> None:
        is_first = tokens[-1] is None
        parsed[listed] = parsed[listed][:1] if is_first else parsed[listed][1:]
        if is_first:
            parsed["NextToken"] = "more"

    events = account.clients.ec2.meta.events
    events.register(
        f"before-call.ec2.{operation}", lambda params, **_: tokens.append(params["body"].pop("NextToken", None))
    )
    events.register(f"after-call.ec2.{operation}", cut)


def test_volumes_are_found_on_every_page(account: Account, volumes: EbsVolumes) -> None:
    made = {volumes.create_volume(token * 64, "us-east-1a", 8, "gp3", OF_DATA).id for token in "vw"}
    in_two_pages(account, "DescribeVolumes", "Volumes")

    assert {volume.id for volume in volumes.find_volumes(OF_DATA)} == made


def test_machines_are_found_on_every_page(account: Account, machines: Ec2Machines) -> None:
    request = a_request(account)
    launched = {machines.launch(replace(request, token=token * 64)).id for token in "vw"}
    in_two_pages(account, "DescribeInstances", "Reservations")

    assert {machine.id for machine in machines.find(request.tags)} == launched


def test_images_are_found_on_every_page(account: Account, machines: Ec2Machines, volumes: EbsVolumes) -> None:
    machine = machines.launch(a_request(account))
    made = {account.clients.ec2.create_image(InstanceId=machine.id, Name=name)["ImageId"] for name in ("one", "two")}
    in_two_pages(account, "DescribeImages", "Images")

    assert set(volumes.find_images().values()) >= made


@pytest.mark.fault("A8")
def test_a_second_page_that_does_not_come_is_no_listing(account: Account, volumes: EbsVolumes) -> None:
    """A8: half a listing would look as if the other half were gone."""
    volume = volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", OF_DATA)
    volumes.create_snapshot(volume.id, "one", BACKUP)
    pages: list[int] = []

    def one_page_and_no_more(parsed: dict[str, Any], **_: object) -> None:
        pages.append(len(parsed.get("Snapshots", [])))
        parsed["NextToken"] = "more"
        refuse(account, "DescribeSnapshots", "UnauthorizedOperation", 403)

    account.clients.ec2.meta.events.register_first("after-call.ec2.DescribeSnapshots", one_page_and_no_more)

    with pytest.raises(PermanentError, match="looking for snapshots"):
        volumes.find_snapshots(BACKUP)

    assert pages == [1, 0]


def moto_knows_locks(monkeypatch: pytest.MonkeyPatch, *pages: list[dict[str, Any]]) -> None:
    """DescribeLockedSnapshots, which moto does not have, in these pages."""

    def describe_locked_snapshots(response: Any) -> ActionResult:
        page = int(response._get_param("NextToken") or 0)
        more = str(page + 1) if page + 1 < len(pages) else None
        return ActionResult({"Snapshots": pages[page], "NextToken": more})

    monkeypatch.setattr(ElasticBlockStore, "describe_locked_snapshots", describe_locked_snapshots, raising=False)


def test_locks_are_found_on_every_page(monkeypatch: pytest.MonkeyPatch, volumes: EbsVolumes) -> None:
    until = datetime(2027, 11, 1, tzinfo=UTC)
    moto_knows_locks(
        monkeypatch,
        [{"SnapshotId": "snap-1", "LockState": "compliance", "LockDuration": 365, "LockExpiresOn": until}],
        [{"SnapshotId": "snap-2", "LockState": "compliance-cooloff"}],
    )

    locks = volumes.find_locks()

    assert locks == [
        SnapshotLock("snap-1", "compliance", until, days=365),
        SnapshotLock("snap-2", "compliance-cooloff", None),
    ]


def test_locks_that_cannot_be_looked_at_are_an_error(
    monkeypatch: pytest.MonkeyPatch, account: Account, volumes: EbsVolumes
) -> None:
    moto_knows_locks(monkeypatch, [])
    refuse(account, "DescribeLockedSnapshots", "UnauthorizedOperation", 403)

    with pytest.raises(PermanentError, match="locked snapshots"):
        volumes.find_locks()


def test_the_snapshots_of_our_own_images_are_found(
    account: Account, machines: Ec2Machines, volumes: EbsVolumes
) -> None:
    machine = machines.launch(a_request(account))
    image = account.clients.ec2.create_image(InstanceId=machine.id, Name="restored")
    sent: list[Mapping[str, Any]] = []
    account.clients.ec2.meta.events.register(
        "before-call.ec2.DescribeImages", lambda params, **_: sent.append(params["body"])
    )

    images = volumes.find_images()

    (snapshot_id,) = [snapshot_id for snapshot_id, image_id in images.items() if image_id == image["ImageId"]]
    assert volumes.get_snapshot(snapshot_id).id == snapshot_id
    assert [body["Owner.1"] for body in sent] == ["self"]


def test_a_snapshot_that_another_account_may_use_is_found(account: Account, volumes: EbsVolumes) -> None:
    volume = volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", OF_DATA)
    ours, theirs = (volumes.create_snapshot(volume.id, "one", BACKUP) for _ in range(2))
    account.clients.ec2.modify_snapshot_attribute(
        SnapshotId=theirs.id, Attribute="createVolumePermission", OperationType="add", UserIds=["123456789012"]
    )

    assert volumes.find_shared([ours.id, theirs.id, "snap-00000000"]) == {theirs.id}


def test_create_snapshot_is_sent_once_whatever_happens(account: Account, volumes: EbsVolumes) -> None:
    asked = refuse(account, "CreateSnapshot", "InternalError", 500)

    with pytest.raises(TransientError):
        volumes.create_snapshot("vol-1", "once", BACKUP)

    assert len(asked) == 1


def test_other_calls_are_retried(account: Account, machines: Ec2Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    asked = refuse(account, "DescribeInstances", "RequestLimitExceeded", 503)

    with pytest.raises(TransientError):
        machines.find(OF_THE_RUN)

    assert len(asked) > 1


def test_deleting_what_is_absent_is_success(cloud: Cloud) -> None:
    cloud.volumes.delete_volume("vol-00000000")
    cloud.volumes.delete_snapshot("snap-00000000")


def test_a_snapshot_completes_in_its_own_time_and_goes_when_it_is_deleted(cloud: Cloud) -> None:
    volumes = cloud.volumes
    volume = volumes.create_volume("v" * 64, cloud.machines.zone_of(cloud.subnet), 8, "gp3", OF_DATA)
    taken = volumes.create_snapshot(volume.id, "one", BACKUP)
    cloud.settle()

    completed = volumes.get_snapshot(taken.id)
    volumes.delete_snapshot(taken.id)

    assert (completed.state, completed.progress) == ("completed", 100)
    assert volumes.find_snapshots(BACKUP) == []


def test_a_volume_made_from_a_snapshot_outlives_it(cloud: Cloud) -> None:
    volumes, zone = cloud.volumes, cloud.machines.zone_of(cloud.subnet)
    volume = volumes.create_volume("v" * 64, zone, 8, "gp3", OF_DATA)
    taken = volumes.create_snapshot(volume.id, "one", BACKUP)
    cloud.settle()

    copy = volumes.create_volume("w" * 64, zone, 8, "gp3", OF_DATA, taken.id)
    cloud.settle()
    volumes.delete_snapshot(taken.id)
    volumes.delete_volume(volume.id)

    assert [(each.id, each.state) for each in volumes.find_volumes(OF_DATA)] == [(copy.id, "available")]


def test_what_ends_lets_go_of_its_volume(cloud: Cloud) -> None:
    machines, volumes = cloud.machines, cloud.volumes
    machine = machines.launch(a_request(cloud))
    volume = volumes.create_volume("v" * 64, machine.zone, 8, "gp3", OF_DATA)
    cloud.settle()
    volumes.attach(volume.id, machine.id)

    machines.terminate(machine.id)
    cloud.settle()

    assert [(each.state, each.attached_to) for each in volumes.find_volumes(OF_DATA)] == [("available", None)]


def test_an_unknown_snapshot_is_a_key_error(cloud: Cloud) -> None:
    with pytest.raises(KeyError):
        cloud.volumes.get_snapshot("snap-00000000")


def test_a_tag_is_added_to_what_is_there(cloud: Cloud) -> None:
    volumes = cloud.volumes
    volume = volumes.create_volume("v" * 64, cloud.machines.zone_of(cloud.subnet), 8, "gp3", OF_DATA)
    snapshot = volumes.create_snapshot(volume.id, "one", BACKUP)

    volumes.tag(snapshot.id, {tags.MARKED: "2026-11-23"})

    assert volumes.get_snapshot(snapshot.id).tags == {**BACKUP, tags.MARKED: "2026-11-23"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InsufficientInstanceCapacity", CapacityError),
        ("IdempotentInstanceTerminated", TokenSpentError),
        ("IdempotentParameterMismatch", TokenTakenError),
        ("InsufficientVolumeCapacity", CapacityError),
        ("RequestLimitExceeded", TransientError),
        ("ConcurrentSnapshotLimitExceeded", TransientError),
        ("ConditionalRequestConflict", TransientError),
        ("UnauthorizedOperation", PermanentError),
        ("InvalidSubnetID.NotFound", PermanentError),
    ],
)
def test_what_ec2_says_says_who_acts_next(code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="launching us0") as caught, told("launching us0"):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")

    assert type(caught.value) is kind


def test_no_answer_may_have_been_a_yes() -> None:
    with pytest.raises(TransientError, match="may have happened"), told("taking a snapshot"):
        raise ReadTimeoutError(endpoint_url="https://ec2")
    with pytest.raises(TransientError, match="may have happened"), told("reading a report"):
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)


def test_a_launch_without_room_is_a_capacity_error(account: Account, machines: Ec2Machines) -> None:
    refuse(account, "RunInstances", "InsufficientInstanceCapacity")

    with pytest.raises(CapacityError, match=r"t4g\.small"):
        machines.launch(a_request(account))


def test_a_machine_of_another_token_is_another_machine(cloud: Cloud) -> None:
    first = cloud.machines.launch(a_request(cloud))
    second = cloud.machines.launch(replace(a_request(cloud), token="u" * 64))

    assert first.id != second.id


def test_a_name_points_where_it_was_last_pointed(cloud: Cloud) -> None:
    address = cloud.address
    before = address.current("backup.example.org")

    address.point("backup.example.org", "10.0.0.1")
    address.point("backup.example.org", "10.0.0.2")

    assert before is None
    assert address.current("backup.example.org") == "10.0.0.2"
    assert address.current("backu.example.org") is None


def test_the_port_is_open_to_exactly_the_allowed_networks(account: Account, address: Route53Address) -> None:
    address.allow(["198.51.100.0/24", "203.0.113.7/32", "2001:db8::/32"])

    address.allow(["203.0.113.7/32", "192.0.2.0/24"])
    address.allow(["203.0.113.7/32", "192.0.2.0/24"])

    (group,) = account.clients.ec2.describe_security_groups(GroupIds=[account.group])["SecurityGroups"]
    rules = group["IpPermissions"]
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in rules} == {("tcp", 22, 22)}
    assert sorted(entry["CidrIp"] for rule in rules for entry in rule["IpRanges"]) == ["192.0.2.0/24", "203.0.113.7/32"]
    assert [entry for rule in rules for entry in rule["Ipv6Ranges"]] == []


def test_a_network_that_is_admitted_shuts_out_nobody_and_may_be_admitted_again(address: Route53Address) -> None:
    address.allow(["198.51.100.0/24"])

    for _ in range(2):
        address.admit(["203.0.113.7/32", "2001:db8::/32"])
    address.admit(["198.51.100.0/24"])

    assert address.open_to() == ("198.51.100.0/24", "2001:db8::/32", "203.0.113.7/32")


def test_restored_machines_are_let_in_to_on_exactly_these_ways(cloud: Cloud) -> None:
    entrances = cloud.entrances
    home, anywhere, six = Way(22, "198.51.100.0/24"), Way(80, "0.0.0.0/0"), Way(443, "2001:db8::/32")
    entrances.set({home, Way(80, "198.51.100.0/24"), six})

    for _ in range(2):
        entrances.set({home, anywhere, six})

    assert entrances.ways() == {home, anywhere, six}
    entrances.set(())
    assert entrances.ways() == frozenset()


def test_as_many_other_ways_as_a_group_may_have_fit_into_one_that_is_full(account: Account) -> None:
    entrances = motos(account).entrances
    entrances.set({Way(22, f"198.51.100.{number}/32") for number in range(MOST_WAYS)})
    others = {Way(22, f"203.0.113.{number}/32") for number in range(MOST_WAYS)}

    entrances.set(others)

    assert entrances.ways() == others
    with pytest.raises(PermanentError, match="RulesPerSecurityGroupLimitExceeded"):
        entrances.set(others | {Way(80, "192.0.2.0/24")})


@pytest.mark.parametrize("rule", [("udp", 53, 53), ("icmp", -1, -1), ("tcp", 8000, 8080), ("-1", None, None)])
def test_a_rule_that_is_no_way_of_ours_is_left_to_whoever_made_it(
    account: Account, rule: tuple[str, int | None, int | None]
) -> None:
    protocol, first, last = rule
    ports: Any = {} if first is None else {"FromPort": first, "ToPort": last}
    by_hand: Any = {"IpProtocol": protocol, **ports, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}
    account.clients.ec2.authorize_security_group_ingress(GroupId=account.group, IpPermissions=[by_hand])
    entrances = motos(account).entrances

    entrances.set({Way(22, "198.51.100.0/24")})

    assert entrances.ways() == {Way(22, "198.51.100.0/24")}
    (group,) = account.clients.ec2.describe_security_groups(GroupIds=[account.group])["SecurityGroups"]
    assert protocol in [each["IpProtocol"] for each in group["IpPermissions"] if each.get("FromPort") == first]


def test_a_function_is_called_later_by_its_short_name(account: Account) -> None:
    deploy_functions(account, "prune")
    sent: list[Mapping[str, Any]] = []
    account.clients.functions.meta.events.register("before-call.lambda.Invoke", lambda params, **_: sent.append(params))

    AwsLambdas(account.clients, PREFIX).invoke_later("prune", {"schema": 1, "dry_run": False})

    assert sent[0]["url_path"].endswith(f"/functions/{PREFIX}prune/invocations")
    assert sent[0]["headers"]["X-Amz-Invocation-Type"] == "Event"
    assert sent[0]["body"] == b'{"schema": 1, "dry_run": false}'
