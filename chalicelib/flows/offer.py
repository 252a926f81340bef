"""Offer snapshots to the vault, the account that pulls copies for itself: share each with it, and say what it holds.

Tags of a shared snapshot cannot be seen from another account, so the archive says what they say, write-once, and S3
replicates it. What the vault has a copy of, or does not want, its receipts say; until then the snapshot stays here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.copy_watch import seen
from chalicelib.core.copying import CopyFailure, lineage, uncopied
from chalicelib.core.model import Copying, Snapshot
from chalicelib.core.policy import Policy
from chalicelib.errors import PermanentError
from chalicelib.flows.forget import forgotten_under
from chalicelib.flows.policies import find_policy
from chalicelib.flows.wanted_copies import find_last_look, find_vault, vault_place
from chalicelib.ports import World


@dataclass(frozen=True)
class Offered:
    """The snapshots that were offered just now, and those that could not be, and why."""

    snapshots: tuple[str, ...] = ()
    failed: tuple[CopyFailure, ...] = ()


def offer_snapshots(world: World, now: datetime) -> Offered:
    """Everything that the vault's rules want and it has sent no receipt for. Raises TransientError.

    What could not be offered is remembered as a copy that failed, and since when each receipt is owed.
    """
    policy = find_policy(world)
    vault = find_vault(policy, world)
    if policy is None or vault is None:
        return Offered()
    owed = _owed(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP}), policy, world)
    before = find_last_look(vault_place(vault), world)
    known = wire.snapshots_named_by(world.archive.list(wire.offers_prefix(vault.account)))
    offered, failed = [], []
    for source in (each for each in owed if each.id not in known):
        try:
            _offer(source, vault.account, policy.version, world)
            offered.append(source.id)
        except PermanentError as fault:
            failed.append(CopyFailure(source.id, 1 + _failures(source, before), str(fault)))
    world.catalog.save_copying(seen(vault_place(vault), owed, failed, before, now))
    return Offered(tuple(offered), tuple(failed))


def find_unpulled(snapshots: Iterable[Snapshot], policy: Policy | None, world: World) -> frozenset[str]:
    """The ids of those that the vault wants and has sent no receipt for, and so must stay until it has.

    A receipt frees nothing that our own rules keep: the worst that a forged one does is to let a snapshot go as if
    there were no vault.
    """
    if policy is None or find_vault(policy, world) is None:
        return frozenset()
    return frozenset(each.id for each in _owed(snapshots, policy, world))


def _owed(snapshots: Iterable[Snapshot], policy: Policy, world: World) -> list[Snapshot]:
    """The newest first."""
    vault = find_vault(policy, world)
    if vault is None:
        return []
    received = wire.snapshots_named_by(world.receipts.list(wire.receipts_prefix(vault.account)))
    wanted = uncopied(snapshots, (), vault.retention, forgotten_under(policy, world))
    return [each for each in wanted if each.id not in received]


def _offer(source: Snapshot, account: str, policy_version: str, world: World) -> None:
    """Shared first: an offer of what cannot be seen yet would only be waited for."""
    world.volumes.share(source.id, account)
    offer = wire.Offer(source.id, world.settings.region, policy_version, lineage(source))
    world.archive.put_once(wire.offer_key(account, source.id), wire.offer_record(offer))


def _failures(source: Snapshot, before: Copying | None) -> int:
    known = before.uncopied if before else ()
    return next((each.failures for each in known if each.snapshot_id == source.id), 0)
