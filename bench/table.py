"""DynamoDB's side of the wire in memory: it answers the real adapter, and counts what AWS would bill it for."""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from botocore.exceptions import ClientError

Item = Mapping[str, Any]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
_WRITE_UNIT, _READ_UNIT = 1024, 4096
_PAGE = 1024 * 1024


@dataclass
class Table:
    """The few calls and conditions that `aws/catalog.py` uses; reads are strongly consistent, as it asks for them."""

    partitions: dict[str, dict[str, Item]] = field(default_factory=lambda: defaultdict(dict))
    order: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: Counter[str] = field(default_factory=Counter)
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    units_by_partition: Counter[str] = field(default_factory=Counter)
    read_units: float = 0
    items_read: int = 0

    @property
    def write_units(self) -> int:
        return sum(self.units_by_partition.values())

    def reset(self) -> None:
        """Count from here on."""
        for counter in (self.calls, self.writes, self.units_by_partition):
            counter.clear()
        self.read_units = self.items_read = 0

    # -- the calls

    def get_item(self, Key: Any, **_: Any) -> Any:
        self.calls["GetItem"] += 1
        found = self.partitions[Key["pk"]["S"]].get(Key["sk"]["S"])
        self._read([found] if found else [])
        return {"Item": found} if found else {}

    def put_item(self, Item: Any, ConditionExpression: str, **given: Any) -> None:
        self.calls["PutItem"] += 1
        if not self._write(Item, ConditionExpression, given.get("ExpressionAttributeValues", {})):
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")

    def transact_write_items(self, TransactItems: Any) -> None:
        self.calls["TransactWriteItems"] += 1
        for put in (each["Put"] for each in TransactItems):
            # Written twice: once to prepare, once to commit.
            self._bill(put["Item"])
            self._write(put["Item"], put["ConditionExpression"], put.get("ExpressionAttributeValues", {}))

    def batch_write_item(self, RequestItems: Any) -> Any:
        self.calls["BatchWriteItem"] += 1
        (requests,) = RequestItems.values()
        for key in (each["DeleteRequest"]["Key"] for each in requests):
            self._remove(key["pk"]["S"], key["sk"]["S"])
        return {}

    def delete_item(self, Key: Any, **_: Any) -> None:
        self.calls["DeleteItem"] += 1
        self._remove(Key["pk"]["S"], Key["sk"]["S"])

    def get_paginator(self, _: str) -> "Table":
        return self

    def paginate(self, **question: Any) -> Iterator[Any]:
        values = question["ExpressionAttributeValues"]
        pk, prefix = values[":pk"]["S"], values.get(":prefix", {}).get("S", "")
        order = self.order[pk]
        keys = order[bisect_left(order, prefix) :] if prefix else list(order)
        wanted = [self.partitions[pk][key] for key in keys if key.startswith(prefix)]
        if not question["ScanIndexForward"]:
            wanted.reverse()
        for page in _pages(wanted[: question["PaginationConfig"].get("MaxItems")]):
            self.calls["Query"] += 1
            self._read(page)
            yield {"Items": page}

    # -- the books

    def _write(self, new: Item, condition: str, values: Mapping[str, Any]) -> bool:
        """A condition that fails is billed, too."""
        pk, sk = new["pk"]["S"], new["sk"]["S"]
        self._bill(new)
        if not _holds(condition, self.partitions[pk].get(sk), values):
            return False
        if sk not in self.partitions[pk]:
            insort(self.order[pk], sk)
        self.partitions[pk][sk] = new
        self.writes[(pk, sk)] += 1
        return True

    def _remove(self, pk: str, sk: str) -> None:
        gone = self.partitions[pk].pop(sk, None)
        if gone is not None:
            self.order[pk].remove(sk)
        self._bill(gone or {"pk": {"S": pk}, "sk": {"S": sk}})

    def _bill(self, new: Item) -> None:
        self.units_by_partition[new["pk"]["S"]] += ceil(size_of(new) / _WRITE_UNIT)

    def _read(self, found: list[Item]) -> None:
        self.items_read += len(found)
        self.read_units += max(1, ceil(sum(map(size_of, found)) / _READ_UNIT))


def size_of(found: Item) -> int:
    """As DynamoDB counts it: names and values in UTF-8, and a little for every list and map."""
    return sum(len(name) + _size(value) for name, value in found.items())


def _size(value: Mapping[str, Any]) -> int:
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return len(inner.encode())
        case "N":
            return len(inner) // 2 + 1
        case "L":
            return 3 + sum(1 + _size(each) for each in inner)
        case "M":
            return 3 + sum(1 + len(name) + _size(each) for name, each in inner.items())
        case _:
            return 1


def _pages(wanted: list[Item]) -> Iterator[list[Item]]:
    page: list[Item] = []
    room = _PAGE
    for found in wanted:
        if room <= 0:
            yield page
            page, room = [], _PAGE
        page.append(found)
        room -= size_of(found)
    yield page


def _holds(condition: str, stored: Item | None, values: Mapping[str, Any]) -> bool:
    if condition.startswith("attribute_not_exists(pk)"):
        return stored is None or (" OR " in condition and stored["pruned"]["S"] <= values[":pruned"]["S"])
    if condition == "attribute_exists(pk)":
        return stored is not None
    name, _, value = condition.partition(" = ")
    return stored is not None and stored.get(name) == values[value]
