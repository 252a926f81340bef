"""Which copies this stack has to see to: those it makes itself, and those it offers to another account to pull."""

from dataclasses import dataclass

from chalicelib.core.model import Copying
from chalicelib.core.policy import Policy, VaultPolicy
from chalicelib.core.retention import Rules
from chalicelib.ports import World

THIS_VAULT = "this vault"


@dataclass(frozen=True)
class Destination:
    """Where the copies that this stack makes go: what people call it, its region, and the rules for them."""

    place: str
    region: str
    rules: Rules


def find_destination(policy: Policy | None, world: World) -> Destination | None:
    """A vault copies what it is offered into its own region; a standby copies nothing, it holds copies."""
    if policy is None:
        return None
    if world.settings.is_vault:
        rules = rules_of_copies(policy, world)
        return None if rules.are_empty else Destination(THIS_VAULT, world.settings.region, rules)
    if policy.copy is None or world.settings.is_standby:
        return None
    return Destination(policy.copy.region, policy.copy.region, policy.copy.retention)


def find_other_region(policy: Policy, world: World) -> str | None:
    """Where this stack makes copies, when that is not here."""
    return policy.copy.region if policy.copy and not world.settings.is_standby else None


def find_vault(policy: Policy | None, world: World) -> VaultPolicy | None:
    """The account that pulls copies from here; nothing is offered from a standby, nor from the vault itself."""
    return policy.vault if policy and not world.settings.is_standby else None


def vault_place(vault: VaultPolicy) -> str:
    return f"account {vault.account}"


def find_places(policy: Policy, world: World) -> tuple[str, ...]:
    """Everywhere that copies are wanted in, whoever makes them."""
    destination, vault = find_destination(policy, world), find_vault(policy, world)
    return (*([destination.place] if destination else []), *([vault_place(vault)] if vault else []))


def find_last_look(place: str, world: World) -> Copying | None:
    return next((each for each in world.catalog.find_copying() if each.place == place), None)


def rules_of_copies(policy: Policy, world: World) -> Rules:
    """The rules for the copies that this stack holds; empty, so that nothing expires, where the policy says nothing.

    A vault keeps at least what its own deployment says. The policy comes from the other account: whoever rules there
    could otherwise have the vault itself let go of its copies.
    """
    if world.settings.is_vault:
        return policy.vault.retention.at_least(world.settings.keep_at_least) if policy.vault else Rules()
    return policy.copy.retention if policy.copy else Rules()
