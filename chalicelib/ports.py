"""What the flows need of the world. AWS implements each (`aws/`), and so does the simulator."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any, Protocol

from chalicelib.core.model import (
    Copying,
    CopyIntent,
    HostResult,
    Lease,
    Machine,
    Pruning,
    Recovery,
    RecoveryId,
    RestorePoint,
    Run,
    RunId,
    Snapshot,
    SnapshotLock,
    Volume,
    Way,
)
from chalicelib.core.preflight import Key, Preflight, Quota, QuotaName
from chalicelib.core.retention import Rules
from chalicelib.core.telling import Told


@dataclass(frozen=True)
class LaunchRequest:
    """One machine, asked for once: the same token never makes a second one.

    `profile` is the ARN of the instance profile that it has, where that is not the launch template's; `template` is
    the id of that, where it is not the receivers'.
    """

    token: str
    instance_type: str
    subnet: str
    security_group: str
    user_data: str
    tags: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None
    template: str | None = None


class Machines(Protocol):
    """EC2 instances of ours."""

    def find(self, tags: Mapping[str, str]) -> list[Machine]:
        """Every instance that carries all of `tags`, terminated ones that EC2 still shows included."""

    def get(self, machine_id: str) -> Machine:
        """Raises KeyError when absent."""

    def launch(self, request: LaunchRequest) -> Machine:
        """Launch, or return the one this token launched.

        Raises CapacityError, TokenSpentError when that one is gone, TokenTakenError when it was another request.
        """

    def would_launch(self, request: LaunchRequest) -> None:
        """Raises what EC2 has against the request; nothing is launched. Whether there is room it does not say."""

    def terminate(self, machine_id: str) -> None:
        """Absent is success."""

    def tag(self, machine_id: str, tags: Mapping[str, str]) -> None: ...

    def zone_of(self, subnet: str) -> str:
        """The availability zone a subnet is in. Raises KeyError when EC2 knows no such subnet."""


class Volumes(Protocol):
    """EBS volumes and snapshots of ours."""

    def find_volumes(self, tags: Mapping[str, str]) -> list[Volume]: ...

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
        """At a `rate`, in MiB a second, its blocks come out of the snapshot by themselves; else as they are read."""

    def grow(self, volume_id: str, size_gib: int) -> None:
        """Ask EBS to make it as large; it takes a while, and refuses for hours after the last time."""

    def is_growing(self, volume_id: str) -> bool:
        """Whether that is still under way, so that its machine would not see all of it."""

    def attach(self, volume_id: str, machine_id: str) -> None:
        """Attach; already attached to that machine is success."""

    def delete_volume(self, volume_id: str) -> None:
        """Absent is success."""

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        """Every snapshot of our own account with all of `tags`, from all pages."""

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        """One of our own account. Raises KeyError when absent."""

    def find_locks(self) -> list[SnapshotLock]:
        """Every lock on a snapshot of our own account, from all pages."""

    def lock(self, snapshot_id: str, days: int) -> None:
        """In compliance mode: once the cool-off is over, nobody deletes it or takes that back until then."""

    def find_images(self) -> dict[str, str]:
        """Which image of our own account is made of a snapshot: image ids by snapshot id, from all pages."""

    def find_shared(self, snapshot_ids: Iterable[str], but: str | None = None) -> frozenset[str]:
        """Those of the given snapshots that another account than `but` may use. One call each; absent is not shared."""

    def share(self, snapshot_id: str, account: str) -> None:
        """Let another account use a snapshot, and so copy it. Raises PermanentError when its encryption forbids it."""

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        """One attempt, never retried: CreateSnapshot has no client token."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Absent is success."""

    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None: ...


class Copies(Protocol):
    """Copies of snapshots, in whatever region they are wanted: those of our own, and those shared with us."""

    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        """Every snapshot of our own account there with all of `tags`, from all pages."""

    def find_shared(self, region: str, owner: str) -> list[Snapshot]:
        """Every snapshot of that account there that ours may use, from all pages; their tags cannot be seen."""

    def copy(
        self,
        region: str,
        snapshot_id: str,
        description: str,
        tags: Mapping[str, str],
        source_region: str | None = None,
    ) -> None:
        """Of a snapshot in our own region, unless it says another. One attempt, never retried: CopySnapshot has no
        client token."""


