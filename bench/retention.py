"""Retention and pruning of up to a hundred thousand snapshots, EBS's quota of a region. `python -m bench.retention`."""

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from multiprocessing import get_context

from bench.buckets import LOOKS, SNAPSHOTS, pages
from bench.fleet import Books, Fleet, a_counted_world, head, host_id, peak_mib, row, timed
from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.model import RestorePoint, RunId, Snapshot, TreeKind
from chalicelib.core.policy_file import parse
from chalicelib.core.pruning import PrunePlan, Stock, plan_prune
from chalicelib.flows.prune import prune
from tests.builders import A_DAY
from tests.fakes import Crash, FakeVolumes, FakeWorld, Fuse, a_fused_world

TONIGHT = datetime.combine(A_DAY, time(7), UTC)
RULES = "daily = 7\nweekly = 4\nmonthly = 6\nyearly = 2"
A_LAMBDA_S = 900


@dataclass(frozen=True)
class Shape:
    """So many receivers of so many hosts each, with a snapshot of every receiver of so many nights."""

    receivers: int
    hosts: int
    nights: int

    @property
    def fleet(self) -> Fleet:
        return Fleet(self.receivers * self.hosts, self.receivers, RULES)

    @property
    def snapshots(self) -> int:
        return self.receivers * self.nights

    def __str__(self) -> str:
        return f"{self.snapshots:,} = {self.receivers} × {self.nights}, {self.hosts} hosts in each"


SHAPES = (
    Shape(50, 200, 20),  # ten thousand hosts under rules that keep some twenty nights
    Shape(1, 500, 1_000),
    Shape(500, 1, 200),
    Shape(500, 5, 200),
    Shape(500, 20, 200),
)


def main() -> None:
    print(f"## The plan: {' '.join(RULES.split(chr(10)))}")
    head(
        "snapshots", "points", "s to plan", "s of a plain reading", "ratio", "MiB at most", "unwanted", "pages of 1,000"
    )
    for shape in SHAPES:
        _in_a_process_of_its_own(_plan, shape)
    print("\n## The nights that follow: what EC2's buckets let through, and what a night cut short leaves")
    head("snapshots", "night", "marked", "deleted", "EC2 calls: looks / marks and deletions", "s the buckets take",
         "s of ours", "write units", "read units")  # fmt: skip
    _in_a_process_of_its_own(_nights, Shape(500, 5, 200))


