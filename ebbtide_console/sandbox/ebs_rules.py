"""What EC2 says about disks where moto says nothing: refusals, owners, pages, tags."""

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.elastic_block_store import Snapshot
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from ebbtide_console.sandbox.ebs_records import COPIED_VOLUME
from ebbtide_console.sandbox.overrides import Overrides

MOST_COPIES_AT_ONCE = 20  # to one region


def install(overrides: Overrides) -> None:
    """Answer as EC2 does what is the same in every region."""
    overrides.replace(ElasticBlockStore, "describe_snapshots", describe_snapshots)
    overrides.replace(TaggedEC2Resource, "get_tags", tags_of)
    overrides.replace_property(Snapshot, "progress", lambda it: "100%" if it.status == "completed" else "0%")


def check_attachable(volume: Any, instance: Any, device_path: str) -> None:
    """EC2's own refusals, which moto does not know."""
    if volume.attachment is not None:
        raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if instance.state != "running":
        raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if volume.availability_zone != instance.availability_zone:
        raise EC2ClientError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if device_path in instance.block_device_mapping:
        raise EC2ClientError(
            "InvalidParameterValue", f"Invalid value '{device_path}' for unixDevice. It is already in use"
        )


def check_copyable(backend: Any, snapshot_id: str, region: str) -> None:
    """EC2's refusals to copy a snapshot of `region` to the backend's.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
    """
    source = ec2_backends[backend.account_id][region].get_snapshot(snapshot_id)
    if source.status != "completed":
        raise EC2ClientError("IncorrectState", f"Snapshot '{snapshot_id}' is not 'completed'.")
    copies = [each for each in list(backend.snapshots.values()) if each.volume_id == COPIED_VOLUME]
    if sum(copy.status == "pending" for copy in copies) >= MOST_COPIES_AT_ONCE:
        raise EC2ClientError(
            "ResourceLimitExceeded", f"{MOST_COPIES_AT_ONCE} snapshots are being copied, the most at once."
        )


def describe_snapshots(response: Any) -> Any:
    """DescribeSnapshots with the owners and the pages that moto ignores."""
    owners = {response.current_account if owner == "self" else owner for owner in response._get_param("OwnerIds", [])}
    found = response.ec2_backend.describe_snapshots(
        snapshot_ids=response._get_param("SnapshotIds", []), filters=response._filters_from_querystring()
    )
    found = [snapshot for snapshot in found if not owners or snapshot.owner_id in owners]
    start = int(response._get_param("NextToken") or 0)
    size = int(response._get_param("MaxResults") or len(found) or 1)
    more = start + size < len(found)
    return ActionResult({"Snapshots": found[start : start + size], "NextToken": str(start + size) if more else None})


def tags_of(resource: Any) -> list[dict[str, str]]:
    """A look-up, where moto walks every tag of the account."""
    if not resource.id:
        return []
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource.id), "")
    tags = resource.ec2_backend.tags.get(resource.id, {})
    return [
        {"resource_id": resource.id, "key": key, "value": value, "resource_type": kind}
        for key, value in list(tags.items())
    ]
