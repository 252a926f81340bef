"""At the vault, the account that pulls copies: what it is offered, and the receipts for what it needs no longer.

An offer is written by the other account, and believed only as far as EC2 shows the same: that the snapshot is theirs,
is shared with us, and when it was taken. Otherwise whoever rules there could make our copies look old, and go.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Snapshot
from chalicelib.errors import EbbtideError, PermanentError
from chalicelib.ports import World


@dataclass(frozen=True)
class Offers:
    """The snapshots that may be copied, with the tags they have in the other account, and why other offers wait."""

    snapshots: tuple[Snapshot, ...] = ()
    waiting: tuple[str, ...] = ()


def find_offers(account: str, policy_version: str, world: World) -> Offers:
    """Those made to this account that it has sent no receipt for. Raises EbbtideError when none can be seen at all."""
    offers, waiting = _read_each(account, policy_version, world)
    shared, unseen = _shared_in_each({offer.region for offer in offers}, world)
    found = []
    for offer in offers:
        snapshot = shared.get(offer.region, {}).get(offer.snapshot_id)
        if offer.region in unseen:
            waiting.append(f"offer of {offer.snapshot_id}: {unseen[offer.region]}")
        elif snapshot is None:
            waiting.append(f"offer of {offer.snapshot_id}: EC2 does not show that snapshot as shared with us")
        else:
            found.append(replace(snapshot, tags={**offer.tags, tags.SOURCE_REGION: offer.region}))
    return Offers(tuple(found), tuple(waiting))


def send_receipts(settled: Mapping[str, str | None], account: str, world: World, now: datetime) -> None:
    """Into the other account's archive, and then into ours, which is what remembers that each was sent."""
    for snapshot_id, copy_id in settled.items():
        key, receipt = wire.receipt_key(account, snapshot_id), wire.receipt_record(snapshot_id, copy_id, now)
        world.receipts.put_once(key, receipt)
        world.archive.put_once(key, receipt)


def _read_each(account: str, policy_version: str, world: World) -> tuple[list[wire.Offer], list[str]]:
    """The offers there are, and what is wrong with others: what is damaged costs itself."""
    offered = wire.snapshots_named_by(world.archive.list(wire.offers_prefix(account)))
    settled = wire.snapshots_named_by(world.archive.list(wire.receipts_prefix(account)))
    offers, waiting = [], []
    for snapshot_id in sorted(offered - settled):
        try:
            offer = wire.parse_offer(world.archive.get(wire.offer_key(account, snapshot_id)))
        except PermanentError as fault:
            waiting.append(f"offer of {snapshot_id}: {fault}")
            continue
        why = _why_not_yet(offer, snapshot_id, policy_version)
        if why:
            waiting.append(f"offer of {snapshot_id}: {why}")
        else:
            offers.append(offer)
    return offers, waiting


def _why_not_yet(offer: wire.Offer, snapshot_id: str, policy_version: str) -> str | None:
    """By an older policy's rules it might be settled as not wanted, and that is for ever."""
    if offer.snapshot_id != snapshot_id:
        return f"it is of {offer.snapshot_id}"
    if offer.policy_version > policy_version:
        return f"policy {offer.policy_version}, which wants it, has not arrived yet"
    return None


def _shared_in_each(
    regions: AbstractSet[str], world: World
) -> tuple[dict[str, dict[str, Snapshot]], dict[str, EbbtideError]]:
    """What is shared with us in each region, and why others could not be seen: a region is an offer's word, too."""
    shared: dict[str, dict[str, Snapshot]] = {}
    unseen: dict[str, EbbtideError] = {}
    for region in sorted(regions):
        try:
            shared[region] = _shared_in(region, world)
        except EbbtideError as fault:
            unseen[region] = fault
    if unseen and not shared:
        raise next(iter(unseen.values()))
    return shared, unseen


def _shared_in(region: str, world: World) -> dict[str, Snapshot]:
    owner = world.settings.primary_account
    return {each.id: each for each in world.copies.find_shared(region, owner)} if owner else {}
