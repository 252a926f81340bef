"""What survives the sandbox: volumes and snapshots, S3 objects and parameters, one file each, written whole or not.

A record that does not say its region is of the first one.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ebbtide_console.sandbox import geography

SCHEMA = 1
_LONGEST_NAME = 200
_HALF_WRITTEN = "+new-"  # no name of ours has a plus: quote() escapes it


class Phase(StrEnum):
    """How far a disk is. Only the second half survives: a disk in the first half was never acknowledged, or is gone."""

    CREATING = "creating"
    DELETING = "deleting"
    PENDING = "pending"
    READY = "ready"

    @property
    def survives(self) -> bool:
        return self in (Phase.PENDING, Phase.READY)


@dataclass(frozen=True)
class VolumeRecord:
    """A volume as it must come back."""

    id: str
    phase: Phase
    size_gib: int
    zone: str
    kind: str
    created: datetime
    snapshot_id: str | None
    token: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    region: str = geography.FIRST


@dataclass(frozen=True)
class SnapshotRecord:
    """A snapshot as it must come back."""

    id: str
    phase: Phase
    volume_id: str
    size_gib: int
    description: str
    started: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    region: str = geography.FIRST


@dataclass(frozen=True)
class ObjectRecord:
    """An S3 object, its newest version."""

    bucket: str
    key: str
    modified: datetime
    etag: str
    metadata: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class ParameterRecord:
    """A parameter, its newest version."""

    name: str
    kind: str
    value: str = field(repr=False)
    version: int
    modified: datetime
    description: str | None
    key_id: str | None
    region: str = geography.FIRST


class Store:
    """The state directory's records. Every write replaces a file in one step, so a kill leaves the old or the new."""

    def __init__(self, state: Path) -> None:
        self._disks = state / "records"
        self._objects = state / "s3"
        self._parameters = state / "parameters"
        for folder in (self._disks, self._objects, self._parameters):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for half_written in folder.rglob(f"{_HALF_WRITTEN}*"):
                half_written.unlink()

    def save_disk(self, record: VolumeRecord | SnapshotRecord) -> None:
        _write(self._disks / f"{record.id}.json", _to_json(asdict(record)))

    def forget_disk(self, disk_id: str) -> None:
        (self._disks / f"{disk_id}.json").unlink(missing_ok=True)

    def mark_deleting(self, disk_id: str) -> None:
        """From here on the disk is gone, however far its deletion gets."""
        path = self._disks / f"{disk_id}.json"
        if path.exists():
            _write(path, _to_json({**json.loads(path.read_bytes()), "phase": Phase.DELETING}))

    def volumes(self, region: str) -> list[VolumeRecord]:
        records = (_volume(json.loads(path.read_bytes())) for path in sorted(self._disks.glob("vol-*.json")))
        return [record for record in records if record.region == region]

    def snapshots(self, region: str) -> list[SnapshotRecord]:
        records = (_snapshot(json.loads(path.read_bytes())) for path in sorted(self._disks.glob("snap-*.json")))
        return [record for record in records if record.region == region]

    def save_object(self, record: ObjectRecord) -> None:
        head = {
            "schema": SCHEMA,
            "key": record.key,
            "modified": record.modified.isoformat(),
            "etag": record.etag,
            "metadata": dict(record.metadata),
        }
        _write(self._object_path(record.bucket, record.key), json.dumps(head).encode() + b"\n" + record.body)

    def forget_object(self, bucket: str, key: str) -> None:
        self._object_path(bucket, key).unlink(missing_ok=True)

    def buckets(self) -> list[str]:
        return sorted(folder.name for folder in self._objects.iterdir())

    def objects(self, bucket: str) -> Iterator[ObjectRecord]:
        for path in sorted((self._objects / bucket).glob("*.object")):
            yield _object(bucket, path.read_bytes())

    def forget_bucket(self, bucket: str) -> None:
        """An empty bucket; its objects were forgotten one by one."""
        folder = self._objects / bucket
        if folder.exists():
            folder.rmdir()

    def save_parameter(self, record: ParameterRecord) -> None:
        _write(self._parameter_path(record.region, record.name), _to_json(asdict(record)))

    def forget_parameter(self, region: str, name: str) -> None:
        self._parameter_path(region, name).unlink(missing_ok=True)

    def parameters(self, region: str) -> list[ParameterRecord]:
        records = (_parameter(json.loads(path.read_bytes())) for path in sorted(self._parameters.glob("*.json")))
        return [record for record in records if record.region == region]

    def _object_path(self, bucket: str, key: str) -> Path:
        return self._objects / bucket / f"{_file_name(key)}.object"

    def _parameter_path(self, region: str, name: str) -> Path:
        """A name may be in every region; the first one's files do not say it."""
        place = "" if region == geography.FIRST else f"{region}+"
        return self._parameters / f"{place}{_file_name(name)}.json"


def _file_name(key: str) -> str:
    """Readable and unique: a key may hold anything and be longer than a file name."""
    name = quote(key, safe="")
    return name if len(name) <= _LONGEST_NAME else f"{name[:100]}-{sha256(key.encode()).hexdigest()}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{_HALF_WRITTEN}{os.urandom(8).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _to_json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, **fields}, default=datetime.isoformat, indent=1).encode()


def _from_json(fields: dict[str, Any], *times: str) -> dict[str, Any]:
    if fields.pop("schema") != SCHEMA:
        raise ValueError("a record of the sandbox has an unknown schema")
    return {**fields, **{name: datetime.fromisoformat(fields[name]) for name in times}}


def _volume(fields: dict[str, Any]) -> VolumeRecord:
    return VolumeRecord(**{**_from_json(fields, "created"), "phase": Phase(fields["phase"])})


def _snapshot(fields: dict[str, Any]) -> SnapshotRecord:
    return SnapshotRecord(**{**_from_json(fields, "started"), "phase": Phase(fields["phase"])})


def _parameter(fields: dict[str, Any]) -> ParameterRecord:
    return ParameterRecord(**_from_json(fields, "modified"))


def _object(bucket: str, data: bytes) -> ObjectRecord:
    head, body = data.split(b"\n", 1)
    return ObjectRecord(bucket=bucket, body=body, **_from_json(json.loads(head), "modified"))
