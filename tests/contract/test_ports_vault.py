"""Between two accounts, against moto: sharing, what is asked of EC2 about it, and receipts in the other's archive.

moto keeps each account's snapshots to itself and knows no keys: what EC2 shows of a shared snapshot, and what it
refuses, is answered here in its place.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.botocore_stubber import MockRawResponse

from chalicelib.aws.archive import S3Archive
from chalicelib.aws.clients import Clients
from chalicelib.aws.copies import Ec2Copies
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core import tags
from chalicelib.core.locking import COOL_OFF
from chalicelib.core.model import Snapshot, SnapshotLock
from chalicelib.errors import PermanentError, TransientError
from chalicelib.flows.lock import Locked, lock_copies
from chalicelib.ports import StackRole, World
from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.ebs_locks import Locks
from ebbtide_console.sandbox.overrides import Overrides
from tests.builders import a_moment, a_snapshot
from tests.contract.aws import REGION, Account
from tests.fakes import a_world, some_settings

THEIRS, OURS = "123456789012", "210987654321"


@pytest.fixture
def volumes(account: Account) -> EbsVolumes:
    return EbsVolumes(account.clients)


@pytest.fixture
def backup(volumes: EbsVolumes) -> Snapshot:
    volume = volumes.create_volume("v" * 64, f"{REGION}a", 8, "gp3", {tags.SCHEMA: "1"})
    return volumes.create_snapshot(volume.id, "ebbtide main/2026-11-23/1", a_snapshot().tags)


@pytest.fixture
def the_vaults(account: Account) -> Clients:
    """What the vault's functions have: credentials of their own account."""
    role = account.session.client("sts").assume_role(RoleArn=f"arn:aws:iam::{OURS}:role/x", RoleSessionName="vault")
    keys = role["Credentials"]
    return Clients(
        boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION)
    )


@pytest.fixture
def clock() -> Iterator[Clock]:
    """EBS's, which locks as the sandbox's does."""
    clock, overrides = Clock(a_moment(6)), Overrides()
    Locks(clock).install(overrides)
    yield clock
    overrides.undo()


def a_vault_that_locks(volumes: EbsVolumes, days: int) -> World:
    settings = replace(some_settings(), role=StackRole.VAULT, primary_account=THEIRS, lock_days=days)
    return replace(a_world(), volumes=volumes, settings=settings)


def refuse(clients: Clients, code: str, status: int = 400) -> None:
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, status, {}, MockRawResponse(body.encode()))

    clients.ec2.meta.events.register_first("before-send.ec2.ModifySnapshotAttribute", answer)


def test_a_snapshot_is_shared_with_one_account_however_often(volumes: EbsVolumes, backup: Snapshot) -> None:
    for _ in range(2):
        volumes.share(backup.id, OURS)

    assert volumes.find_shared([backup.id]) == {backup.id}
    assert volumes.find_shared([backup.id], but=OURS) == frozenset()
    assert volumes.find_shared([backup.id], but=THEIRS) == {backup.id}


def test_what_everyone_may_use_is_shared_whoever_is_left_out(
    account: Account, volumes: EbsVolumes, backup: Snapshot
) -> None:
    account.clients.ec2.modify_snapshot_attribute(
        SnapshotId=backup.id, Attribute="createVolumePermission", OperationType="add", GroupNames=["all"]
    )

    assert volumes.find_shared([backup.id], but=OURS) == {backup.id}


def test_sharing_that_is_refused_says_what_to_do(account: Account, volumes: EbsVolumes) -> None:
    refuse(account.clients, "OperationNotPermitted")

    with pytest.raises(PermanentError, match=f"sharing snapshot snap-1 with account {OURS}: .*a key of your own"):
        volumes.share("snap-1", OURS)


