"""EBS's locks on snapshots in compliance mode, which moto does not have. They end with the sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from ebbtide_console.sandbox.clock import Clock
from ebbtide_console.sandbox.overrides import Overrides

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
MOST_DAYS, MOST_HOURS = 36500, 72


@dataclass(frozen=True)
class _Lock:
    created: datetime
    days: int
    hours: int | None

    @property
    def ends(self) -> datetime:
        return self.created + timedelta(days=self.days)

    @property
    def cool_off(self) -> datetime:
        return self.created + timedelta(hours=self.hours or 0)


class Locks:
    """Those of all regions: a snapshot's id is its own everywhere."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: dict[str, _Lock] = {}

    def install(self, overrides: Overrides) -> None:
        """Lock, show what is locked, and refuse to delete it."""
        overrides.add(ElasticBlockStore, "lock_snapshot", self._lock)
        overrides.add(ElasticBlockStore, "describe_locked_snapshots", self._describe)
        self._moto_delete = overrides.replace(EC2Backend, "delete_snapshot", self._delete)

    def _lock(self, response: Any) -> Any:
        snapshot = response.ec2_backend.get_snapshot(response._get_param("SnapshotId"))
        asked = _asked(response, self._clock.now())
        before = self._locks.get(snapshot.id)
        if before and self._state(before) == "compliance":
            if asked.hours is not None or asked.days < before.days:
                raise EC2ClientError("InvalidParameterCombination", f"The lock of {snapshot.id} can only be extended.")
            asked = replace(before, days=asked.days)
        self._locks[snapshot.id] = asked
        return ActionResult(self._shown(snapshot.id, asked))

    def _describe(self, response: Any) -> Any:
        ours = response.ec2_backend.snapshots
        return ActionResult({"Snapshots": [self._shown(each, it) for each, it in self._locks.items() if each in ours]})

    def _delete(self, backend: Any, snapshot_id: str) -> Any:
        lock = self._locks.get(snapshot_id)
        if lock and self._state(lock) != "expired":
            raise EC2ClientError("OperationNotPermitted", f"The snapshot {snapshot_id} is locked until {lock.ends}.")
        return self._moto_delete(backend, snapshot_id)

    def _state(self, lock: _Lock) -> str:
        now = self._clock.now()
        if now >= lock.ends:
            return "expired"
        return "compliance" if now >= lock.cool_off else "compliance-cooloff"

    def _shown(self, snapshot_id: str, lock: _Lock) -> Mapping[str, Any]:
        return {
            "SnapshotId": snapshot_id,
            "LockState": self._state(lock),
            "LockDuration": lock.days,
            "LockCreatedOn": lock.created,
            "LockExpiresOn": lock.ends,
            "CoolOffPeriod": lock.hours,
            "CoolOffPeriodExpiresOn": lock.cool_off,
        }


def _asked(response: Any, now: datetime) -> _Lock:
    mode, days, hours = (response._get_param(name) for name in ("LockMode", "LockDuration", "CoolOffPeriod"))
    if mode != "compliance":
        raise EC2ClientError("UnsupportedOperation", "The sandbox knows no lock but in compliance mode.")
    lock = _Lock(now, int(days), None if hours is None else int(hours))
    if not (1 <= lock.days <= MOST_DAYS and (lock.hours is None or 1 <= lock.hours <= MOST_HOURS)):
        raise EC2ClientError("InvalidParameterValue", f"No lock is for {days} days with {hours} hours to cool off.")
    return lock
