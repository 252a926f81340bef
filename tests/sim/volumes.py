"""EBS in memory: client tokens, zones, limits on snapshots, states that take time, and the truth of what is inside."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.disk import GIB
from chalicelib.core.model import Disk, Snapshot, SnapshotLock, Volume
from chalicelib.errors import PermanentError, TransientError
from tests.fakes import carries
from tests.sim.clock import Agenda
from tests.sim.faults import FaultPlan, of_list
from tests.sim.machines import TO_SHUT_DOWN, Box, Emit, SimMachines
from tests.sim.story import Story

TO_CREATE = timedelta(seconds=5)
# Pending snapshots of one gp3 volume, and the time between two of them (ConcurrentSnapshotLimitExceeded,
# SnapshotCreationPerVolumeRateExceeded).
MOST_PENDING = 5
BETWEEN_SNAPSHOTS = timedelta(seconds=15)
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
BETWEEN_GROWTHS = timedelta(hours=6)

MIXED = "mixed"


@dataclass
class SimVolumes:
    """EBS. `content` is the truth of what a volume or snapshot holds: each host's id, and the run it is complete of.

    What is among `damaged` has a file system that fsck cannot mend, and so has what is made from it; what is among
    `latent` as well says that it is clean.
    """

    machines: SimMachines
    agenda: Agenda
    plan: FaultPlan
    story: Story
    emit: Emit
    place: str = ""
    on_delete: Callable[[str], None] = lambda snapshot_id: None
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    content: dict[str, dict[str, str]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    locks: list[SnapshotLock] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    latent: set[str] = field(default_factory=set)
    used_gib: float = 20
    _asked: dict[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)
    _shows: dict[str, datetime] = field(default_factory=dict)
    _devices: dict[str, datetime] = field(default_factory=dict)
    _grown: dict[str, datetime] = field(default_factory=dict)
    _growing: dict[str, datetime] = field(default_factory=dict)
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.machines.on_ended.append(self._let_go)
        for each in self.plan.rots:
            self.agenda.after(each.after, lambda rot=each: self._damage(rot.snapshots, rot.is_latent))

    def _damage(self, snapshots: int, is_latent: bool) -> None:
        newest = sorted(self.snapshots, reverse=True)[:snapshots]
        self.damaged |= {*self.volumes, *newest}
        self.latent |= {*self.volumes, *newest} if is_latent else set()
        self.story.tell(f"damaged are {', '.join(sorted(self.damaged))}")

    def _damage_alike(self, made: str, source: str | None) -> None:
        for each in (self.damaged, self.latent):
            each |= {made} if source in each else set()

    @property
    def taken(self) -> int:
        """How many snapshots there ever were: a pruned one counts too."""
        return sum(each.startswith("snap-") for each in self.content)

    # -- volumes

    def find_volumes(self, tags: Mapping[str, str]) -> list[Volume]:
        return [volume for volume in self.volumes.values() if self._is_shown(volume.id) and carries(volume.tags, tags)]

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
        wanted = (zone, size_gib, kind, tuple(sorted(tags.items())), snapshot_id, rate)
        if token in self._asked:
            return self._created_before(token, wanted)
        if snapshot_id is not None and snapshot_id not in self.snapshots:
            raise PermanentError(f"InvalidSnapshot.NotFound: {snapshot_id}")
        volume = Volume(self._new_id("vol"), "creating", zone, size_gib, None, dict(tags))
        self.volumes[volume.id] = volume
        self.content[volume.id] = dict(self.content.get(snapshot_id or "", {}))
        self._damage_alike(volume.id, snapshot_id)
        self._asked[token] = (wanted, volume.id)
        self._show_later(volume.id)
        self.story.tell(f"    EBS makes {volume.id} from {snapshot_id or 'nothing'}")
        self.agenda.after(TO_CREATE, lambda: self._change(volume.id, state="available"))
        return volume

    def _created_before(self, token: str, wanted: tuple[object, ...]) -> Volume:
        before, volume_id = self._asked[token]
        if before != wanted:
            raise PermanentError(f"IdempotentParameterMismatch: the token of {volume_id} with another request")
        if volume_id not in self.volumes:
            raise PermanentError(f"InvalidVolume.NotFound: {volume_id}")
        return self.volumes[volume_id]

    def grow(self, volume_id: str, size_gib: int) -> None:
        """It never shrinks, and not twice within hours; the new size is there when EBS is done with it."""
        volume = self._get(volume_id)
        if size_gib < volume.size_gib:
            raise PermanentError(f"InvalidParameterValue: {volume_id} has {volume.size_gib} GiB")
        if self.agenda.now < self._grown.get(volume_id, self.agenda.now - BETWEEN_GROWTHS) + BETWEEN_GROWTHS:
            raise PermanentError(f"VolumeModificationRateExceeded: {volume_id}")
        self._grown[volume_id], self._growing[volume_id] = self.agenda.now, self.agenda.now + self.plan.pace.to_grow
        self.story.tell(f"    EBS lets {volume_id} grow to {size_gib} GiB")
        self.agenda.after(self.plan.pace.to_grow, lambda: self._change(volume_id, size_gib=size_gib))

    def is_growing(self, volume_id: str) -> bool:
        return self.agenda.now < self._growing.get(volume_id, self.agenda.now)

    def attach(self, volume_id: str, machine_id: str) -> None:
        volume, box = self._get(volume_id), self.machines.boxes.get(machine_id)
        if box is None:
            raise PermanentError(f"InvalidInstanceID.NotFound: {machine_id}")
        if volume.attached_to == machine_id:
            return
        if volume.zone != box.machine.zone:
            raise PermanentError(f"InvalidVolume.ZoneMismatch: {volume_id} in {volume.zone}")
        if volume.state != "available":
            raise TransientError(f"VolumeInUse: {volume_id} is {volume.state}")
        if box.machine.state != "running":
            raise TransientError(f"IncorrectState: {machine_id} is {box.machine.state}")
        self._change(volume_id, state="in-use", attached_to=machine_id)
        self._devices[volume_id] = self.agenda.now + box.life.sees_disks_in
        self.story.tell(f"    {volume_id} attaches to {machine_id}")

    def measure(self, volume_id: str) -> Disk:
        """As the receiver does when it lets go; `used_gib` is what a test says that hosts have pushed."""
        size, used = (int(gib * GIB) for gib in (self.volumes[volume_id].size_gib, self.used_gib))
        return Disk(size, used, size - used, inodes=1_000_000, inodes_used=1000)

    def has_device(self, volume_id: str, machine_id: str) -> bool:
        """Whether the machine sees the disk: an attachment may hang."""
        volume = self.volumes.get(volume_id)
        return volume is not None and volume.attached_to == machine_id and self.agenda.now >= self._devices[volume_id]

    def _let_go(self, box: Box) -> None:
        for volume in list(self.volumes.values()):
            if volume.attached_to == box.machine.id:
                self.agenda.after(TO_SHUT_DOWN + self.plan.pace.to_detach, lambda each=volume: self._detach(each.id))

    def _detach(self, volume_id: str) -> None:
        if volume_id in self.volumes:
            self._change(volume_id, state="available", attached_to=None)
            self.story.tell(f"{volume_id} is available")

    def delete_volume(self, volume_id: str) -> None:
        volume = self.volumes.get(volume_id)
        if volume is not None and volume.attached_to:
            raise TransientError(f"VolumeInUse: {volume_id} at {volume.attached_to}")
        if self.volumes.pop(volume_id, None):
            self.story.tell(f"    {volume_id} is deleted")

    # -- snapshots

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        return [each for each in self.snapshots.values() if self._is_shown(each.id) and carries(each.tags, tags)]

    def get_snapshot(self, snapshot_id: str) -> Snapshot:
        if snapshot_id not in self.snapshots or not self._is_shown(snapshot_id):
            raise KeyError(snapshot_id)
        return self.snapshots[snapshot_id]

    def find_locks(self) -> list[SnapshotLock]:
        return list(self.locks)

    def lock(self, snapshot_id: str, days: int) -> None:
        self.locks.append(SnapshotLock(snapshot_id, "compliance-cooloff", self.agenda.now + timedelta(days=days)))

    def find_images(self) -> dict[str, str]:
        return dict(self.images)

    def find_shared(self, snapshot_ids: Iterable[str], but: str | None = None) -> frozenset[str]:
        return frozenset(snapshot_ids) & self.shared

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        """The point in time is the request's; what is written to the volume afterwards is not in it."""
        volume = self._get(volume_id)
        self._limit(volume_id)
        return self._begin(volume, self.content[volume_id], tags, "createSnapshot", lambda: True)

    def receive_copy(
        self, source: Snapshot, content: Mapping[str, str], tags: Mapping[str, str], is_there: Callable[[], bool]
    ) -> None:
        """Of another region's snapshot, which has to be there until this one is complete."""
        volume = Volume("vol-ffffffff", "", "", source.size_gib, None)
        self._begin(volume, content, tags, "copySnapshot", is_there)

    def _begin(
        self,
        volume: Volume,
        content: Mapping[str, str],
        tags: Mapping[str, str],
        event: str,
        ends_well: Callable[[], bool],
    ) -> Snapshot:
        is_bad = of_list(self.plan.bad_snapshots, self.taken, False)
        now = self.agenda.now
        snapshot = Snapshot(self._new_id("snap"), "pending", now, volume.id, volume.size_gib, 0, dict(tags))
        self.snapshots[snapshot.id] = snapshot
        self.content[snapshot.id] = dict(content)
        self._damage_alike(snapshot.id, volume.id)
        self._show_later(snapshot.id)
        self.story.tell(f"    EBS begins {snapshot.id} of {volume.id}")
        self.agenda.after(
            self.plan.pace.to_snapshot, lambda: self._finish(snapshot.id, event, ends_well() and not is_bad)
        )
        return snapshot

    def _limit(self, volume_id: str) -> None:
        of_volume = [each for each in self.snapshots.values() if each.volume_id == volume_id]
        if sum(each.state == "pending" for each in of_volume) >= MOST_PENDING:
            raise TransientError(f"ConcurrentSnapshotLimitExceeded: {volume_id}")
        if any(self.agenda.now < each.started + BETWEEN_SNAPSHOTS for each in of_volume):
            raise TransientError(f"SnapshotCreationPerVolumeRateExceeded: {volume_id}")

    def _finish(self, snapshot_id: str, event: str, is_good: bool) -> None:
        if snapshot_id not in self.snapshots:
            return
        ended = {"state": "completed", "progress": 100} if is_good else {"state": "error"}
        self.snapshots[snapshot_id] = replace(self.snapshots[snapshot_id], **ended)
        self.story.tell(f"{snapshot_id} is {ended['state']}")
        result = "succeeded" if is_good else "failed"
        detail = {"event": event, "result": result, "snapshot_id": f"arn:aws:ec2::x:snapshot/{snapshot_id}"}
        self.emit("aws.ec2", "EBS Snapshot Notification", detail)

    def delete_snapshot(self, snapshot_id: str) -> None:
        if any(lock.snapshot_id == snapshot_id for lock in self.locks):
            raise PermanentError(f"SnapshotLocked: {snapshot_id}")
        if snapshot_id in self.images:
            raise PermanentError(f"InvalidSnapshot.InUse: {snapshot_id} is of {self.images[snapshot_id]}")
        if snapshot_id in self.snapshots:
            self.on_delete(snapshot_id)
            del self.snapshots[snapshot_id]
            self.deleted.add(snapshot_id)
            self.story.tell(f"    {snapshot_id} is deleted")

    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        if resource_id in self.volumes:
            self._change(resource_id, tags={**self.volumes[resource_id].tags, **tags})
        elif resource_id in self.snapshots:
            snapshot = self.snapshots[resource_id]
            self.snapshots[resource_id] = replace(snapshot, tags={**snapshot.tags, **tags})
        else:
            raise PermanentError(f"InvalidID: there is no {resource_id}")

    # -- both

    def _new_id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}-{self.place}{self._numbers:04d}"

    def _show_later(self, resource_id: str) -> None:
        self._shows[resource_id] = self.agenda.now + self.plan.pace.to_show

    def _is_shown(self, resource_id: str) -> bool:
        return self.agenda.now >= self._shows.get(resource_id, self.agenda.now)

    def _get(self, volume_id: str) -> Volume:
        if volume_id not in self.volumes:
            raise PermanentError(f"InvalidVolume.NotFound: {volume_id}")
        return self.volumes[volume_id]

    def _change(self, volume_id: str, **changed: Any) -> None:
        if volume_id in self.volumes:
            self.volumes[volume_id] = replace(self.volumes[volume_id], **changed)
