"""EBS: moto's volumes and snapshots, each with a real disk of the substrate behind it."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from chalicelib.errors import EbbtideError
from ebbtide_console.sandbox.bus import Bus
from ebbtide_console.sandbox.clock import Clock, moto_time, wire_time
from ebbtide_console.sandbox.ebs_records import (
    copied_volume,
    restore_snapshot,
    restore_volume,
    snapshot_record,
    volume_record,
)
from ebbtide_console.sandbox.ebs_rules import check_attachable, check_copyable
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import Phase, SnapshotRecord, Store, VolumeRecord
from ebbtide_console.sandbox.substrate import Substrate
from ebbtide_console.sandbox.work import Work

COMPLETES_AFTER = 0.3  # seconds from CreateSnapshot to `completed`
_OVER = ("shutting-down", "terminated", "stopped")


class Disks:
    """Volumes and snapshots of one region.

    A disk is recorded before it is made and committed once its tags are known, just before its caller learns of it:
    whatever kills the sandbox in between leaves a record that says the disk is nobody's.
    """

    def __init__(self, substrate: Substrate, store: Store, clock: Clock, work: Work, bus: Bus) -> None:
        self._substrate = substrate
        self._store = store
        self._clock = clock
        self._work = work
        self._bus = bus
        self._lock = threading.RLock()
        self._thread = threading.local()
        self._tokens: dict[str, str] = {}  # client token → volume id
        self._committed: dict[str, str | None] = {}  # disk id → client token

    def install(self, overrides: Overrides) -> None:
        """Take over moto's volumes and snapshots."""
        self._moto_create_volume = overrides.replace(EC2Backend, "create_volume", self._create_volume)
        self._moto_delete_volume = overrides.replace(EC2Backend, "delete_volume", self._delete_volume)
        self._moto_modify_volume = overrides.replace(EC2Backend, "modify_volume", self._modify_volume)
        self._moto_attach = overrides.replace(EC2Backend, "attach_volume", self._attach)
        self._moto_detach = overrides.replace(EC2Backend, "detach_volume", self._detach)
        self._moto_create_snapshot = overrides.replace(EC2Backend, "create_snapshot", self._create_snapshot)
        self._moto_delete_snapshot = overrides.replace(EC2Backend, "delete_snapshot", self._delete_snapshot)
        self._moto_copy_snapshot = overrides.replace(EC2Backend, "copy_snapshot", self._copy_snapshot)
        self._answer_volume = overrides.replace(ElasticBlockStore, "create_volume", self._volume_asked_for)
        self._answer_snapshot = overrides.replace(ElasticBlockStore, "create_snapshot", self._snapshot_asked_for)
        self._answer_copy = overrides.replace(ElasticBlockStore, "copy_snapshot", self._copy_asked_for)
        for name in ("create_tags", "delete_tags", "delete_tag_keys"):
            self._follow_tags(overrides, name)

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Volumes made within come and go with their instance: no disk, no record."""
        self._thread.scratch = True
        try:
            yield
        finally:
            self._thread.scratch = False

    def load(self, backend: Any) -> None:
        """Bring back what survived, and remove what was never acknowledged or is half deleted."""
        for volume in self._store.volumes(backend.region_name):
            if self._survived(volume):
                restore_volume(backend, volume)
                self._committed[volume.id] = volume.token
                if volume.token:
                    self._tokens[volume.token] = volume.id
        for snapshot in self._store.snapshots(backend.region_name):
            if self._survived(snapshot):
                restore_snapshot(backend, snapshot)
                self._committed[snapshot.id] = None
                self._save(backend, snapshot.id)

    def lose(self, backend: Any) -> None:
        """Every volume and snapshot is gone, whatever it is attached to."""
        for disk_id in [*backend.volumes, *backend.snapshots]:
            self._forget(backend, disk_id)
        backend.volumes.clear()
        backend.snapshots.clear()

    def _survived(self, record: VolumeRecord | SnapshotRecord) -> bool:
        if record.phase.survives and self._substrate.has_disk(record.id):
            return True
        self._substrate.delete_disk(record.id)
        self._store.forget_disk(record.id)
        return False

    def _create_volume(
        self, backend: Any, size: int, zone_name: str, snapshot_id: str | None = None, **rest: Any
    ) -> Any:
        if snapshot_id and backend.get_snapshot(snapshot_id).status != "completed":
            raise EC2ClientError("IncorrectState", f"Snapshot is in invalid state - pending: {snapshot_id}")
        volume = self._moto_create_volume(backend, size, zone_name, snapshot_id, **rest)
        volume.create_time = moto_time(self._clock.now())
        volume.scratch = getattr(self._thread, "scratch", False)
        if not volume.scratch:
            self._store.save_disk(volume_record(volume, Phase.CREATING, None))
            with self._made_whole(volume.id, backend.volumes):
                self._substrate.create_disk(volume.id, int(volume.size), snapshot_id)
        return volume

    def _volume_asked_for(self, response: Any) -> Any:
        """CreateVolume: the same client token never makes a second volume."""
        token = response._get_param("ClientToken")
        backend = response.ec2_backend
        with self._lock:
            known = backend.volumes.get(self._tokens.get(token, ""))
            if known is not None:
                return ActionResult(known)
            answer = self._answer_volume(response)
            self._committed[answer.result.id] = token
            self._save(backend, answer.result.id)
            if token:
                self._tokens[token] = answer.result.id
            return answer

    def _delete_volume(self, backend: Any, volume_id: str) -> Any:
        volume = self._moto_delete_volume(backend, volume_id)
        self._forget(backend, volume_id)
        return volume

    def _modify_volume(self, backend: Any, volume_id: str, target_size: int | None = None, *rest: Any) -> Any:
        """Larger at once, as long as it is attached to nothing: a machine here does not see its disk grow."""
        volume = backend.get_volume(volume_id)
        if volume.attachment is not None:
            raise EC2ClientError("UnsupportedOperation", "The sandbox changes no volume that is attached.")
        if target_size is not None and int(target_size) < int(volume.size):
            raise EC2ClientError("InvalidParameterValue", f"New size cannot be smaller than existing size: {volume_id}")
        changed = self._moto_modify_volume(backend, volume_id, target_size, *rest)
        self._substrate.grow_disk(volume_id, int(changed.size))
        self._save(backend, volume_id)
        return changed

    def _create_snapshot(self, backend: Any, volume_id: str, *args: Any, **kwargs: Any) -> Any:
        snapshot = self._moto_create_snapshot(backend, volume_id, *args, **kwargs)
        return self._fix(backend, snapshot, copy.copy(snapshot.volume), volume_id)  # its size stays what it is now

    def _copy_snapshot(self, backend: Any, source_snapshot_id: str, source_region: str, *args: Any, **kw: Any) -> Any:
        """CopySnapshot, asked of the region that the copy is to be in."""
        with self._lock:
            check_copyable(backend, source_snapshot_id, source_region)
            snapshot = self._moto_copy_snapshot(backend, source_snapshot_id, source_region, *args, **kw)
            snapshot.source = f"arn:aws:ec2::{source_region}:snapshot/{source_snapshot_id}"
            return self._fix(backend, snapshot, copied_volume(backend, snapshot.volume.size), source_snapshot_id)

    def _fix(self, backend: Any, snapshot: Any, volume: Any, disk_id: str) -> Any:
        """The point in time: a pending snapshot, with a disk that is what `disk_id` is now."""
        snapshot.status = "pending"
        snapshot.start_time = moto_time(self._clock.now())
        snapshot.volume = volume
        self._store.save_disk(snapshot_record(snapshot, Phase.CREATING))
        with self._made_whole(snapshot.id, backend.snapshots):
            self._substrate.snapshot_disk(disk_id, snapshot.id)
        return snapshot

    def _snapshot_asked_for(self, response: Any) -> Any:
        """CreateSnapshot: answered with the disk fixed, tags on it, and `pending`."""
        snapshot = self._answer_snapshot(response).result
        snapshot.source = f"arn:aws:ec2::{response.ec2_backend.region_name}:volume/{snapshot.volume_id}"
        self._commit(response.ec2_backend, snapshot, "createSnapshot")
        return ActionResult(copy.copy(snapshot))

    def _copy_asked_for(self, response: Any) -> Any:
        """CopySnapshot: likewise."""
        answer = self._answer_copy(response)
        backend = response.ec2_backend
        self._commit(backend, backend.snapshots[answer.result["SnapshotId"]], "copySnapshot")
        return answer

    def _commit(self, backend: Any, snapshot: Any, event: str) -> None:
        self._committed[snapshot.id] = None
        self._save(backend, snapshot.id)
        self._work.later(COMPLETES_AFTER, partial(self._complete, backend, snapshot, event))

    def _complete(self, backend: Any, snapshot: Any, event: str) -> None:
        if snapshot.id not in backend.snapshots:
            return
        snapshot.status = "completed"
        self._save(backend, snapshot.id)
        # EBS writes these ARNs in two shapes; here are both.
        arn = f"arn:aws:ec2:{backend.region_name}::snapshot/{snapshot.id}"
        detail = {
            "event": event,
            "result": "succeeded",
            "cause": "",
            "request-id": "",
            "snapshot_id": f"arn:aws:ec2::{backend.region_name}:snapshot/{snapshot.id}",
            "source": snapshot.source,
            "startTime": wire_time(snapshot.start_time.replace(tzinfo=self._clock.now().tzinfo)),
            "endTime": wire_time(self._clock.now()),
        }
        self._bus.emit("EBS Snapshot Notification", detail, [arn])

    def _delete_snapshot(self, backend: Any, snapshot_id: str) -> Any:
        snapshot = self._moto_delete_snapshot(backend, snapshot_id)
        self._forget(backend, snapshot_id)
        return snapshot

    def _attach(
        self, backend: Any, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> Any:
        volume, instance = backend.get_volume(volume_id), backend.get_instance(instance_id)
        with self._lock:
            if not volume.scratch:
                check_attachable(volume, instance, device_path)
            attachment = self._moto_attach(backend, volume_id, instance_id, device_path, delete_on_termination)
        if not volume.scratch:
            try:
                self._substrate.attach(instance_id, volume_id)
            except (OSError, EbbtideError) as error:
                self._moto_detach(backend, volume_id, instance_id, device_path)
                raise EC2ClientError("InternalError", f"{volume_id} could not be attached: {error}") from error
        return attachment

    def _detach(self, backend: Any, volume_id: str, instance_id: str, device_path: str) -> Any:
        volume = backend.get_volume(volume_id)
        if volume.scratch or volume.attachment is None:
            return self._moto_detach(backend, volume_id, instance_id, device_path)
        instance = volume.attachment.instance
        if instance.state not in _OVER:
            raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' must be stopped or terminated first here")
        self._substrate.detach(instance.id, volume_id)
        return self._moto_detach(backend, volume_id, instance.id, device_path)

    @contextmanager
    def _made_whole(self, disk_id: str, known: dict[str, Any]) -> Iterator[None]:
        """Take the record and moto's object away again if the disk cannot be made."""
        try:
            yield
        except (OSError, EbbtideError) as error:
            known.pop(disk_id, None)
            self._substrate.delete_disk(disk_id)
            self._store.forget_disk(disk_id)
            raise EC2ClientError("InternalError", f"{disk_id} could not be made: {error}") from error

    def _forget(self, backend: Any, disk_id: str) -> None:
        self._committed.pop(disk_id, None)
        self._store.mark_deleting(disk_id)
        self._substrate.delete_disk(disk_id)
        self._store.forget_disk(disk_id)
        backend.tags.pop(disk_id, None)

    def _follow_tags(self, overrides: Overrides, name: str) -> None:
        """Record a committed disk again whenever its tags change."""

        def change(backend: Any, resource_ids: list[str], tags: Any) -> Any:
            changed = original(backend, resource_ids, tags)
            for disk_id in resource_ids:
                self._save(backend, disk_id)
            return changed

        original = overrides.replace(EC2Backend, name, change)

    def _save(self, backend: Any, disk_id: str) -> None:
        with self._lock:
            if disk_id not in self._committed:
                return
            if disk_id in backend.volumes:
                self._store.save_disk(volume_record(backend.volumes[disk_id], Phase.READY, self._committed[disk_id]))
            elif disk_id in backend.snapshots:
                snapshot = backend.snapshots[disk_id]
                phase = Phase.READY if snapshot.status == "completed" else Phase.PENDING
                self._store.save_disk(snapshot_record(snapshot, phase))
