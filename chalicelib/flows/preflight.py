"""Look by day whether the next night has what it needs, and at what it all costs. Nothing is ever changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.architectures import named_footings
from chalicelib.core.bill import ABOUT as BUDGET
from chalicelib.core.bill import ABOUT_DRILLS as DRILL_BUDGET
from chalicelib.core.bill import Budget, budgets
from chalicelib.core.ids import trial_token
from chalicelib.core.model import SCHEMA, SnapshotLock
from chalicelib.core.policy import Policy, ReceiverPolicy
from chalicelib.core.preflight import (
    AGENT,
    KEYS,
    LEFT,
    RESTORES,
    Key,
    Preflight,
    Quota,
    QuotaName,
    Refusal,
    Seen,
    about_host_key,
    about_launches,
    about_quota,
    is_standard,
    judge,
)
from chalicelib.core.telling import LOCKS
from chalicelib.errors import EbbtideError, TransientError
from chalicelib.flows.cost import estimate_cost
from chalicelib.flows.keys import find_keys_in_use
from chalicelib.flows.launching import subnets_of_restores
from chalicelib.flows.policies import find_policy
from chalicelib.flows.stock import find_stock
from chalicelib.flows.sweep import find_left_standing
from chalicelib.flows.wanted_copies import find_other_region
from chalicelib.ports import LaunchRequest, World

_Seen = TypeVar("_Seen")

# A tag that no night looks for: were such a machine ever launched, the sweep would end it as nobody's.
_ROLE = "preflight"


def preflight(world: World, now: datetime) -> Preflight:
    """What was found, and recorded for whoever tells. Without a policy there is no next night to look at."""
    policy = find_policy(world)
    seen = _Look(policy, world, now).around() if policy else Seen()
    found = judge(seen, world.catalog.find_preflight(), now)
    world.catalog.record_preflight(found)
    world.lambdas.invoke_later("tell_operators", wire.telling_payload())
    return found


@dataclass(frozen=True)
class _Part:
    """What is launched for a receiver or a restore: its types, where, and in which groups."""

    name: str
    instances: tuple[str, ...]
    subnets: tuple[str, ...]
    groups: tuple[str, ...]
    template: str | None = None

    @property
    def machines(self) -> list[tuple[str, str]]:
        """Its first type wherever it may stand, and the others where it is preferred to."""
        first, *others = self.instances
        return [*((first, subnet) for subnet in self.subnets), *((each, self.subnets[0]) for each in others)]


@dataclass
class _Look:
    """One look around. Each thing is looked at by itself: what could not be is `unseen`, and hides nothing else."""

    policy: Policy
    world: World
    now: datetime
    unseen: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def around(self) -> Seen:
        return Seen(
            refusals=tuple(self._refusals()),
            keys=tuple(self._keys()),
            quotas=tuple(self._quotas()),
            keyless=tuple(self._keyless()),
            unguarded=tuple(self._unguarded()),
            locks=tuple(self._locks()),
            left=self._tried(LEFT, "what stands", find_left_standing, self.world, self.now) or (),
            agent_missing=self._missing_agent(),
            budgets=self._budgets(),
            unseen=self.unseen,
            hidden=self.hidden,
        )

    def _tried(self, about: str, what: str, look: Callable[..., _Seen], *given: object) -> _Seen | None:
        try:
            return look(*given)
        except EbbtideError as fault:
            self.unseen[what] = str(fault)
            self.hidden.add(about)
            return None

    @property
    def _receivers(self) -> tuple[ReceiverPolicy, ...]:
        """A standby launches none: it restores."""
        return () if self.world.settings.is_standby else tuple(self.policy.receivers.values())

    # -- machines

    def _parts(self) -> Iterator[_Part]:
        settings = self.world.settings
        for receiver in self._receivers:
            yield _Part(receiver.name, receiver.instances, settings.subnets, (settings.receiver_group,))
        yield from self._restores()

    def _restores(self) -> Iterator[_Part]:
        """As the policy has them; of the receivers' architecture at least. A drill and a server that is wanted back
        differ in their group alone."""
        settings = self.world.settings
        subnets = subnets_of_restores(self.policy, settings)
        groups = (settings.drill_group, settings.restore_group)
        for each in named_footings(self.policy):
            template = settings.other_template if each.is_other else None
            yield _Part(RESTORES, each.instances, subnets, groups, template)

    def _refusals(self) -> Iterator[Refusal]:
        for part in self._parts():
            for instance_type, subnet in part.machines:
                machine = f"a {instance_type} in {subnet}"
                asked = partial(
                    self._tried, about_launches(part.name), machine, self._why_not, part, instance_type, subnet
                )
                why = next(filter(None, map(asked, part.groups)), None)
                if why:
                    yield Refusal(part.name, machine, why)

    def _why_not(self, part: _Part, instance_type: str, subnet: str, group: str) -> str:
        """What EC2 has against it; nothing when it would launch it."""
        request = LaunchRequest(
            token=trial_token(f"{instance_type} {subnet} {group}", self.now.isoformat()),
            instance_type=instance_type,
            subnet=subnet,
            security_group=group,
            user_data="#!/bin/sh\n",
            tags={tags.NAME: "ebbtide preflight", tags.SCHEMA: str(SCHEMA), tags.ROLE: _ROLE},
            profile=None if group == self.world.settings.receiver_group else self.world.settings.image_profile,
            template=part.template,
        )
        try:
            self.world.machines.would_launch(request)
        except TransientError:
            raise
        except EbbtideError as fault:
            return str(fault)
        return ""

    # -- keys

    def _keys(self) -> Iterator[Key]:
        look, tried = self.world.account.look_at_key, partial(self._tried, KEYS)
        for (region, key_id), holds in find_keys_in_use(self.policy, self.world, tried).items():
            key = tried(f"key {key_id} in {region}", look, region, key_id)
            if key is not None:
                yield replace(key, holds=holds)

    # -- locks

    def _locks(self) -> Iterator[SnapshotLock]:
        """Of its copies, at a vault that has them locked."""
        if self.world.settings.is_vault and self.world.settings.lock_days:
            ours = {copy.id for copy in self._tried(LOCKS, "copies", find_stock, self.world) or ()}
            locks = self._tried(LOCKS, "locks", self.world.volumes.find_locks) or ()
            yield from (lock for lock in locks if lock.snapshot_id in ours)

    # -- quotas

    def _quotas(self) -> Iterator[Quota]:
        for region, needs in self._needs().items():
            for name, needed in needs.items():
                what = f"the quota of {name} in {region}"
                quota = self._tried(about_quota(name), what, self.world.account.find_quota, region, name)
                if quota is not None:
                    yield replace(quota, needed=needed)

    def _needs(self) -> dict[str, dict[QuotaName, float]]:
        """What comes on top of what is there, by region: every receiver and a restore at once, for they may overlap."""
        nights = len(self._receivers)
        here: dict[QuotaName, float] = {QuotaName.SNAPSHOTS: nights}
        vcpus = self._tried(about_quota(QuotaName.VCPUS), "instance types", self._vcpus)
        if vcpus:
            here[QuotaName.VCPUS] = vcpus
        gib = self._tried(about_quota(QuotaName.GP3), "volumes", self._gib_to_be_made)
        if gib is not None:
            here[QuotaName.GP3] = gib
        there = find_other_region(self.policy, self.world)
        needed_there = {QuotaName.SNAPSHOTS: float(nights)}
        return {self.world.settings.region: here, **({there: needed_there} if there else {})}

    def _vcpus(self) -> float:
        """Of every receiver's first type, and of the largest that a restore is on."""
        nightly = [receiver.instances[0] for receiver in self._receivers]
        restores = [part.instances[0] for part in self._restores()]
        vcpus = self.world.account.vcpus_of(filter(is_standard, (*nightly, *restores)))
        return float(sum(vcpus.get(each, 0) for each in nightly) + max(vcpus.get(each, 0) for each in restores))

    def _gib_to_be_made(self) -> float:
        """The volume of a restore, those that are not there yet, and what the policy wants others to be larger by."""
        needed = float(max((receiver.volume.size_gib for receiver in self.policy.receivers.values()), default=0))
        for receiver in self._receivers:
            there = self.world.volumes.find_volumes({tags.ROLE: tags.Role.DATA, tags.RECEIVER: receiver.name})
            needed += max(0, receiver.volume.size_gib - max((volume.size_gib for volume in there), default=0))
        return needed

    # -- what it costs

    def _budgets(self) -> tuple[Budget, ...]:
        """Where nobody has set one, and at a standby, whose cost the first region's includes, nobody asks."""
        has_any = self.policy.alarm.budget or self.policy.drill.budget
        if not has_any or self.world.settings.is_standby:
            return ()
        cost = self._tried(BUDGET, "what it costs", estimate_cost, self.policy, self.world, self.now)
        if cost is None:
            self.hidden.add(DRILL_BUDGET)
            return ()
        return budgets(cost, self.policy)

    # -- parts

    def _keyless(self) -> Iterator[str]:
        """The receivers without a host key; a standby's are wanted when it becomes the first region."""
        for name in self.policy.receivers:
            parameter = wire.host_key_parameter(name)
            look = self.world.account.has_parameter
            if self._tried(about_host_key(name), f"parameter {parameter}", look, parameter) is False:
                yield name

    def _unguarded(self) -> Iterator[str]:
        for receiver in self._receivers:
            yield from (name for name in receiver.hosts if self.policy.hosts[name].guard == "off")

    def _missing_agent(self) -> str | None:
        wanted = self.world.settings.agent
        listed = self._tried(AGENT, "the archive", self.world.archive.list, wanted)
        return wanted if listed is not None and wanted not in listed else None
