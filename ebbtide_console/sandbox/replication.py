"""S3's replication: what is written into a bucket whose rules say so is in another one a moment later."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from moto.s3.models import FakeKey

from ebbtide_console.sandbox.work import Work

REPLICATES_AFTER = 0.2  # seconds from a write to its replica; S3 takes seconds, sometimes minutes
ARN = "arn:aws:s3:::"

Write = Callable[[Any, str, Any], None]


class Replication:
    """Delivers through `write(backend, destination, key)`. What comes due while it is stopped waits for resume()."""

    def __init__(self, work: Work, write: Write) -> None:
        self._work = work
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] | None = None

    def stop(self) -> None:
        """Nothing arrives any more."""
        with self._lock:
            self._waiting = self._waiting or []

    def resume(self) -> None:
        """Late, and in whatever order."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
        for arrival in waiting:
            self._work.later(0, arrival)

    def offer(self, backend: Any, bucket: str, name: str) -> None:
        """Send on what was written just now, to wherever its bucket's rules say."""
        for destination in _destinations(backend.get_bucket(bucket), name):
            self._work.later(REPLICATES_AFTER, partial(self._arrive, backend, bucket, name, destination))

    def _arrive(self, backend: Any, bucket: str, name: str, destination: str) -> None:
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(partial(self._arrive, backend, bucket, name, destination))
                return
        source = backend.buckets.get(bucket)
        newest = source.keys.get(name) if source else None
        if isinstance(newest, FakeKey):
            self._write(backend, destination, newest)


def from_template(properties: dict[str, Any]) -> dict[str, Any] | None:
    """A template's ReplicationConfiguration as moto keeps the API's; None when there is none.

    moto leaves None in a list where CloudFormation leaves out what is `AWS::NoValue`.
    """
    configured = properties.get("ReplicationConfiguration")
    if not configured:
        return None
    rules = [{**rule, "ID": rule.get("Id")} for rule in configured["Rules"] if rule]
    return {"Role": configured["Role"], "Rule": rules}


def _destinations(bucket: Any, name: str) -> Iterator[str]:
    for rule in (getattr(bucket, "replication", None) or {}).get("Rule", ()):
        prefix = (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or ""
        if rule["Status"] == "Enabled" and name.startswith(prefix):
            yield rule["Destination"]["Bucket"].removeprefix(ARN)
