"""EBS volumes and snapshots of ours: always our own account's, always from all pages."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws import tagging
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import code_of, told
from chalicelib.core.locking import COOL_OFF
from chalicelib.core.model import Snapshot, SnapshotLock, Volume
from chalicelib.errors import PermanentError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import (
        LockedSnapshotsInfoTypeDef,
        PaginatorConfigTypeDef,
        SnapshotResponseTypeDef,
        SnapshotTypeDef,
        VolumeResponseTypeDef,
        VolumeTypeDef,
    )

_KEY_OF_ONES_OWN = (
    "a snapshot under AWS's own key cannot be shared: the volume must be encrypted under a key of your own, "
    "see docs/deployment.md, The vault"
)

# The most of one answer. Without it EC2 puts everything into a single one, however large: 100,000 snapshots are some
# 150 MB of XML. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
PAGES: "PaginatorConfigTypeDef" = {"PageSize": 1000}

# Any name does: the machine finds its volume by the volume's id.
_DEVICE = "/dev/sdf"


class EbsVolumes:
    """Volumes and snapshots by their tags and by their id."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def find_volumes(self, tags: Mapping[str, str]) -> list[Volume]:
        pages = self._clients.ec2.get_paginator("describe_volumes")
        with told(f"looking for volumes of {dict(tags)}"):
            return [
                _volume(volume) for page in pages.paginate(Filters=tagging.filters(tags)) for volume in page["Volumes"]
            ]

    def create_volume(
        self,
        token: str,
        zone: str,
        size_gib: int,
        kind: str,
        tags: Mapping[str, str],
        snapshot_id: str | None = None,
        rate: int | None = None,
    ) -> Volume:
        source: dict[str, Any] = {"SnapshotId": snapshot_id} if snapshot_id else {}
        if rate is not None:
            source["VolumeInitializationRate"] = rate
        with told(f"creating volume {tags.get('Name', '')} from {snapshot_id or 'nothing'}"):
            return _volume(
                self._clients.ec2.create_volume(
                    ClientToken=token,
                    AvailabilityZone=zone,
                    Size=size_gib,
                    VolumeType=kind,  # type: ignore[arg-type]
                    Encrypted=True,
                    TagSpecifications=[tagging.on_create("volume", tags)],
                    **source,
                )
            )

    def grow(self, volume_id: str, size_gib: int) -> None:
        with told(f"growing volume {volume_id} to {size_gib} GiB"):
            self._clients.ec2.modify_volume(VolumeId=volume_id, Size=size_gib)

    def is_growing(self, volume_id: str) -> bool:
        """A larger size is there as soon as EBS says `optimizing`; a volume that never changed is not found.

        https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html
        """
        with told(f"looking how far volume {volume_id} has grown"):
            try:
                answer = self._clients.ec2.describe_volumes_modifications(VolumeIds=[volume_id])
            except ClientError as error:
                if code_of(error) == "InvalidVolumeModification.NotFound":
                    return False
                raise
        return any(each.get("ModificationState") == "modifying" for each in answer["VolumesModifications"])

    def attach(self, volume_id: str, machine_id: str) -> None:
        with told(f"attaching volume {volume_id} to machine {machine_id}"):
            try:
                self._clients.ec2.attach_volume(VolumeId=volume_id, InstanceId=machine_id, Device=_DEVICE)
            except ClientError as error:
                if code_of(error) != "VolumeInUse" or not self._is_attached(volume_id, machine_id):
                    raise

    def _is_attached(self, volume_id: str, machine_id: str) -> bool:
        volumes = self._clients.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        return any(_volume(volume).attached_to == machine_id for volume in volumes)

    def delete_volume(self, volume_id: str) -> None:
        with told(f"deleting volume {volume_id}"):
            try:
                self._clients.ec2.delete_volume(VolumeId=volume_id)
            except ClientError as error:
                if code_of(error) != "InvalidVolume.NotFound":
                    raise

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        with told(f"looking for snapshots of {dict(tags)}"):
            return find_snapshots(self._clients.ec2, tags)

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        """Raises KeyError when absent."""
        with told(f"looking at snapshot {snapshot_id}"):
            try:
                answer = self._clients.ec2.describe_snapshots(OwnerIds=["self"], SnapshotIds=[snapshot_id])
            except ClientError as error:
                if code_of(error) in ("InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed"):
                    raise KeyError(snapshot_id) from None
                raise
        if not answer["Snapshots"]:
            raise KeyError(snapshot_id)
        return _snapshot(answer["Snapshots"][0])

    def find_locks(self) -> list[SnapshotLock]:
        with told("looking for locked snapshots"):
            return [_lock(locked) for locked in self._locked()]

    def lock(self, snapshot_id: str, days: int) -> None:
        with told(f"locking snapshot {snapshot_id} for {days} days"):
            self._clients.ec2.lock_snapshot(
                SnapshotId=snapshot_id,
                LockMode="compliance",
                LockDuration=days,
                CoolOffPeriod=COOL_OFF // timedelta(hours=1),
            )

    def _locked(self) -> "Iterator[LockedSnapshotsInfoTypeDef]":
        """Page by page: botocore has no paginator for this call."""
        page = self._clients.ec2.describe_locked_snapshots()
        yield from page["Snapshots"]
        while page.get("NextToken"):
            page = self._clients.ec2.describe_locked_snapshots(NextToken=page["NextToken"])
            yield from page["Snapshots"]

    def find_images(self) -> dict[str, str]:
        pages = self._clients.ec2.get_paginator("describe_images")
        with told("looking for images of our own account"):
            return {
                device["Ebs"]["SnapshotId"]: image["ImageId"]
                for page in pages.paginate(Owners=["self"])
                for image in page["Images"]
                for device in image.get("BlockDeviceMappings", [])
                if "SnapshotId" in device.get("Ebs", {})
            }

    def find_shared(self, snapshot_ids: Iterable[str], but: str | None = None) -> frozenset[str]:
        return frozenset(snapshot_id for snapshot_id in snapshot_ids if self._users_of(snapshot_id) - {but})

    def _users_of(self, snapshot_id: str) -> set[str | None]:
        """The accounts, and the group `all`, that may use it besides our own."""
        with told(f"looking who may use snapshot {snapshot_id}"):
            try:
                answer = self._clients.ec2.describe_snapshot_attribute(
                    SnapshotId=snapshot_id, Attribute="createVolumePermission"
                )
            except ClientError as error:
                if code_of(error) == "InvalidSnapshot.NotFound":
                    return set()
                raise
        return {each.get("UserId", each.get("Group")) for each in answer["CreateVolumePermissions"]}

    def share(self, snapshot_id: str, account: str) -> None:
        """Shared twice is shared once.

        https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html: never while it is
        encrypted under AWS's own key. EC2 says so in words that are not documented, so every refusal says what to do.
        """
        try:
            with told(f"sharing snapshot {snapshot_id} with account {account}"):
                self._clients.ec2.modify_snapshot_attribute(
                    SnapshotId=snapshot_id,
                    Attribute="createVolumePermission",
                    OperationType="add",
                    UserIds=[account],
                )
        except PermanentError as refused:
            raise PermanentError(f"{refused}; {_KEY_OF_ONES_OWN}") from refused

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        with told(f"taking a snapshot of volume {volume_id} ({description})"):
            return _snapshot(
                self._clients.ec2_once.create_snapshot(
                    VolumeId=volume_id,
                    Description=description,
                    TagSpecifications=[tagging.on_create("snapshot", tags)],
                )
            )

    def delete_snapshot(self, snapshot_id: str) -> None:
        with told(f"deleting snapshot {snapshot_id}"):
            try:
                self._clients.ec2.delete_snapshot(SnapshotId=snapshot_id)
            except ClientError as error:
                if code_of(error) != "InvalidSnapshot.NotFound":
                    raise

    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        with told(f"tagging {resource_id}"):
            self._clients.ec2.create_tags(Resources=[resource_id], Tags=tagging.written(tags))


