"""The world in memory: each port in a few lines, with the semantics the flows rely on and nothing more."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import IO, Any, TypeVar

from chalicelib.core.locking import COOL_OFF, COOLING_OFF
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
from chalicelib.core.preflight import ENABLED, Preflight, Quota, QuotaName
from chalicelib.core.preflight import Key as KmsKey
from chalicelib.core.protections import EXPIRED
from chalicelib.core.telling import Told
from chalicelib.errors import CapacityError, EbbtideError, PermanentError, TokenSpentError, TokenTakenError
from chalicelib.ports import LaunchRequest, Settings, World

Key = TypeVar("Key")
Value = TypeVar("Value")

A_MOMENT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def carries(tagged: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= tagged.items()


def put_if_absent(shelf: dict[Key, Value], key: Key, value: Value) -> bool:
    """Whether this call put it there."""
    if key in shelf:
        return False
    shelf[key] = value
    return True


@dataclass
class FakeMachines:
    """A machine runs as soon as it is launched. `no_capacity_for` names types and zones EC2 is out of.

    `against` is what EC2 has against types, subnets and groups, whether it is `tried` or launched; `gone` are
    subnets that it does not know any more.
    """

    now: datetime = A_MOMENT
    by_id: dict[str, Machine] = field(default_factory=dict)
    by_token: dict[str, str] = field(default_factory=dict)
    requests: list[LaunchRequest] = field(default_factory=list)
    no_capacity_for: set[str] = field(default_factory=set)
    against: dict[str, EbbtideError] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    tried: list[LaunchRequest] = field(default_factory=list)

    def find(self, tags: Mapping[str, str]) -> list[Machine]:
        return [machine for machine in self.by_id.values() if carries(machine.tags, tags)]

    def get(self, machine_id: str) -> Machine:
        return self.by_id[machine_id]

    def tag(self, machine_id: str, tags: Mapping[str, str]) -> None:
        machine = self.by_id[machine_id]
        self.by_id[machine_id] = replace(machine, tags={**machine.tags, **tags})

    def launch(self, request: LaunchRequest) -> Machine:
        if request.token in self.by_token:
            return self._launched_before(request)
        self._check(request)
        zone = self.zone_of(request.subnet)
        if self.no_capacity_for & {request.instance_type, zone}:
            raise CapacityError(f"no {request.instance_type} here")
        number = len(self.by_id) + 1
        address, tagged = f"10.0.0.{number}", dict(request.tags)
        machine = Machine(f"i-{number}", "running", address, zone, self.now, tagged, request.instance_type)
        self.requests.append(request)
        self.by_token[request.token] = machine.id
        self.by_id[machine.id] = machine
        return machine

    def _launched_before(self, request: LaunchRequest) -> Machine:
        machine = self.by_id[self.by_token[request.token]]
        if request not in self.requests:
            raise TokenTakenError(f"{machine.id} came of another request")
        if machine.state == "terminated":
            raise TokenSpentError(f"{machine.id} is terminated")
        return machine

    def would_launch(self, request: LaunchRequest) -> None:
        self.tried.append(request)
        self._check(request)

    def _check(self, request: LaunchRequest) -> None:
        if request.subnet in self.gone:
            raise PermanentError(f"InvalidSubnetID.NotFound: {request.subnet}")
        for what in (request.instance_type, request.subnet, request.security_group):
            if what in self.against:
                raise self.against[what]

    def terminate(self, machine_id: str) -> None:
        if machine_id in self.by_id:
            self.by_id[machine_id] = replace(self.by_id[machine_id], state="terminated", address=None)

    def zone_of(self, subnet: str) -> str:
        if subnet in self.gone:
            raise KeyError(subnet)
        return subnet.replace("subnet", "zone")


@dataclass
class FakeVolumes:
    """A volume is available at once, but `unshown` as long as a test says so; a snapshot stays pending until the test
    completes it.

    `shared` are snapshots that some other account may use, `shared_with` says of others which; what is `unshareable` is
    encrypted under AWS's own key. `no_capacity_for` names zones EBS is out of.
    """

    machines: FakeMachines
    now: datetime = A_MOMENT
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    by_token: dict[str, str] = field(default_factory=dict)
    made_from: dict[str, str | None] = field(default_factory=dict)
    rates: dict[str, int | None] = field(default_factory=dict)
    locks: list[SnapshotLock] = field(default_factory=list)
    lock_fault: EbbtideError | None = None
    images: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    unshareable: set[str] = field(default_factory=set)
    shared_with: dict[str, set[str]] = field(default_factory=dict)
    grown: list[tuple[str, int]] = field(default_factory=list)
    growing: set[str] = field(default_factory=set)
    growth_fault: EbbtideError | None = None
    created: int = 0
    unshown: bool = False
    no_capacity_for: set[str] = field(default_factory=set)

    def find_volumes(self, tags: Mapping[str, str]) -> list[Volume]:
        shown = [] if self.unshown else self.volumes.values()
        return [self._as_it_stands(volume) for volume in shown if carries(volume.tags, tags)]

    def _as_it_stands(self, volume: Volume) -> Volume:
        """Attached for as long as its machine stands, as EC2 detaches it when the machine ends."""
        holder = self.machines.by_id.get(volume.attached_to or "")
        if holder is None or holder.state == "terminated":
            return replace(volume, attached_to=None, state="available")
        return volume

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
        if token in self.by_token:
            return self.volumes[self.by_token[token]]
        if zone in self.no_capacity_for:
            raise CapacityError(f"InsufficientVolumeCapacity: no {kind} in {zone}")
        self.created += 1
        volume = Volume(f"vol-{self.created}", "available", zone, size_gib, None, dict(tags))
        self.by_token[token] = volume.id
        self.made_from[volume.id] = snapshot_id
        self.rates[volume.id] = rate
        self.volumes[volume.id] = volume
        return volume

    def grow(self, volume_id: str, size_gib: int) -> None:
        self.grown.append((volume_id, size_gib))
        if self.growth_fault:
            raise self.growth_fault
        self.volumes[volume_id] = replace(self.volumes[volume_id], size_gib=size_gib)

    def is_growing(self, volume_id: str) -> bool:
        return volume_id in self.growing

    def attach(self, volume_id: str, machine_id: str) -> None:
        if self.volumes[volume_id].zone != self.machines.by_id[machine_id].zone:
            raise PermanentError(f"{volume_id} is not in the zone of {machine_id}")
        self.volumes[volume_id] = replace(self.volumes[volume_id], attached_to=machine_id, state="in-use")

    def delete_volume(self, volume_id: str) -> None:
        self.volumes.pop(volume_id, None)

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        return [snapshot for snapshot in self.snapshots.values() if carries(snapshot.tags, tags)]

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        return self.snapshots[snapshot_id]

    def find_locks(self) -> list[SnapshotLock]:
        return list(self.locks)

    def lock(self, snapshot_id: str, days: int) -> None:
        if self.lock_fault:
            raise self.lock_fault
        until, cool_off = self.now + timedelta(days=days), self.now + COOL_OFF
        self.locks.append(SnapshotLock(snapshot_id, COOLING_OFF, until, days, cool_off))

    def find_images(self) -> dict[str, str]:
        return dict(self.images)

    def find_shared(self, snapshot_ids: Iterable[str], but: str | None = None) -> frozenset[str]:
        with_others = {each for each, accounts in self.shared_with.items() if accounts - {but}}
        return frozenset(snapshot_ids) & (self.shared | with_others)

    def share(self, snapshot_id: str, account: str) -> None:
        if snapshot_id in self.unshareable:
            raise PermanentError(f"{snapshot_id} is under AWS's own key")
        self.shared_with.setdefault(snapshot_id, set()).add(account)

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        self.created += 1
        size = self.volumes[volume_id].size_gib
        snapshot = Snapshot(f"snap-{self.created}", "pending", self.now, volume_id, size, 0, dict(tags))
        self.snapshots[snapshot.id] = snapshot
        return snapshot

    def complete(self, snapshot_id: str) -> None:
        """What EBS does in its own time."""
        self.snapshots[snapshot_id] = replace(self.snapshots[snapshot_id], state="completed", progress=100)

    def delete_snapshot(self, snapshot_id: str) -> None:
        if any(lock.snapshot_id == snapshot_id and lock.state != EXPIRED for lock in self.locks):
            raise PermanentError(f"{snapshot_id} is locked")
        self.snapshots.pop(snapshot_id, None)

    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        if volume := self.volumes.get(resource_id):
            self.volumes[resource_id] = replace(volume, tags={**volume.tags, **tags})
        if snapshot := self.snapshots.get(resource_id):
            self.snapshots[resource_id] = replace(snapshot, tags={**snapshot.tags, **tags})


@dataclass
class FakeCopies:
    """Snapshots in other regions, by region and id; a copy stays pending until the test completes or breaks it.

    `shared` is what other accounts share with this one, by region and owner.

    `fault` is raised by every copy from now on, before or after it takes effect.
    """

    now: datetime = A_MOMENT
    by_region: dict[str, dict[str, Snapshot]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    shared: dict[tuple[str, str], list[Snapshot]] = field(default_factory=dict)
    fault: Exception | None = None
    takes_effect: bool = False

    def find(self, region: str, tags: Mapping[str, str]) -> list[Snapshot]:
        return [snapshot for snapshot in self.by_region.get(region, {}).values() if carries(snapshot.tags, tags)]

    def find_shared(self, region: str, owner: str) -> list[Snapshot]:
        return list(self.shared.get((region, owner), ()))

    def copy(
        self,
        region: str,
        snapshot_id: str,
        description: str,
        tags: Mapping[str, str],
        source_region: str | None = None,
    ) -> None:
        self.asked.append((region, snapshot_id))
        if self.fault is None or self.takes_effect:
            number = len(self.asked)
            copied = Snapshot(f"snap-{region}-{number}", "pending", self.now, "vol-ffffffff", 80, 0, dict(tags))
            self.by_region.setdefault(region, {})[copied.id] = copied
        if self.fault is not None:
            raise self.fault

    def end(self, region: str, state: str = "completed") -> None:
        """What EC2 does in its own time, with every copy that is still under way there."""
        for copied in self.by_region.get(region, {}).values():
            if copied.state == "pending":
                self.by_region[region][copied.id] = replace(copied, state=state, progress=100)


@dataclass
class FakeAccount:
    """Everything is there and allowed; a test says what is not. What is `unseen` raises what it says, by name."""

    keys: dict[str, KmsKey] = field(default_factory=dict)
    default: str = "key-1"
    limits: dict[tuple[str, QuotaName], float] = field(default_factory=dict)
    used: dict[tuple[str, QuotaName], float] = field(default_factory=dict)
    missing_parameters: set[str] = field(default_factory=set)
    unseen: dict[str, EbbtideError] = field(default_factory=dict)

    def default_key(self, region: str) -> str:
        return self._seen(f"{self.default} of {region}") and self.default

    def look_at_key(self, region: str, key_id: str) -> KmsKey:
        return self.keys.get(self._seen(key_id), KmsKey(key_id, region, ENABLED))

    def find_quota(self, region: str, name: QuotaName) -> Quota:
        place = (region, QuotaName(self._seen(name)))
        return Quota(name, region, self.limits.get(place, 1_000_000), self.used.get(place, 0))

    def vcpus_of(self, instance_types: Iterable[str]) -> Mapping[str, int]:
        return dict.fromkeys(instance_types, 2)

    def has_parameter(self, name: str) -> bool:
        return self._seen(name) not in self.missing_parameters

    def _seen(self, what: str) -> str:
        if what in self.unseen:
            raise self.unseen[what]
        return what


@dataclass
class FakeAddress:
    names: dict[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()

    def current(self, name: str) -> str | None:
        return self.names.get(name)

    def point(self, name: str, address: str) -> None:
        self.names[name] = address

    def open_to(self) -> tuple[str, ...]:
        return self.networks

    def allow(self, networks: Sequence[str]) -> None:
        self.networks = tuple(networks)

    def admit(self, networks: Sequence[str]) -> None:
        self.networks = tuple(sorted({*self.networks, *networks}))


@dataclass
class FakeEntrances:
    open: frozenset[Way] = frozenset()

    def ways(self) -> frozenset[Way]:
        return self.open

    def set(self, ways: Collection[Way]) -> None:
        self.open = frozenset(ways)


@dataclass
class FakeArchive:
    objects: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def copy_to(self, file: IO[bytes], key: str) -> None:
        file.write(self.objects[key])

    def put_once(self, key: str, body: bytes) -> bool:
        return put_if_absent(self.objects, key, body)

    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        return sorted([key for key in self.objects if key.startswith(prefix) and key > after])[:most]


@dataclass
class ArchiveThatShowsLittle(FakeArchive):
    def list(self, prefix: str, after: str = "", most: int | None = None) -> list[str]:
        assert most is not None, f"{prefix} is listed to its end"
        return super().list(prefix, after, most)


@dataclass
class FakeCatalog:
    version: str | None = None
    runs: dict[RunId, Run] = field(default_factory=dict)
    results: dict[tuple[RunId, str], HostResult] = field(default_factory=dict)
    points: dict[tuple[str, str], RestorePoint] = field(default_factory=dict)
    recoveries: dict[RecoveryId, Recovery] = field(default_factory=dict)
    copy_intents: dict[tuple[str, str], CopyIntent] = field(default_factory=dict)
    copying: dict[str, Copying] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    pruning: Pruning | None = None
    preflight: Preflight | None = None
    told: dict[str, Told] = field(default_factory=dict)

    def policy_version(self) -> str | None:
        return self.version

    def set_policy_version(self, version: str, expected: str | None) -> bool:
        if self.version != expected:
            return False
        self.version = version
        return True

    def open_run(self, run: Run) -> bool:
        others = (each for each in self.runs.values() if each.id.receiver == run.id.receiver)
        if not run.state.is_final and any(not each.state.is_final for each in others):
            return False
        return put_if_absent(self.runs, run.id, run)

    def get_run(self, run_id: RunId) -> Run:
        return self.runs[run_id]

    def find_runs(self, receiver: str, limit: int = 10) -> list[Run]:
        runs = [run for run_id, run in self.runs.items() if run_id.receiver == receiver]
        return sorted(runs, key=lambda run: (run.id.day, run.id.attempt), reverse=True)[:limit]

    def save_run(self, run: Run) -> Run | None:
        if self.runs[run.id].version != run.version:
            return None
        self.runs[run.id] = replace(run, version=run.version + 1)
        return self.runs[run.id]

    def record_result(self, result: HostResult) -> bool:
        return put_if_absent(self.results, (result.run, result.id), result)

    def find_results(self, run_id: RunId) -> list[HostResult]:
        return sorted([each for (run, _), each in self.results.items() if run == run_id], key=lambda each: each.id)

    def record_point(self, point: RestorePoint) -> None:
        self.points.setdefault((point.host_id, point.snapshot_id), point)

    def find_points(self, host_id: str | None = None) -> list[RestorePoint]:
        points = [point for point in self.points.values() if host_id in (None, point.host_id)]
        return sorted(points, key=lambda point: (point.at, point.host_id, point.snapshot_id))

    def forget_points(self, snapshot_id: str, host_ids: Iterable[str]) -> None:
        for host_id in host_ids:
            self.points.pop((host_id, snapshot_id), None)

    def mark_proven(self, point: RestorePoint) -> None:
        if (key := (point.host_id, point.snapshot_id)) in self.points:
            self.points[key] = replace(self.points[key], proven=point.proven)

    def open_recovery(self, recovery: Recovery) -> bool:
        return put_if_absent(self.recoveries, recovery.id, recovery)

    def get_recovery(self, recovery_id: RecoveryId) -> Recovery:
        return self.recoveries[recovery_id]

    def find_recoveries(self, host_id: str | None = None) -> list[Recovery]:
        found = [recovery for recovery in self.recoveries.values() if host_id in (None, recovery.id.host_id)]
        return sorted(found, key=lambda recovery: recovery.id)

    def save_recovery(self, recovery: Recovery) -> Recovery | None:
        if self.recoveries[recovery.id].version != recovery.version:
            return None
        self.recoveries[recovery.id] = replace(recovery, version=recovery.version + 1)
        return self.recoveries[recovery.id]

    def find_copy_intents(self) -> list[CopyIntent]:
        return [intent for _, intent in sorted(self.copy_intents.items())]

    def save_copy_intent(self, intent: CopyIntent) -> CopyIntent | None:
        key = (intent.region, intent.snapshot_id)
        stored = self.copy_intents.get(key)
        if (stored.version if stored else 0) != intent.version:
            return None
        self.copy_intents[key] = replace(intent, version=intent.version + 1)
        return self.copy_intents[key]

    def forget_copy_intent(self, intent: CopyIntent) -> None:
        self.copy_intents.pop((intent.region, intent.snapshot_id), None)

    def find_copying(self) -> list[Copying]:
        return [each for _, each in sorted(self.copying.items())]

    def save_copying(self, copying: Copying) -> Copying | None:
        stored = self.copying.get(copying.place)
        if (stored.version if stored else 0) != copying.version:
            return None
        self.copying[copying.place] = replace(copying, version=copying.version + 1)
        return self.copying[copying.place]

    def find_lease(self, name: str) -> Lease | None:
        return self.leases.get(name)

    def save_lease(self, lease: Lease) -> Lease | None:
        stored = self.leases.get(lease.name)
        if (stored.version if stored else 0) != lease.version:
            return None
        self.leases[lease.name] = replace(lease, version=lease.version + 1)
        return self.leases[lease.name]

    def record_pruning(self, pruning: Pruning) -> None:
        self.pruning = max(pruning, self.pruning or pruning, key=lambda each: each.at)

    def find_pruning(self) -> Pruning | None:
        return self.pruning

    def record_preflight(self, preflight: Preflight) -> None:
        self.preflight = max(preflight, self.preflight or preflight, key=lambda each: each.at)

    def find_preflight(self) -> Preflight | None:
        return self.preflight

    def find_told(self) -> list[Told]:
        return [self.told[about] for about in sorted(self.told)]

    def save_told(self, told: Told) -> Told | None:
        stored = self.told.get(told.about)
        if (stored.version if stored else 0) != told.version:
            return None
        self.told[told.about] = replace(told, version=told.version + 1)
        return self.told[told.about]


@dataclass
class FakeLambdas:
    invoked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def invoke_later(self, function: str, payload: Mapping[str, Any]) -> None:
        self.invoked.append((function, payload))


@dataclass
class FakeAlarms:
    """Keeps what was published. `fault` is raised instead, for as long as it is set."""

    published: list[tuple[str, str, str]] = field(default_factory=list)
    fault: EbbtideError | None = None

    def publish(self, topic: str, subject: str, body: str) -> None:
        if self.fault:
            raise self.fault
        self.published.append((topic, subject, body))

    @property
    def subjects(self) -> list[str]:
        return [subject for _, subject, _ in self.published]


@dataclass
class FakeWatch:
    """Keeps who was pinged. `fault` is raised instead, for as long as it is set."""

    pinged: list[str] = field(default_factory=list)
    fault: EbbtideError | None = None

    def ping(self, url: str) -> None:
        if self.fault:
            raise self.fault
        self.pinged.append(url)


@dataclass
class FakeBus:
    """Keeps what was sent. `fault` is raised instead, for as long as it is set."""

    sent: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    fault: EbbtideError | None = None

    def send(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        if self.fault:
            raise self.fault
        self.sent.append((detail_type, detail))


@dataclass(frozen=True)
class FakeWorld(World):
    """A world whose ports a test may look into."""

    machines: FakeMachines
    volumes: FakeVolumes
    copies: FakeCopies
    address: FakeAddress
    entrances: FakeEntrances
    archive: FakeArchive
    receipts: FakeArchive
    catalog: FakeCatalog
    account: FakeAccount
    lambdas: FakeLambdas
    alarms: FakeAlarms
    watch: FakeWatch
    bus: FakeBus


def a_world(archive: FakeArchive | None = None, catalog: FakeCatalog | None = None) -> FakeWorld:
    """Nothing in it yet. Every call of its own makes a world of its own."""
    machines = FakeMachines()
    archive = archive or FakeArchive()
    return FakeWorld(
        machines=machines,
        volumes=FakeVolumes(machines),
        copies=FakeCopies(),
        address=FakeAddress(),
        entrances=FakeEntrances(),
        archive=archive,
        receipts=archive,
        catalog=catalog or FakeCatalog(),
        account=FakeAccount(),
        lambdas=FakeLambdas(),
        alarms=FakeAlarms(),
        watch=FakeWatch(),
        bus=FakeBus(),
        new_nonce=some_nonces(),
        settings=some_settings(),
    )


def some_nonces() -> Callable[[], str]:
    """Each another one."""
    return partial(next, map("{:032x}".format, count(1)))


def without_end(world: FakeWorld) -> FakeWorld:
    """The same world, in which nobody may list all that lies anywhere in the archive."""
    return replace(world, archive=ArchiveThatShowsLittle(world.archive.objects))


def some_settings() -> Settings:
    return Settings(
        receiver_group="sg-receiver",
        drill_group="sg-drill",
        restore_group="sg-restore",
        subnets=("subnet-a", "subnet-b"),
        bucket="ebbtide-archive",
        region="us-east-1",
        other_template="lt-other",
        image_profile="arn:aws:iam::123456789012:instance-profile/image",
        agent="agent/ebbtide-agent.pyz",
    )


class Crash(Exception):
    """The process died here: deliberately no error of ours, so that nothing handles it."""


@dataclass
class Fuse:
    """Blows at the nth call of any port, before or after the call took effect; every other call goes through.

    `for_good`: none goes through after it either, as when the process is killed and cleans up nothing.
    """

    at: int
    after: bool
    for_good: bool = False
    calls: int = 0
    has_blown: bool = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*given: Any, **named: Any) -> Any:
            if self.for_good and self.has_blown:
                self._blow()
            self.calls += 1
            blows = self.calls == self.at
            if blows and not self.after:
                self._blow()
            answer = call(*given, **named)
            if blows:
                self._blow()
            return answer

        return guarded

    def _blow(self) -> None:
        self.has_blown = True
        raise Crash(f"at call {self.at}")


@dataclass(frozen=True)
class Fused:
    """A port whose every call passes the fuse."""

    port: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Any:
        return self.fuse.around(getattr(self.port, name))


def a_fused_world(world: FakeWorld, fuse: Fuse) -> World:
    """The same world, one call of which ends the process."""
    return World(
        machines=Fused(world.machines, fuse),
        volumes=Fused(world.volumes, fuse),
        copies=Fused(world.copies, fuse),
        address=Fused(world.address, fuse),
        entrances=Fused(world.entrances, fuse),
        archive=Fused(world.archive, fuse),
        receipts=Fused(world.receipts, fuse),
        catalog=Fused(world.catalog, fuse),
        account=Fused(world.account, fuse),
        lambdas=Fused(world.lambdas, fuse),
        alarms=Fused(world.alarms, fuse),
        watch=Fused(world.watch, fuse),
        bus=Fused(world.bus, fuse),
        new_nonce=world.new_nonce,
        settings=world.settings,
    )