class Address(Protocol):
    """The name a receiver is found by, and who may reach it."""

    def current(self, name: str) -> str | None: ...

    def point(self, name: str, address: str) -> None: ...

    def open_to(self) -> tuple[str, ...]:
        """The networks that reach the receivers' port now, sorted."""

    def allow(self, networks: Sequence[str]) -> None:
        """Open the receivers' port to exactly these networks."""

    def admit(self, networks: Sequence[str]) -> None:
        """Open the receivers' port to these networks as well; whoever reaches it already still does."""


class Entrances(Protocol):
    """The ways in to restored machines, which share a security group."""

    def ways(self) -> frozenset[Way]: ...

    def set(self, ways: Collection[Way]) -> None:
        """Let in on exactly these."""


class Archive(Protocol):
    """Write-once objects: policies, briefs, reports, manifests."""

    def get(self, key: str) -> bytes:
        """Raises KeyError when absent."""

    def copy_to(self, file: IO[bytes], key: str) -> None:
        """Into a file, piece by piece, however large it is. Raises KeyError when absent."""

    def put_once(self, key: str, body: bytes) -> bool:
        """False when the key was there already; what was there stays."""

    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        """Every key under the prefix that sorts after `after`, from all pages, sorted; only the first of them, if there
        are more than `most`.
        """


class Catalog(Protocol):
    """The table: what is known now, every write conditional. It can always be rebuilt."""

    def policy_version(self) -> str | None: ...

    def set_policy_version(self, version: str, expected: str | None) -> bool: ...

    def open_run(self, run: Run) -> bool:
        """False when the run exists already, or another one of its receiver is open: they share a volume."""

    def get_run(self, run_id: RunId) -> Run:
        """Raises KeyError when absent."""

    def find_runs(self, receiver: str, limit: int = 10) -> list[Run]:
        """The newest first."""

    def save_run(self, run: Run) -> Run | None:
        """Write if the stored version is still `run.version`; the saved run, or None if someone was faster."""

    def record_result(self, result: HostResult) -> bool:
        """First one wins; False when there was one."""

    def find_results(self, run_id: RunId) -> list[HostResult]: ...

    def record_point(self, point: RestorePoint) -> None:
        """Idempotent by host and snapshot."""

    def find_points(self, host_id: str | None = None) -> list[RestorePoint]:
        """All, or one host's, oldest first."""

    def forget_points(self, snapshot_id: str, host_ids: Iterable[str]) -> None:
        """Those of these hosts in the snapshot. Absent is success."""

    def mark_proven(self, point: RestorePoint) -> None:
        """Since `point.proven`, or not at all; nothing of one that is not recorded."""

    def open_recovery(self, recovery: Recovery) -> bool: ...

    def get_recovery(self, recovery_id: RecoveryId) -> Recovery: ...

    def find_recoveries(self, host_id: str | None = None) -> list[Recovery]: ...

    def save_recovery(self, recovery: Recovery) -> Recovery | None: ...

    def find_copy_intents(self) -> list[CopyIntent]: ...

    def save_copy_intent(self, intent: CopyIntent) -> CopyIntent | None:
        """Write if the stored version is still `intent.version`, 0 being none; None if someone was faster."""

    def forget_copy_intent(self, intent: CopyIntent) -> None:
        """Absent is success."""

    def find_copying(self) -> list[Copying]:
        """The latest look at each place that copies were ever wanted in."""

    def save_copying(self, copying: Copying) -> Copying | None:
        """Write if the stored version is still `copying.version`, 0 being none; None if someone was faster."""

    def find_lease(self, name: str) -> Lease | None:
        """The lease as it was last written, whether it still runs or not."""

    def save_lease(self, lease: Lease) -> Lease | None:
        """Write if the stored version is still `lease.version`, 0 for none; the saved lease, or None if overtaken."""

    def record_pruning(self, pruning: Pruning) -> None:
        """The latest stays, in whatever order they come."""

    def find_pruning(self) -> Pruning | None:
        """The latest; None when there was none."""

    def record_preflight(self, preflight: Preflight) -> None:
        """The latest stays, in whatever order they come."""

    def find_preflight(self) -> Preflight | None:
        """The latest; None when there was none."""

    def find_told(self) -> list[Told]: ...

    def save_told(self, told: Told) -> Told | None:
        """Write if the stored version is still `told.version` (0: absent); what is stored, or None if too late."""