def _in_a_process_of_its_own(act: Callable[[Shape], None], shape: Shape) -> None:
    """So that its memory is its own."""
    process = get_context("spawn").Process(target=act, args=(shape,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


# -- the plan ---------------------------------------------------------------------------------------------------------


def _plan(shape: Shape) -> None:
    policy = parse(shape.fleet.policy, "000001")
    stock = Stock(tuple(snapshots_of(shape)), points=(_a_known_point(),))
    with timed() as ours:
        planned = plan_prune(stock, policy.rules_of, TONIGHT)
    at_most = peak_mib()
    with timed() as plain:
        kept = kept_by_plain_reading(stock.snapshots)
    _compare(planned, kept)
    unwanted = sum(not verdict.is_wanted for verdict in planned.verdicts)
    row(shape, f"{shape.snapshots * shape.hosts:,}", ours.seconds, plain.seconds, ours.seconds / plain.seconds,
        round(at_most), unwanted, pages(shape.snapshots))  # fmt: skip


def snapshots_of(shape: Shape) -> Iterable[Snapshot]:
    """The oldest first; every string its own, as it comes from the wire."""
    for night in range(shape.nights):
        day = A_DAY - timedelta(days=shape.nights - 1 - night)
        for receiver in range(shape.receivers):
            run = RunId(f"r{receiver}", day, 1)
            ids = [host_id(number) for number in shape.fleet.numbers_of(receiver)]
            told = tags.snapshot_tags(run, ids, TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)
            tagged = {str(key.encode(), "ascii"): str(value.encode(), "ascii") for key, value in told.items()}
            started = datetime.combine(day, time(3), UTC)
            yield Snapshot(f"snap-{night:05d}{receiver:05d}", "completed", started, f"vol-{receiver}", 80, 100, tagged)


def _a_known_point() -> RestorePoint:
    """One that says nothing: the catalogue is not lost."""
    return RestorePoint("zzzz", TONIGHT, "snap-0", RunId("r0", A_DAY, 1), TreeKind.FAKE_SUPER, None)


def kept_by_plain_reading(snapshots: Iterable[Snapshot]) -> set[str]:
    """The same rules as a plain reading of them has it: sort, bucket, count. No reasons, no guards, no marks."""
    of_host: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    newest: dict[str, tuple[datetime, str]] = {}
    for each in snapshots:
        receiver = each.tags[tags.RECEIVER]
        newest[receiver] = max(newest.get(receiver, (each.started, "")), (each.started, each.id))
        for found in tags.unpack(each.tags):
            of_host[found].append((each.started, each.id))
    kept = {snapshot_id for _, snapshot_id in newest.values()}
    for points in of_host.values():
        points.sort(reverse=True)
        for count, bucket in _PLAIN:
            firsts: dict[Hashable, str] = {}
            for at, snapshot_id in points:
                firsts.setdefault(bucket(at), snapshot_id)
            wanted = list(firsts.values())[:count]
            kept.update(wanted if len(wanted) == count else [*wanted, points[-1][1]])
    return kept


_PLAIN: tuple[tuple[int, Callable[[datetime], Hashable]], ...] = (
    (7, lambda at: at.date()),
    (4, lambda at: at.isocalendar()[:2]),
    (6, lambda at: (at.year, at.month)),
    (2, lambda at: at.year),
)


def _compare(planned: PrunePlan, kept: set[str]) -> None:
    ours = {verdict.snapshot.id for verdict in planned.verdicts if verdict.is_wanted}
    assert ours == kept, f"the plan and the plain reading differ in {len(ours ^ kept)} snapshots"


# -- the nights -------------------------------------------------------------------------------------------------------


def _nights(shape: Shape) -> None:
    logging.disable()
    books = a_counted_world(shape.fleet.policy)
    volumes: FakeVolumes = books.parts.volumes
    volumes.snapshots.update({each.id: each for each in snapshots_of(shape)})
    for snapshot in volumes.snapshots.values():
        for point in points_in(snapshot):
            books.world.catalog.record_point(point)
    of_the_world = peak_mib()
    killed = a_fused_world(_with_the_table(books), Fuse(1_800, True, True))
    for night, world, holder in (
        ("first", books.world, "1"),
        ("second, killed by its time", killed, "2"),
        ("second, tried again by Lambda", books.world, "2"),
        ("third", books.world, "3"),
    ):
        now = TONIGHT + timedelta(days=int(holder) - 1, minutes=int("again" in night))
        _renewed(volumes, now)
        before = len(volumes.snapshots), _marked(volumes)
        books.reset()
        with timed() as taken, suppress(Crash):
            prune(world, now, holder=holder)
        deleted = before[0] - len(volumes.snapshots)
        marked = _marked(volumes) - before[1] + deleted
        looks = pages(before[0]) + 2 * deleted + marked
        row(f"{before[0]:,}", night, marked, deleted, f"{looks} / {marked + deleted}",
            max(LOOKS.seconds(looks), SNAPSHOTS.seconds(marked + deleted)), taken.seconds, books.table.write_units,
            books.table.read_units)  # fmt: skip
    print(f"\nmemory at most: {peak_mib():.0f} MiB, {of_the_world:.0f} of them the world's before the first night; "
          f"one function has {A_LAMBDA_S} s")  # fmt: skip


def _with_the_table(books: Books) -> FakeWorld:
    return replace(books.parts, catalog=books.world.catalog)  # type: ignore[arg-type]


def _renewed(volumes: FakeVolumes, now: datetime) -> None:
    """The backups have gone on: otherwise nothing is deleted."""
    newest = max(volumes.snapshots.values(), key=lambda each: (each.started, each.id))
    volumes.snapshots[newest.id] = replace(newest, started=now - timedelta(hours=4))


def _marked(volumes: FakeVolumes) -> int:
    return sum(bool(each.tags.get(tags.MARKED)) for each in volumes.snapshots.values())


if __name__ == "__main__":
    main()
