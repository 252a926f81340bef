"""The storm of reports: ten thousand hosts on fifty receivers finish within minutes. `python -m bench.storm`."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from bench.fleet import Books, Fleet, a_counted_world, head, peak_mib, row, timed
from chalicelib import wire
from chalicelib.aws.archive import S3Archive
from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.core.model import ExpectedHost, HostResult, Run, RunId
from chalicelib.flows.receive_report import receive_reports
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.tick import tick
from chalicelib.flows.wake import on_report
from chalicelib.ports import World
from tests.builders import a_moment, a_point
from tests.contract.aws import an_account
from tests.fakes import a_world

SOURCE = "ebbtide.receiver.main"
FLEET = Fleet(10_000, 50)
OPENED, PUSHED, QUIET, LATER = a_moment(2), a_moment(3), a_moment(4), a_moment(5)
A_REPORT = json.loads((Path(__file__).parents[1] / "tests/contract/wire/report.json").read_text())


def main() -> None:
    logging.disable()
    one_receiver()
    a_whole_night()
    over_the_wire()


# -- one receiver of the fifty, its reports taken in three ways -------------------------------------------------------


def one_receiver() -> None:
    print(f"\n## One run of {FLEET.a_receiver} hosts, under a policy of {FLEET.hosts}")
    head("its reports", "s an event, first", "s an event, last", "s in all", "EC2 calls", "Route 53 calls", "S3 lists",
         "S3 gets", "items read", "read units", "write units")  # fmt: skip
    for name, storm in WAYS.items():
        books = a_counted_world(FLEET.policy)
        run = _opened(books)[0]
        books.reset()
        with timed() as taken:
            first, last = storm(run, books)
        row(name, first, last, taken.seconds, *_asked(books), books.table.items_read, books.table.read_units,
            books.table.write_units)  # fmt: skip
        _all_are_known(run, books)


def _each(run: Run, books: Books, act: Callable[[ExpectedHost], object]) -> tuple[float, float]:
    """How long the first and the last event of the storm took."""
    times = []
    for host in run.hosts:
        _report(run, host, books)
        with timed() as taken:
            act(host)
        times.append(taken.seconds)
    return times[0], times[-1]


def _reconciled_for_each(run: Run, books: Books) -> tuple[float, float]:
    return _each(run, books, lambda host: reconcile(run.id, books.world, PUSHED))


def _as_the_door_does(run: Run, books: Books) -> tuple[float, float]:
    return _each(run, books, lambda host: on_report(SOURCE, _event(run, host), books.world, PUSHED))


def _by_the_tick(run: Run, books: Books) -> tuple[float, float]:
    for host in run.hosts:
        _report(run, host, books)
    with timed() as taken:
        reconcile(run.id, books.world, PUSHED)
    return taken.seconds, taken.seconds


WAYS = {
    "the run reconciled for each event": _reconciled_for_each,
    "as `on_report` takes them, one by one": _as_the_door_does,
    "no event comes: one reconciliation by the tick": _by_the_tick,
}


# -- the whole night, as it is ----------------------------------------------------------------------------------------


def a_whole_night() -> None:
    print(f"\n## A whole night of {FLEET.hosts} hosts on {FLEET.receivers} receivers, events one by one")
    head("part", "s", "s for one invocation", "write units", "read units", "EC2 calls", "Route 53 calls", "S3 lists",
         "S3 gets")  # fmt: skip
    night = _Night(a_counted_world(FLEET.policy))
    runs = FLEET.receivers
    night.part("the tick opens 50 runs, and each is reconciled", 1 + runs, night.open)
    night.part("10,000 reports", FLEET.hosts, night.report)
    night.part("a tick amid the storm", 1, night.tick)
    night.part("50 receivers let go: snapshots", runs, night.let_go)
    night.part("50 snapshots complete: points, ends", runs, night.end)
    print(f"\nwrite units a host: {sum(night.partitions.values()) / FLEET.hosts:.2f}")
    print(f"most writes to one item: {night.hottest.most_common(3)}")
    print(f"write units of the busiest partition keys: {night.partitions.most_common(3)}")
    print(f"memory at most: {peak_mib():.0f} MiB, the world in memory included")


class _Night:
    """The parts of one night, and what they have written by item and by partition key."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.runs: list[Run] = []
        self.hottest = Counter[tuple[str, str]]()
        self.partitions = Counter[str]()

    def part(self, name: str, invocations: int, act: Callable[[], None]) -> None:
        table = self.books.table
        self.books.reset()
        with timed() as taken:
            act()
        each = taken.seconds / invocations
        row(name, taken.seconds, each, table.write_units, table.read_units, *_asked(self.books))
        self.hottest.update(table.writes)
        self.partitions.update(table.units_by_partition)

    def open(self) -> None:
        self.runs = _opened(self.books)

    def report(self) -> None:
        for run in self.runs:
            for host in run.hosts:
                _report(run, host, self.books)
                on_report(SOURCE, _event(run, host), self.books.world, PUSHED)

    def tick(self) -> None:
        tick(self.books.world, PUSHED, _nonces())

    def let_go(self) -> None:
        _let_go(self.runs, self.books)
        self._reconcile_all()

    def end(self) -> None:
        for snapshot_id in self.books.parts.volumes.snapshots:
            self.books.parts.volumes.complete(snapshot_id)
        self._reconcile_all()

    def _reconcile_all(self) -> None:
        for run in self.runs:
            reconcile(run.id, self.books.world, LATER)