def find_snapshots(ec2: "EC2Client", tags: Mapping[str, str], owner: str | None = None) -> list[Snapshot]:
    """Every snapshot in the client's region with all of `tags`, from all pages: our own account's, or another's that
    we may use, whose tags do not show."""
    pages = ec2.get_paginator("describe_snapshots")
    whose = {"OwnerIds": [owner], "RestorableByUserIds": ["self"]} if owner else {"OwnerIds": ["self"]}
    return [
        _snapshot(snapshot)
        for page in pages.paginate(**whose, Filters=tagging.filters(tags), PaginationConfig=PAGES)  # type: ignore[arg-type]
        for snapshot in page["Snapshots"]
    ]


def _volume(volume: "VolumeTypeDef | VolumeResponseTypeDef") -> Volume:
    attached = [one["InstanceId"] for one in volume.get("Attachments", []) if one.get("State") != "detached"]
    return Volume(
        id=volume["VolumeId"],
        state=volume["State"],
        zone=volume["AvailabilityZone"],
        size_gib=volume["Size"],
        attached_to=attached[0] if attached else None,
        tags=tagging.read(volume.get("Tags", [])),
        key=volume.get("KmsKeyId"),
    )


def _snapshot(snapshot: "SnapshotTypeDef | SnapshotResponseTypeDef") -> Snapshot:
    return Snapshot(
        id=snapshot["SnapshotId"],
        state=snapshot["State"],
        started=snapshot["StartTime"],
        volume_id=snapshot["VolumeId"],
        size_gib=snapshot["VolumeSize"],
        progress=int(snapshot.get("Progress", "").rstrip("%") or 0),
        tags=tagging.read(snapshot.get("Tags", [])),
        key=snapshot.get("KmsKeyId"),
    )


def _lock(locked: "LockedSnapshotsInfoTypeDef") -> SnapshotLock:
    return SnapshotLock(
        snapshot_id=locked["SnapshotId"],
        state=locked["LockState"],
        until=locked.get("LockExpiresOn"),
        days=locked.get("LockDuration", 0),
        cool_off=locked.get("CoolOffPeriodExpiresOn"),
    )
