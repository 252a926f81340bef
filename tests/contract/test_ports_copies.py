"""Copies in another region: asked for there, once, tagged from the first moment, found there alone.

What takes a `cloud` is said of moto and of the simulator alike; the rest is about what goes over the wire. moto
completes a copy at once, knows no limit on how many are under way, and keeps the source's volume id: what it shows
says nothing about waiting.
"""

from dataclasses import replace

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.botocore_stubber import MockRawResponse

from chalicelib.aws.clients import Clients
from chalicelib.aws.copies import Ec2Copies
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core import tags
from chalicelib.core.copying import copy_tags
from chalicelib.core.model import Snapshot
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.follow import REPLICA_SETTLES, follow
from chalicelib.ports import StackRole
from tests.builders import a_snapshot
from tests.contract.aws import REGION, Account
from tests.contract.clouds import BOTH, Cloud, motos, the_simulators
from tests.fakes import a_world, some_settings

THERE = "eu-central-1"
A_COPY = {tags.ROLE: tags.Role.COPY}


@pytest.fixture
def copies(account: Account) -> Ec2Copies:
    return Ec2Copies(account.clients, REGION)


@pytest.fixture
def source(account: Account) -> Snapshot:
    volumes = EbsVolumes(account.clients)
    volume = volumes.create_volume("v" * 64, f"{REGION}a", 8, "gp3", {tags.SCHEMA: "1"})
    return volumes.create_snapshot(volume.id, "ebbtide main/2026-11-23/1", a_snapshot().tags)


@pytest.fixture(params=BOTH)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return motos(request.getfixturevalue("account")) if request.param == "moto" else the_simulators()


@pytest.fixture
def snapshot(cloud: Cloud) -> Snapshot:
    zone = cloud.machines.zone_of(cloud.subnet)
    volume = cloud.volumes.create_volume("v" * 64, zone, 8, "gp3", {tags.SCHEMA: "1"})
    taken = cloud.volumes.create_snapshot(volume.id, "ebbtide main/2026-11-23/1", a_snapshot().tags)
    cloud.settle()
    return taken


def test_a_copy_is_tagged_on_creation_and_found_in_its_region_only(cloud: Cloud, snapshot: Snapshot) -> None:
    wanted = copy_tags(snapshot, REGION)

    cloud.copies.copy(THERE, snapshot.id, "ebbtide main/2026-11-23/1", wanted)

    (found,) = cloud.copies.find(THERE, {**A_COPY, tags.SOURCE: snapshot.id})
    assert found.id != snapshot.id
    assert (found.tags, found.size_gib) == (wanted, snapshot.size_gib)
    assert cloud.volumes.find_snapshots(A_COPY) == []
    assert cloud.copies.find(THERE, {**A_COPY, tags.SOURCE: "snap-00000000"}) == []


def test_a_copy_completes_in_its_own_time_and_asked_for_again_it_is_made_again(
    cloud: Cloud, snapshot: Snapshot
) -> None:
    for _ in range(2):
        cloud.copies.copy(THERE, snapshot.id, "ebbtide main/2026-11-23/1", copy_tags(snapshot, REGION))
    cloud.settle()

    assert [copy.state for copy in cloud.copies.find(THERE, A_COPY)] == ["completed"] * 2


def test_what_is_not_there_is_not_copied(cloud: Cloud) -> None:
    with pytest.raises(PermanentError, match="snap-00000000"):
        cloud.copies.copy(THERE, "snap-00000000", "x", A_COPY)

    assert cloud.copies.find(THERE, A_COPY) == []


def test_a_copy_is_encrypted_whatever_its_source_is(account: Account, copies: Ec2Copies, source: Snapshot) -> None:
    sent: list[dict[str, str]] = []
    account.clients.ec2_once_in(THERE).meta.events.register(
        "before-call.ec2.CopySnapshot", lambda params, **_: sent.append(params["body"])
    )

    copies.copy(THERE, source.id, "x", A_COPY)

    assert (sent[0]["Encrypted"], sent[0]["SourceRegion"], sent[0]["DestinationRegion"]) == ("true", REGION, THERE)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalError", 500, TransientError),
        ("ResourceLimitExceeded", 400, TransientError),
        ("KMSKeyNotAccessibleFault", 400, PermanentError),
    ],
)
def test_a_copy_is_asked_for_once_whatever_happens(
    account: Account, copies: Ec2Copies, code: str, status: int, kind: type[Exception]
) -> None:
    asked: list[str] = []
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, status, {}, MockRawResponse(body.encode()))

    account.clients.ec2_once_in(THERE).meta.events.register_first("before-send.ec2.CopySnapshot", answer)

    with pytest.raises(kind, match="copying snapshot snap-1 to eu-central-1"):
        copies.copy(THERE, "snap-1", "once", A_COPY)

    assert [THERE in url for url in asked] == [True]


def test_a_standby_makes_restore_points_of_what_arrived(copies: Ec2Copies, source: Snapshot) -> None:
    copies.copy(THERE, source.id, "ebbtide main/2026-11-23/1", copy_tags(source, REGION))
    clients = Clients(boto3.Session(region_name=THERE))
    settings = replace(some_settings(), region=THERE, role=StackRole.STANDBY)
    standby = replace(a_world(), volumes=EbsVolumes(clients), settings=settings)  # type: ignore[arg-type]

    follow(standby, source.started + REPLICA_SETTLES)

    found = [(point.host_id, point.at, str(point.run)) for point in standby.catalog.find_points()]
    assert found == [(host, source.started, "main/2026-11-23/1") for host in ("eu0a", "us0a")]


def test_a_client_of_a_region_is_made_once(account: Account) -> None:
    assert account.clients.ec2_in(THERE) is account.clients.ec2_in(THERE)
    assert account.clients.ec2_in(THERE).meta.region_name == THERE
