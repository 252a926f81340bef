"""The policy as values: everything an operator decides, after policy_file.py has validated it."""

from dataclasses import dataclass, field
from datetime import time, timedelta
from functools import cached_property

from chalicelib.core.retention import Rules


@dataclass(frozen=True)
class VolumePolicy:
    size_gib: int
    type: str = "gp3"
    filesystem: str = "ext4"
    mode: str = "persistent"


@dataclass(frozen=True)
class ReceiverPolicy:
    """One receiver: when it stands, what it is called, and whom it receives."""

    name: str
    start: time
    end: time
    timezone: str
    address_name: str
    address_kind: str
    allow: tuple[str, ...]
    instances: tuple[str, ...]
    volume: VolumePolicy
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class HostPolicy:
    """One host. `id` is permanent and never reused; `instance_id` is where one with a volume of its own runs."""

    name: str
    id: str
    keys: tuple[str, ...]
    probe: str | None = None
    start_list: tuple[str, ...] = ()
    quota_gib: int | None = None
    alarm_after: int = 2
    guard: str = "on"
    target: str = "receiver"
    instance_id: str | None = None
    retention: Rules | None = None

    @property
    def has_own_volume(self) -> bool:
        return self.target == "volume"

    @property
    def stale_after(self) -> timedelta:
        """How old its newest restore point may be: the nights that it may miss, and the one that is still to come."""
        return timedelta(days=self.alarm_after + 1)


@dataclass(frozen=True)
class CopyPolicy:
    region: str
    retention: Rules


@dataclass(frozen=True)
class VaultPolicy:
    account: str
    retention: Rules


@dataclass(frozen=True)
class RestorePolicy:
    subnet: str | None
    instances: dict[str, str]
    readers: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrillPolicy:
    """How often each host is drilled, and what drills may cost; without `every_days` nobody drills but by hand."""

    every_days: int | None = None
    budget: str | None = None


@dataclass(frozen=True)
class AlarmPolicy:
    topic: str = "alarms"
    ping: str | None = None
    budget: str | None = None


@dataclass(frozen=True)
class Policy:
    """Everything an operator decides, validated. `version` names the archived text it came from."""

    version: str
    receivers: dict[str, ReceiverPolicy]
    hosts: dict[str, HostPolicy]
    retention: Rules
    copy: CopyPolicy | None = None
    vault: VaultPolicy | None = None
    restore: RestorePolicy = field(default_factory=lambda: RestorePolicy(None, {}))
    drill: DrillPolicy = field(default_factory=DrillPolicy)
    alarm: AlarmPolicy = field(default_factory=AlarmPolicy)

    def own_volume_hosts(self) -> tuple[HostPolicy, ...]:
        """Those that copy themselves into volumes of their own, and report that themselves."""
        return tuple(host for host in self.hosts.values() if host.has_own_volume)

    def receiver_of(self, host: str) -> ReceiverPolicy | None:
        """The one that this host, by its name, pushes to; None for one that does not, and for a stranger."""
        return next((receiver for receiver in self.receivers.values() if host in receiver.hosts), None)

    def rules_of(self, host_id: str) -> Rules:
        """The retention rules of a host, by its id. A host that is no longer in the policy keeps every point."""
        host = self._by_id.get(host_id)
        return (host.retention or self.retention) if host else Rules()

    @cached_property
    def _by_id(self) -> dict[str, HostPolicy]:
        return {host.id: host for host in self.hosts.values()}
