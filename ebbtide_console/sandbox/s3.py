"""S3: moto's objects, each written through to a file before its upload is acknowledged."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.s3.models import FakeKey, S3Backend
from moto.s3.responses import S3Response

from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import ObjectRecord, Store


class Objects:
    """Buckets and objects of the account. A bucket that came back from disk may be created once more."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region
        self._unclaimed: set[str] = set()
        self._lock = threading.RLock()  # a conditional write looks and writes in one step

    def install(self, overrides: Overrides) -> None:
        """Take over moto's writes and deletions."""
        self._moto_create_bucket = overrides.replace(S3Backend, "create_bucket", self._create_bucket)
        self._moto_delete_bucket = overrides.replace(S3Backend, "delete_bucket", self._delete_bucket)
        self._moto_complete = overrides.replace(S3Backend, "complete_multipart_upload", self._complete_upload)
        self._moto_copy = overrides.replace(S3Backend, "copy_object", self._copy_object)
        self._moto_delete = overrides.replace(S3Backend, "delete_object", self._delete_object)
        self._answer_put = overrides.replace(S3Response, "put_object", self._put_asked_for)

    def load(self, backend: Any) -> None:
        """Bring back every bucket that held an object."""
        for name in self._store.buckets():
            bucket = self._moto_create_bucket(backend, name, self._region)
            self._unclaimed.add(name)
            for record in self._store.objects(name):
                bucket.keys[record.key] = _restored(record, backend.account_id, self._region)

    def _create_bucket(self, backend: Any, bucket_name: str, region_name: str, *args: Any, **kwargs: Any) -> Any:
        if bucket_name in self._unclaimed:
            self._unclaimed.discard(bucket_name)
            return backend.buckets[bucket_name]
        return self._moto_create_bucket(backend, bucket_name, region_name, *args, **kwargs)

    def _delete_bucket(self, backend: Any, bucket_name: str) -> Any:
        deleted = self._moto_delete_bucket(backend, bucket_name)
        if bucket_name not in backend.buckets:
            self._store.forget_bucket(bucket_name)
        return deleted

    def _put_asked_for(self, response: Any) -> Any:
        bucket, key = response.bucket_name, response.parse_key_name()
        with self._lock, self._written_through(response.backend, bucket, key):
            return self._answer_put(response)

    def _complete_upload(self, backend: Any, bucket_name: str, multipart_id: str, body: Any) -> Any:
        key = backend.get_bucket(bucket_name).multiparts[multipart_id].key_name
        with self._lock, self._written_through(backend, bucket_name, key):
            return self._moto_complete(backend, bucket_name, multipart_id, body)

    def _copy_object(self, backend: Any, src_key: Any, dest_bucket_name: str, dest_key_name: str, **rest: Any) -> None:
        with self._lock, self._written_through(backend, dest_bucket_name, dest_key_name):
            self._moto_copy(backend, src_key, dest_bucket_name, dest_key_name, **rest)

    def _delete_object(self, backend: Any, bucket_name: str, key_name: str, *args: Any, **kwargs: Any) -> Any:
        with self._lock, self._written_through(backend, bucket_name, key_name):
            return self._moto_delete(backend, bucket_name, key_name, *args, **kwargs)

    @contextmanager
    def _written_through(self, backend: Any, bucket: str, key: str) -> Iterator[None]:
        """After a change, the file says what moto says; if it cannot be written, moto forgets the object too."""
        yield
        now = backend.get_bucket(bucket).keys.get(key)
        if not isinstance(now, FakeKey):
            self._store.forget_object(bucket, key)
            return
        try:
            self._store.save_object(_record(bucket, now))
        except OSError:
            backend.get_bucket(bucket).keys.pop(key)
            raise


def _record(bucket: str, key: Any) -> ObjectRecord:
    return ObjectRecord(
        bucket=bucket,
        key=key.name,
        modified=key.last_modified,
        etag=key.etag.strip('"'),
        metadata=dict(key.metadata),
        body=key.value,
    )


def _restored(record: ObjectRecord, account: str, region: str) -> Any:
    key = FakeKey(
        name=record.key,
        value=record.body,
        account_id=account,
        region_name=region,
        bucket_name=record.bucket,
        etag=record.etag,
        version_id="null",
    )
    key.set_metadata(dict(record.metadata))
    key.last_modified = record.modified
    return key
