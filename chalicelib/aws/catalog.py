"""The catalogue in one DynamoDB table, without an index; every write is conditional and every read consistent.

A run is opened together with its receiver's turn, in one transaction: of two that are opened at once one is, whatever
their dates and attempts. Nothing has to be given back, because a closed run stays closed.

| what          | pk                | sk                            | written when                        |
|---------------|-------------------|-------------------------------|-------------------------------------|
| policy        | `policy`          | `current`                     | the version is still the expected   |
| run           | `runs#main`       | `2026-11-23#000001`           | absent; then its version unchanged  |
| whose turn    | `turns`           | `main`                        | absent, or its run is closed        |
| host's result | `results#<run>`   | `us0a`                        | absent: the first one wins          |
| restore point | `points`          | `us0a#snap-0abc`              | absent; to be proven, present       |
| recovery      | `recoveries`      | `us0a#2026-11-23#000001`      | absent; then its version unchanged  |
| copy's intent | `copies`          | `eu-central-1#snap-0abc`      | absent; then its version unchanged  |
| copies' look  | `copying`         | `eu-central-1`                | absent; then its version unchanged  |
| lease         | `leases`          | `prune`, `a restore called …` | absent; then its version unchanged  |
| pruning       | `pruning`         | `latest`                      | absent, or not newer than this one  |
| preflight     | `preflight`       | `latest`                      | absent, or not newer than this one  |
| what was told | `told`            | `host/us0a`                   | absent; then its version unchanged  |

A restore point is some 300 bytes: a hundred hosts with twenty points each are one page of a query.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from chalicelib.aws import items
from chalicelib.aws.clients import Clients
from chalicelib.aws.faults import cancellations_of, code_of, told
from chalicelib.core.ids import parse_run
from chalicelib.core.model import (
    Copying,
    CopyIntent,
    HostResult,
    Lease,
    Pruning,
    Recovery,
    RecoveryId,
    RestorePoint,
    Run,
    RunId,
)
from chalicelib.core.preflight import Preflight
from chalicelib.core.telling import Told

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import QueryInputPaginateTypeDef

_Versioned = TypeVar("_Versioned", CopyIntent, Copying, Lease, Told)

_ABSENT = "attribute_not_exists(pk)"
_NEWEST = "attribute_not_exists(pk) OR pruned <= :pruned"
_NEWEST_LOOK = "attribute_not_exists(pk) OR looked <= :looked"
_UNCHANGED = "version = :version"
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_MOST_AT_ONCE = 25


class DynamoCatalog:
    def __init__(self, clients: Clients, table: str) -> None:
        self._clients = clients
        self._table = table

    # -- policy

    def policy_version(self) -> str | None:
        found = self._get("policy", "current")
        return items.fields(found).text("version") if found else None

    def set_policy_version(self, version: str, expected: str | None) -> bool:
        new = items.item("policy", "current", {"version": version})
        if expected is None:
            return self._put(new, _ABSENT)
        return self._put(new, "version = :expected", {":expected": {"S": expected}})

    # -- runs

    def open_run(self, run: Run) -> bool:
        new = items.item(*_run_key(run.id), items.run_values(run))
        if run.state.is_final:
            return self._put(new, _ABSENT)
        holder = self._turn_of(run.id.receiver)
        if holder is not None and self._is_open(holder):
            return False
        turn = items.item("turns", run.id.receiver, {"run": str(run.id)})
        is_free = ("run = :run", {":run": {"S": str(holder)}}) if holder else (_ABSENT, None)
        return self._put_all([(new, _ABSENT, None), (turn, *is_free)])

    def _turn_of(self, receiver: str) -> RunId | None:
        found = self._get("turns", receiver)
        return parse_run(items.fields(found).text("run")) if found else None

    def _is_open(self, run_id: RunId) -> bool:
        found = self._get(*_run_key(run_id))
        return found is not None and not items.read_run(found).state.is_final

    def get_run(self, run_id: RunId) -> Run:
        found = self._get(*_run_key(run_id))
        if found is None:
            raise KeyError(str(run_id))
        return items.read_run(found)

    def find_runs(self, receiver: str, limit: int = 10) -> list[Run]:
        return [items.read_run(found) for found in self._query(f"runs#{receiver}", newest_first=limit)]

    def save_run(self, run: Run) -> Run | None:
        saved = replace(run, version=run.version + 1)
        is_saved = self._put_next(items.item(*_run_key(run.id), items.run_values(saved)), run.version)
        return saved if is_saved else None

    # -- results

    def record_result(self, result: HostResult) -> bool:
        return self._put(items.item(f"results#{result.run}", result.id, items.result_values(result)), _ABSENT)

    def find_results(self, run_id: RunId) -> list[HostResult]:
        return [items.read_result(found) for found in self._query(f"results#{run_id}")]

    # -- restore points

    def record_point(self, point: RestorePoint) -> None:
        self._put(_point_item(point), _ABSENT)

    def find_points(self, host_id: str | None = None) -> list[RestorePoint]:
        found = self._query("points", f"{host_id}#" if host_id is not None else None)
        return sorted((items.read_point(point) for point in found), key=lambda point: (point.at, point.host_id))

    def forget_points(self, snapshot_id: str, host_ids: Iterable[str]) -> None:
        self._delete_each("points", [_point_key(host_id, snapshot_id) for host_id in host_ids])

    def mark_proven(self, point: RestorePoint) -> None:
        self._put(_point_item(point), "attribute_exists(pk)")

    # -- recoveries

    def open_recovery(self, recovery: Recovery) -> bool:
        return self._put(items.item(*_recovery_key(recovery.id), items.recovery_values(recovery)), _ABSENT)

    def get_recovery(self, recovery_id: RecoveryId) -> Recovery:
        found = self._get(*_recovery_key(recovery_id))
        if found is None:
            raise KeyError(str(recovery_id))
        return items.read_recovery(found)

    def find_recoveries(self, host_id: str | None = None) -> list[Recovery]:
        found = self._query("recoveries", f"{host_id}#" if host_id is not None else None)
        return [items.read_recovery(recovery) for recovery in found]

    def save_recovery(self, recovery: Recovery) -> Recovery | None:
        saved = replace(recovery, version=recovery.version + 1)
        new = items.item(*_recovery_key(recovery.id), items.recovery_values(saved))
        return saved if self._put_next(new, recovery.version) else None

    # -- copies

    def find_copy_intents(self) -> list[CopyIntent]:
        return [items.read_copy_intent(found) for found in self._query("copies")]

    def save_copy_intent(self, intent: CopyIntent) -> CopyIntent | None:
        return self._save(intent, "copies", _copy_key(intent), items.copy_intent_values)

    def forget_copy_intent(self, intent: CopyIntent) -> None:
        self._delete("copies", _copy_key(intent))

    def find_copying(self) -> list[Copying]:
        return [items.read_copying(found) for found in self._query("copying")]

    def save_copying(self, copying: Copying) -> Copying | None:
        return self._save(copying, "copying", copying.place, items.copying_values)

    # -- leases

    def find_lease(self, name: str) -> Lease | None:
        found = self._get("leases", name)
        return items.read_lease(found) if found else None

    def save_lease(self, lease: Lease) -> Lease | None:
        return self._save(lease, "leases", lease.name, items.lease_values)

    # -- alarms

    def record_pruning(self, pruning: Pruning) -> None:
        new = items.item("pruning", "latest", items.pruning_values(pruning))
        self._put(new, _NEWEST, {":pruned": new["pruned"]})

    def find_pruning(self) -> Pruning | None:
        found = self._get("pruning", "latest")
        return items.read_pruning(found) if found else None

    def record_preflight(self, preflight: Preflight) -> None:
        new = items.item("preflight", "latest", items.preflight_values(preflight))
        self._put(new, _NEWEST_LOOK, {":looked": new["looked"]})

    def find_preflight(self) -> Preflight | None:
        found = self._get("preflight", "latest")
        return items.read_preflight(found) if found else None

    def find_told(self) -> list[Told]:
        return [items.read_told(found) for found in self._query("told")]

    def save_told(self, told: Told) -> Told | None:
        return self._save(told, "told", told.about, items.told_values)

    # -- the table

    def _get(self, pk: str, sk: str) -> Mapping[str, Any] | None:
        with told(f"reading {pk} {sk}"):
            answer = self._clients.dynamodb.get_item(
                TableName=self._table, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True
            )
        return answer.get("Item")

    def _query(self, pk: str, prefix: str | None = None, newest_first: int | None = None) -> list[Mapping[str, Any]]:
        """Every item of the partition whose sort key starts with the prefix; or its last few, backwards."""
        question: QueryInputPaginateTypeDef = {
            "PaginationConfig": {} if newest_first is None else {"MaxItems": newest_first},
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else ""),
            "ExpressionAttributeValues": {":pk": {"S": pk}, **({":prefix": {"S": prefix}} if prefix else {})},
            "ScanIndexForward": newest_first is None,
        }
        pages = self._clients.dynamodb.get_paginator("query")
        with told(f"looking through {pk}"):
            return [found for page in pages.paginate(**question) for found in page["Items"]]

    def _put_next(self, new: items.Item, version: int) -> bool:
        return self._put(new, _UNCHANGED, {":version": {"N": str(version)}})

    def _save(
        self, value: _Versioned, pk: str, sk: str, as_item: Callable[[_Versioned], items.Item]
    ) -> _Versioned | None:
        """Write if the stored version is still the value's own, 0 being none; None if someone was faster."""
        saved = replace(value, version=value.version + 1)
        new = items.item(pk, sk, as_item(saved))
        is_saved = self._put_next(new, value.version) if value.version else self._put(new, _ABSENT)
        return saved if is_saved else None

    def _put(self, new: items.Item, condition: str, values: Mapping[str, Any] | None = None) -> bool:
        """Whether the condition held and the item is written."""
        given = {"ExpressionAttributeValues": values} if values else {}
        with told(f"writing {new['pk']['S']} {new['sk']['S']}"):
            try:
                self._clients.dynamodb.put_item(
                    TableName=self._table,
                    Item=new,
                    ConditionExpression=condition,
                    **given,  # type: ignore[arg-type]
                )
            except ClientError as error:
                if code_of(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def _put_all(self, puts: Sequence[tuple[items.Item, str, Mapping[str, Any] | None]]) -> bool:
        """Whether every condition held and all of it is written; otherwise nothing is."""
        writes = [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": new,
                    "ConditionExpression": condition,
                    **({"ExpressionAttributeValues": values} if values else {}),
                }
            }
            for new, condition, values in puts
        ]
        with told("writing " + " and ".join(f"{new['pk']['S']} {new['sk']['S']}" for new, _, _ in puts)):
            try:
                self._clients.dynamodb.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
            except ClientError as error:
                if "ConditionalCheckFailed" in cancellations_of(error):
                    return False
                raise
        return True

    def _delete(self, pk: str, sk: str) -> None:
        with told(f"removing {pk} {sk}"):
            self._clients.dynamodb.delete_item(TableName=self._table, Key={"pk": {"S": pk}, "sk": {"S": sk}})

    def _delete_each(self, pk: str, sks: Sequence[str]) -> None:
        """Whatever DynamoDB leaves undone of a batch, because it is short of throughput, is asked for by itself."""
        for start in range(0, len(sks), _MOST_AT_ONCE):
            keys = [{"pk": {"S": pk}, "sk": {"S": sk}} for sk in sks[start : start + _MOST_AT_ONCE]]
            with told(f"removing {len(keys)} of {pk}, {keys[0]['sk']['S']} the first"):
                answer = self._clients.dynamodb.batch_write_item(
                    RequestItems={self._table: [{"DeleteRequest": {"Key": key}} for key in keys]}
                )
            for undone in answer.get("UnprocessedItems", {}).get(self._table, []):
                self._delete(pk, undone["DeleteRequest"]["Key"]["sk"]["S"])


def _point_item(point: RestorePoint) -> items.Item:
    return items.item("points", _point_key(point.host_id, point.snapshot_id), items.point_values(point))


def _run_key(run: RunId) -> tuple[str, str]:
    return f"runs#{run.receiver}", f"{run.day.isoformat()}#{run.attempt:06d}"


def _recovery_key(recovery: RecoveryId) -> tuple[str, str]:
    return "recoveries", f"{recovery.host_id}#{recovery.day.isoformat()}#{recovery.attempt:06d}"


def _copy_key(intent: CopyIntent) -> str:
    return f"{intent.region}#{intent.snapshot_id}"


def _point_key(host_id: str, snapshot_id: str) -> str:
    return f"{host_id}#{snapshot_id}"
