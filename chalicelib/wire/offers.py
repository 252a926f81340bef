"""An offer to the account that pulls copies, and its receipt: objects of their own, each written once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.errors import PermanentError
from chalicelib.fields import Fields, moment_text, read, written

_SNAPSHOT = r"snap-[A-Za-z0-9-]{1,60}"
_KEY = re.compile(rf"(?:(?:offers|receipts)/[0-9]{{12}}|damaged|heeded)/(?P<snapshot>{_SNAPSHOT})\.json")
# It becomes a part of a host name.
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")


def offers_prefix(account: str) -> str:
    return f"offers/{account}/"


def receipts_prefix(account: str) -> str:
    return f"receipts/{account}/"


def offer_key(account: str, snapshot_id: str) -> str:
    return f"{offers_prefix(account)}{snapshot_id}.json"


def receipt_key(account: str, snapshot_id: str) -> str:
    return f"{receipts_prefix(account)}{snapshot_id}.json"


def snapshots_named_by(keys: Iterable[str]) -> frozenset[str]:
    """The ids of the snapshots that these objects are each of, from the archive's keys alone."""
    return frozenset(match["snapshot"] for key in keys if (match := _KEY.fullmatch(key)))


@dataclass(frozen=True)
class Offer:
    """A snapshot that is shared with another account, where it is, what its tags say, and the policy that wants it.

    The tags are in it because those of a shared snapshot cannot be seen from another account.
    """

    snapshot_id: str
    region: str
    policy_version: str
    tags: Mapping[str, str]


def offer_record(offer: Offer) -> bytes:
    return written(
        {
            "snapshot": offer.snapshot_id,
            "region": offer.region,
            "policy": offer.policy_version,
            "tags": dict(offer.tags),
        }
    )


def parse_offer(body: bytes) -> Offer:
    fields = read("offer", body)
    tagged = fields.part("tags")
    return Offer(
        snapshot_id=fields.text("snapshot"),
        region=_region(fields),
        policy_version=fields.text("policy"),
        tags={name: tagged.text(name) for name in tagged.values},
    )


def _region(fields: Fields) -> str:
    region = fields.text("region")
    if not _REGION.fullmatch(region):
        raise PermanentError(f"{fields.what}: region is {region[:80]!r}, expected one like eu-central-1")
    return region


def receipt_record(snapshot_id: str, copy_id: str | None, at: datetime) -> bytes:
    """That nothing needs to be kept for us any more: there is a complete copy, or none is wanted."""
    return written({"snapshot": snapshot_id, "copy": copy_id, "at": moment_text(at)})
