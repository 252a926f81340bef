"""Tags as EC2 writes them, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagSpecificationTypeDef, TagTypeDef


def filters(tags: Mapping[str, str]) -> "list[FilterTypeDef]":
    """What a resource must carry, all of it."""
    return [{"Name": f"tag:{key}", "Values": [str(value)]} for key, value in tags.items()]


def written(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": key, "Value": str(value)} for key, value in tags.items()]


def on_create(kind: str, tags: Mapping[str, str]) -> "TagSpecificationTypeDef":
    """Tags that are there from the first moment on: nothing of ours is ever without."""
    specification: TagSpecificationTypeDef = {"ResourceType": kind, "Tags": written(tags)}  # type: ignore[typeddict-item]
    return specification


def read(tags: "Iterable[TagTypeDef] | Sequence[TagTypeDef]") -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