def _let_go(runs: list[Run], books: Books) -> None:
    for run in runs:
        about = {"schema": 1, "run": str(run.id), "attempt": 1, "at": "2026-11-23T04:00:00Z", "clean": True}
        books.parts.archive.put_once(wire.word_key(run, "released", 1), json.dumps(about).encode())
    for machine_id in books.parts.machines.by_id:
        books.parts.machines.terminate(machine_id)


# -- the adapters over boto3, smaller ---------------------------------------------------------------------------------


def over_the_wire(hosts: int = 1_200) -> None:
    print(f"\n## The adapters over boto3 before moto: {hosts} reports in one run, then {hosts} points forgotten")
    with pytest.MonkeyPatch.context() as patch, an_account(patch) as account:
        calls = Counter[str]()
        for client in (account.clients.s3, account.clients.dynamodb):
            client.meta.events.register("before-call", lambda model, **_: calls.update([model.name]))
        world: World = replace(
            a_world(),
            archive=S3Archive(account.clients, account.bucket),  # type: ignore[arg-type]
            catalog=DynamoCatalog(account.clients, account.table),  # type: ignore[arg-type]
        )
        run = _a_large_run(hosts)
        world.catalog.open_run(run)
        for host in run.hosts:
            world.archive.put_once(wire.report_key(run, host.id), _body(run, host))
        for host in run.hosts:
            world.catalog.record_point(a_point(host.id, run_id=run.id))
        calls.clear()
        receive_reports(run, world)
        print(f"read and recorded: {dict(calls)}")
        calls.clear()
        receive_reports(run, world)
        print(f"looked at again: {dict(calls)}")
        calls.clear()
        world.catalog.forget_points("snap-1", [host.id for host in run.hosts])
        print(f"forgotten: {dict(calls)}")


def _a_large_run(hosts: int) -> Run:
    numbers = range(hosts)
    expected = tuple(ExpectedHost(f"h{each}", f"{each:04d}", f"{each:032x}") for each in numbers)
    return Run(RunId("r0", OPENED.date(), 1), "000001", OPENED, LATER, expected)


# -- what the world does ----------------------------------------------------------------------------------------------


def _opened(books: Books) -> list[Run]:
    """Every run opened by the tick, its receiver launched and ready."""
    ticked = tick(books.world, OPENED, _nonces())
    for run_id in ticked.opened:
        reconcile(run_id, books.world, OPENED)
        about = {"schema": 1, "run": str(run_id), "attempt": 1, "at": "2026-11-23T02:05:00Z"}
        run = books.world.catalog.get_run(run_id)
        books.parts.archive.put_once(wire.word_key(run, "ready", 1), json.dumps(about).encode())
    return [books.world.catalog.get_run(run_id) for run_id in ticked.opened]


def _nonces() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"{next(numbers):032x}"


def _report(run: Run, host: ExpectedHost, books: Books) -> None:
    """What the receiver archives before it tells anyone; its own put is not ours to count."""
    books.parts.archive.put_once(wire.report_key(run, host.id), _body(run, host))


def _body(run: Run, host: ExpectedHost) -> bytes:
    return json.dumps({**A_REPORT, "run": str(run.id), "host": host.name, "id": host.id, "nonce": host.nonce}).encode()


def _event(run: Run, host: ExpectedHost) -> dict[str, object]:
    return {"schema": 1, "run": str(run.id), "host": host.name, "id": host.id, "status": "complete"}


def _asked(books: Books) -> tuple[int, int, int, int]:
    calls = books.calls
    of_route53 = calls["address.current"] + calls["address.point"]
    of_ec2 = sum(number for call, number in calls.items() if not call.startswith(("archive.", "lambdas.")))
    return of_ec2 - of_route53, of_route53, calls["archive.list"], calls["archive.get"]


def _all_are_known(run: Run, books: Books) -> None:
    found: list[HostResult] = books.world.catalog.find_results(run.id)
    assert len(found) == len(run.hosts), f"{len(found)} of {len(run.hosts)} reports are known"


if __name__ == "__main__":
    main()