def test_sharing_that_may_work_next_time_is_no_refusal(
    account: Account, volumes: EbsVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    refuse(account.clients, "RequestLimitExceeded", 503)

    with pytest.raises(TransientError):
        volumes.share("snap-1", OURS)


def test_what_an_account_shares_with_us_is_asked_for_as_that_and_read_from_all_pages(the_vaults: Clients) -> None:
    asked: list[dict[str, Any]] = []
    pages = iter([a_page(1, token="more"), a_page(2)])
    events = the_vaults.ec2_in("eu-west-1").meta.events
    events.register("provide-client-params.ec2.DescribeSnapshots", lambda params, **_: asked.append(params))
    events.register_first("before-send.ec2.DescribeSnapshots", lambda request, **_: next(pages)(request))

    found = Ec2Copies(the_vaults, REGION).find_shared("eu-west-1", THEIRS)

    assert [(each.id, each.tags) for each in found] == [("snap-1", {}), ("snap-2", {})]
    assert {(*each["OwnerIds"], *each["RestorableByUserIds"]) for each in asked} == {(THEIRS, "self")}


def a_page(number: int, token: str = "") -> Any:
    body = f"""<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><snapshotSet><item>
        <snapshotId>snap-{number}</snapshotId><volumeId>vol-1</volumeId><status>completed</status><volumeSize>8</volumeSize>
        <startTime>2026-11-23T03:00:00.000Z</startTime><progress>100%</progress><ownerId>{THEIRS}</ownerId>
        </item></snapshotSet><nextToken>{token}</nextToken></DescribeSnapshotsResponse>"""
    return lambda request: AWSResponse(request.url, 200, {}, MockRawResponse(body.encode()))


def test_a_snapshot_of_another_region_is_copied_from_there(the_vaults: Clients) -> None:
    sent: list[dict[str, str]] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        body = "<CopySnapshotResponse><snapshotId>snap-9</snapshotId></CopySnapshotResponse>"
        return AWSResponse(request.url, 200, {}, MockRawResponse(body.encode()))

    events = the_vaults.ec2_once_in(REGION).meta.events
    events.register("before-call.ec2.CopySnapshot", lambda params, **_: sent.append(params["body"]))
    events.register_first("before-send.ec2.CopySnapshot", answer)

    Ec2Copies(the_vaults, REGION).copy(REGION, "snap-1", "x", {tags.ROLE: tags.Role.COPY}, "eu-west-1")

    assert (sent[0]["SourceRegion"], sent[0]["DestinationRegion"], sent[0]["Encrypted"]) == (
        "eu-west-1",
        REGION,
        "true",
    )


def test_a_receipt_is_added_to_the_other_accounts_archive_once(account: Account, the_vaults: Clients) -> None:
    theirs, ours = S3Archive(account.clients, account.bucket), S3Archive(the_vaults, account.bucket)

    first, again = ours.put_once("receipts/x.json", b"first"), ours.put_once("receipts/x.json", b"again")

    assert (first, again) == (True, False)
    assert (theirs.list("receipts/"), theirs.get("receipts/x.json")) == (["receipts/x.json"], b"first")


def test_moto_does_not_show_an_account_what_another_one_shares_with_it(
    volumes: EbsVolumes, backup: Snapshot, the_vaults: Clients
) -> None:
    """When this goes red, the test of the whole way can be made with moto."""
    volumes.share(backup.id, OURS)

    assert backup.id not in {each.id for each in Ec2Copies(the_vaults, REGION).find_shared(REGION, THEIRS)}


@pytest.mark.attack("delete a copy that is locked", row="X7", outcome="nobody's to delete until it ends")
@pytest.mark.fault("X7")
def test_what_is_locked_can_be_taken_back_for_three_days_and_is_nobodys_to_delete_until_it_ends(
    volumes: EbsVolumes, backup: Snapshot, clock: Clock
) -> None:
    world = a_vault_that_locks(volumes, days=30)

    locked = lock_copies(volumes.find_snapshots({}), world)

    ends = a_moment(6) + timedelta(days=30)
    at_first = SnapshotLock(backup.id, "compliance-cooloff", ends, 30, a_moment(6) + COOL_OFF)
    assert (locked, lock_copies(volumes.find_snapshots({}), world)) == (Locked((backup.id,)), Locked())
    assert volumes.find_locks() == [at_first]
    for _ in range(2):
        with pytest.raises(PermanentError, match="locked"):
            volumes.delete_snapshot(backup.id)
        clock.advance(COOL_OFF)
    assert volumes.find_locks() == [replace(at_first, state="compliance")]
    clock.set(ends)
    volumes.delete_snapshot(backup.id)
    assert volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP}) == []


def test_what_ebs_does_not_lock_is_told_by_its_name(account: Account, volumes: EbsVolumes, clock: Clock) -> None:
    refused = lock_copies([a_snapshot("snap-12345678")], a_vault_that_locks(volumes, days=30))

    assert refused.copies == ()
    assert [why for why in refused.failed if why.startswith("locking snapshot snap-12345678 for 30 days: ")]
