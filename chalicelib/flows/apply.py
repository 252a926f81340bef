"""Put a policy into force: check all of it, archive the text as the next version, point the table at it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.ids import own_word
from chalicelib.core.policy import Policy
from chalicelib.core.policy_changes import describe_changes
from chalicelib.core.policy_file import parse
from chalicelib.errors import ConfigError, TransientError
from chalicelib.flows.enrolments import enrol
from chalicelib.flows.policies import find_owners, find_versions, get_policy, policy_key
from chalicelib.ports import World


@dataclass(frozen=True)
class Applied:
    """The version now in force, and what it changed, a line each."""

    version: str
    changes: tuple[str, ...]


def apply_policy(text: str, expected: str | None, world: World, now: datetime) -> Applied:
    """Raises ConfigError with every fault, and then nothing is changed; TransientError when someone was faster."""
    if world.settings.is_standby:
        raise ConfigError(("policy: this stack is a standby: apply it where the backups are made",))
    current = world.catalog.policy_version()
    before = _readable(current, world) if current else None
    version = _next_version(world)
    policy = parse(text, version)
    faults = (
        *_stale(current, expected),
        *_unfit_here(policy, world),
        *_of_another(policy, find_owners(world)),
        *(_unfit_after(before, policy, world) if before else ()),
    )
    if faults:
        raise ConfigError(faults)
    enrol(policy, world, now)
    if current and world.archive.get(policy_key(current)) == text.encode():
        return Applied(current, ())
    if not world.archive.put_once(policy_key(version), text.encode()):
        raise TransientError(f"policy {version} was archived by someone else just now: apply again")
    if not world.catalog.set_policy_version(version, current):
        raise TransientError(f"policy {version} is archived, but another came into force just now: apply again")
    return Applied(version, tuple(describe_changes(before, policy)))


def _readable(version: str, world: World) -> Policy | None:
    """None for a version that today's rules no longer accept: it must not stand in the way of one that they do."""
    try:
        return get_policy(version, world)
    except ConfigError:
        return None


def _next_version(world: World) -> str:
    return f"{max(map(int, find_versions(world.archive)), default=0) + 1:06d}"


def _stale(current: str | None, expected: str | None) -> tuple[str, ...]:
    if expected is None or expected == current:
        return ()
    return (f"policy: version {current} is in force, expected {expected}: start again from what is in force",)


def _unfit_here(policy: Policy, world: World) -> Iterator[str]:
    """What only this deployment can tell. Whom our snapshots are shared with is for it to say, not for a policy."""
    copy, vault, known = policy.copy, policy.vault, world.settings.vault_account
    if copy and copy.region == world.settings.region:
        yield f"copy.region: {copy.region!r} is where the backups are, expected another region"
    if vault and vault.account != known:
        yield (
            f"vault.account: {vault.account!r}, expected {known or 'no vault'}: "
            f"deploy this stack with VaultAccount={vault.account} first"
        )


def _of_another(policy: Policy, owners: Mapping[str, str]) -> tuple[str, ...]:
    """An id's restore points and its tree stay its own: whoever got it later could read them."""
    return tuple(
        f"host.{host.name}.id: {host.id!r} belongs to {owners[host.id]}, expected an id that was never used"
        for host in policy.hosts.values()
        if owners.get(host.id, host.name) != host.name
    )


def _unfit_after(before: Policy, after: Policy, world: World) -> tuple[str, ...]:
    """What is sound by itself, but not after the policy in force."""
    renamed = (
        f"host.{name}.id: {after.hosts[name].id!r}, expected {host.id!r}: an id is permanent"
        for name, host in before.hosts.items()
        if name in after.hosts and after.hosts[name].id != host.id
    )
    busy = (
        f"{path}: it is gone while run {run.id} is open; expected to stay until that is closed"
        for path, name in sorted(_owners_of_runs(before) - _owners_of_runs(after))
        for run in world.catalog.find_runs(name)
        if not run.state.is_final
    )
    return (*renamed, *busy)


def _owners_of_runs(policy: Policy) -> set[tuple[str, str]]:
    """Where in the policy they stand, and what stands for them in the ids of their runs."""
    own = {(f"host.{host.name}", own_word(host.id)) for host in policy.own_volume_hosts()}
    return {(f"receiver.{name}", name) for name in policy.receivers} | own
