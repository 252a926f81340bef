"""Telling operators at ten thousand hosts with twenty restore points each. `python -m bench.tell`."""

from dataclasses import replace
from datetime import timedelta

from bench.fleet import Books, Fleet, a_counted_world, head, host_id, peak_mib, row, timed
from chalicelib.core.model import ExpectedHost, HostResult, HostStatus, RestorePoint, Run, RunId, RunState, TreeKind
from chalicelib.flows.tell import tell
from tests.builders import A_DAY, a_moment

FLEET, NIGHTS = Fleet(10_000, 50), 20
NOW = a_moment(7)


def main() -> None:
    books = a_counted_world(FLEET.policy)
    for back in range(NIGHTS):
        for receiver in range(FLEET.receivers):
            _a_night(receiver, back, books)
    print(f"## Telling: {FLEET.hosts} hosts × {NIGHTS} points, a host in a hundred failed on the last two nights")
    head("asked", "s", "read units", "Queries", "letters", "writes")
    for asked in ("the first time", "again", "with the points alone read"):
        books.reset()
        sent = len(books.parts.alarms.published)
        with timed() as taken:
            if asked == "with the points alone read":
                books.world.catalog.find_points()
            else:
                tell(books.world, NOW)
        table = books.table
        letters = len(books.parts.alarms.published) - sent
        row(asked, taken.seconds, table.read_units, table.calls["Query"], letters, table.calls["PutItem"])
    print(f"\nmemory at most: {peak_mib():.0f} MiB, the table in memory included")


def _a_night(receiver: int, back: int, books: Books) -> None:
    """Closed, with a result and a point of each of its hosts; of the last two nights one in a hundred failed."""
    catalog = books.world.catalog
    day = A_DAY - timedelta(days=back)
    run_id = RunId(f"r{receiver}", day, 1)
    opened = a_moment(2) - timedelta(days=back)
    hosts = tuple(ExpectedHost(f"h{each}", host_id(each), "0" * 32) for each in FLEET.numbers_of(receiver))
    run = Run(run_id, "000001", opened, opened + timedelta(hours=4), hosts, RunState.DONE, closed=opened)
    catalog.open_run(run)
    for number, host in zip(FLEET.numbers_of(receiver), hosts, strict=True):
        failed = back < 2 and number % 100 == 0
        status = HostStatus.FAILED if failed else HostStatus.COMPLETE
        manifest = f"manifests/{host.id}/{run_id}.jsonl.gz"
        result = HostResult(run_id, host.name, host.id, status, 9120, 10**6, 150.0, TreeKind.FAKE_SUPER, manifest)
        if back < 3:
            catalog.record_result(result)
        point = RestorePoint(host.id, opened, f"snap-{receiver:03d}{back:014d}", run_id, result.tree, manifest)
        if not failed:
            catalog.record_point(replace(point, proven=opened if back == 5 else None))


if __name__ == "__main__":
    main()
