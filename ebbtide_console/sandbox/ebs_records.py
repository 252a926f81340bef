"""Moto's volumes and snapshots as records that survive, and back."""

from typing import Any

from moto.ec2.models.elastic_block_store import Snapshot, Volume

from ebbtide_console.sandbox.persistence import Phase, SnapshotRecord, VolumeRecord

COPIED_VOLUME = "vol-ffffffff"  # what EC2 says every copy was taken of: it means nothing


def volume_record(volume: Any, phase: Phase, token: str | None) -> VolumeRecord:
    return VolumeRecord(
        id=volume.id,
        region=volume.ec2_backend.region_name,
        phase=phase,
        size_gib=int(volume.size),
        zone=volume.availability_zone,
        kind=volume.volume_type,
        created=volume.create_time,
        snapshot_id=volume.snapshot_id,
        token=token,
        tags=dict(volume.ec2_backend.tags.get(volume.id, {})),
    )


def snapshot_record(snapshot: Any, phase: Phase) -> SnapshotRecord:
    return SnapshotRecord(
        id=snapshot.id,
        region=snapshot.ec2_backend.region_name,
        phase=phase,
        volume_id=snapshot.volume_id,
        size_gib=int(snapshot.volume_size),
        description=snapshot.description or "",
        started=snapshot.start_time,
        tags=dict(snapshot.ec2_backend.tags.get(snapshot.id, {})),
    )


def copied_volume(backend: Any, size_gib: int) -> Any:
    return Volume(backend, volume_id=COPIED_VOLUME, size=size_gib, zone=None)


def restore_volume(backend: Any, record: VolumeRecord) -> None:
    volume = Volume(
        backend,
        volume_id=record.id,
        size=record.size_gib,
        zone=backend.get_zone_by_name(record.zone),
        snapshot_id=record.snapshot_id,
        volume_type=record.kind,
        iops=3000 if record.kind == "gp3" else None,
    )
    volume.create_time = record.created
    volume.scratch = False
    backend.volumes[record.id] = volume
    backend.tags[record.id] = dict(record.tags)


def restore_snapshot(backend: Any, record: SnapshotRecord) -> None:
    """A pending snapshot's disk was fixed when it was asked for: after a restart it is complete."""
    volume = Volume(backend, volume_id=record.volume_id, size=record.size_gib, zone=None)
    snapshot = Snapshot(backend, record.id, volume, record.description)
    snapshot.start_time = record.started
    backend.snapshots[record.id] = snapshot
    backend.tags[record.id] = dict(record.tags)