class Account(Protocol):
    """What the account holds for us, and how much it lets us have; only ever looked at."""

    def default_key(self, region: str) -> str:
        """What EBS encrypts new volumes and copies with there."""

    def look_at_key(self, region: str, key_id: str) -> Key:
        """Its state, and whether a dry use of it goes well."""

    def find_quota(self, region: str, name: QuotaName) -> Quota:
        """The account's limit there, and how much of it is used now, by whomever."""

    def vcpus_of(self, instance_types: Iterable[str]) -> Mapping[str, int]: ...

    def has_parameter(self, name: str) -> bool: ...


class Lambdas(Protocol):
    """The other functions of this application."""

    def invoke_later(self, function: str, payload: Mapping[str, Any]) -> None:
        """Asynchronous invocation, by the function's short name."""


class Alarms(Protocol):
    """The operators' ears: SNS topics."""

    def publish(self, topic: str, subject: str, body: str) -> None:
        """To the topic of this short name."""


class Watch(Protocol):
    """Someone outside who misses us when we fall silent."""

    def ping(self, url: str) -> None:
        """Raises TransientError when it was not answered with a success."""


class Bus(Protocol):
    """Whoever in this account listens to what becomes of things: events, each of which may be lost, or come twice."""

    def send(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Raises TransientError when it was not taken."""


class StackRole(StrEnum):
    """What this deployment is: the one that makes backups, one that stands by with copies that were made for it in
    another region, or one that does with copies that it pulls into another account."""

    PRIMARY = "primary"
    STANDBY = "standby"
    VAULT = "vault"


@dataclass(frozen=True)
class Settings:
    """What the deployment decided: names and ids from the template's environment; the preferred subnet first.

    `image_profile` is the ARN of the instance profile that a machine has on which an image of a server's is started; a
    deployment without one has the launch template's there as well. `other_template` is the launch template for machines
    of the architecture that receivers do not have. `vault_account` is whom snapshots may be shared
    with. A vault knows `primary_account`, whose snapshots it copies, what it keeps at least, whatever the policy says,
    which comes from there, and for how many days EBS locks its copies; 0 for not at all.
    """

    receiver_group: str
    drill_group: str
    restore_group: str
    subnets: tuple[str, ...]
    bucket: str
    region: str
    agent: str
    other_template: str
    image_profile: str | None = None
    role: StackRole = StackRole.PRIMARY
    vault_account: str | None = None
    primary_account: str | None = None
    keep_at_least: Rules = field(default_factory=Rules)
    lock_days: int = 0

    @property
    def is_standby(self) -> bool:
        """Whether it stands by with copies, wherever they come from: it makes no backups of its own."""
        return self.role is not StackRole.PRIMARY

    @property
    def is_vault(self) -> bool:
        return self.role is StackRole.VAULT


@dataclass(frozen=True)
class World:
    """Everything a flow may touch. `receipts` is the archive that a vault's receipts go to: that of whom it copies.
    `new_nonce` draws what a recovery's machine alone is to know."""

    machines: Machines
    volumes: Volumes
    copies: Copies
    address: Address
    entrances: Entrances
    archive: Archive
    receipts: Archive
    catalog: Catalog
    account: Account
    lambdas: Lambdas
    alarms: Alarms
    watch: Watch
    bus: Bus
    new_nonce: Callable[[], str]
    settings: Settings
