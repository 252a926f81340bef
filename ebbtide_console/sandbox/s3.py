"""S3: moto's objects, each written through to a file before its upload is acknowledged."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.s3.models import FakeBucket, FakeKey, S3Backend, s3_backends
from moto.s3.responses import S3Response

from ebbtide_console.sandbox import geography
from ebbtide_console.sandbox.overrides import Overrides
from ebbtide_console.sandbox.persistence import ObjectRecord, Store
from ebbtide_console.sandbox.replication import Replication, from_template
from ebbtide_console.sandbox.work import Work


class Objects:
    """Buckets and objects of the account. A bucket that came back from disk may be created once more.

    `replication` can be stopped, so that it is late.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self._store = store
        self.replication = Replication(work, self._write_replica)
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
        self._moto_deploy = overrides.replace_maker(FakeBucket, "create_from_cloudformation_json", self._deploy_bucket)

    def load(self, backend: Any) -> None:
        """Bring back every bucket that held an object."""
        for name in self._store.buckets():
            bucket = self._moto_create_bucket(backend, name, geography.FIRST)  # whoever claims it says where it is
            self._unclaimed.add(name)
            for record in self._store.objects(name):
                bucket.keys[record.key] = _restored(record, backend.account_id)

    def replicate_older(self, backend: Any, bucket: str) -> None:
        """S3's Batch Replication: send on all that there is, as it would have been had the rules been there before."""
        for name in list(backend.get_bucket(bucket).keys):
            self.replication.offer(backend, bucket, name)

    def lose(self, backend: Any, region: str) -> None:
        """The region's buckets are gone, with everything in them."""
        for bucket in [each for each in backend.buckets.values() if each.region_name == region]:
            for name in list(bucket.keys):
                self._store.forget_object(bucket.name, name)
            bucket.keys.clear()
            self._delete_bucket(backend, bucket.name)

    def _create_bucket(self, backend: Any, bucket_name: str, region_name: str, *args: Any, **kwargs: Any) -> Any:
        if bucket_name in self._unclaimed:
            self._unclaimed.discard(bucket_name)
            backend.buckets[bucket_name].region_name = region_name
            return backend.buckets[bucket_name]
        return self._moto_create_bucket(backend, bucket_name, region_name, *args, **kwargs)

    def _deploy_bucket(self, name: str, declared: Any, account: str, region: str, **rest: Any) -> Any:
        """With its replication, which moto passes over."""
        bucket = self._moto_deploy(name, declared, account, region, **rest)
        if replication := from_template(declared["Properties"]):
            s3_backends[account]["aws"].put_bucket_replication(name, replication)
        return bucket

    def _write_replica(self, backend: Any, bucket: str, key: Any) -> None:
        """What it was, with its times; a replica is not replicated again."""
        record = _record(bucket, key)
        with self._lock:
            backend.get_bucket(bucket).keys[key.name] = _restored(record, backend.account_id)
            self._store.save_object(record)

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
        self.replication.offer(backend, bucket, key)


def _record(bucket: str, key: Any) -> ObjectRecord:
    return ObjectRecord(
        bucket=bucket,
        key=key.name,
        modified=key.last_modified,
        etag=key.etag.strip('"'),
        metadata=dict(key.metadata),
        body=key.value,
    )


def _restored(record: ObjectRecord, account: str) -> Any:
    key = FakeKey(
        name=record.key,
        value=record.body,
        account_id=account,
        region_name=geography.FIRST,
        bucket_name=record.bucket,
        etag=record.etag,
        version_id="null",
    )
    key.set_metadata(dict(record.metadata))
    key.last_modified = record.modified
    return key
