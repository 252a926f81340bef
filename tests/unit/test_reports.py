"""A host's report, told of by an event: it is recorded, and nothing else is asked for, however many come at once."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wire
from chalicelib.core.model import ExpectedHost, Run, RunState
from chalicelib.errors import PermanentError
from chalicelib.flows.wake import on_report
from tests.builders import a_moment, a_run
from tests.fakes import FakeArchive, Fuse, a_fused_world, a_world
from tests.fakes import FakeWorld as World

A_REPORT = json.loads((Path(__file__).parents[1] / "contract/wire/report.json").read_text())
NOW = a_moment(3)
SOURCE = "ebbtide.receiver.main"
EVERY_CALL = Fuse(at=0, after=False)


def a_report_of(host: ExpectedHost, run: Run, world: World) -> dict[str, Any]:
    """In the archive; and the event that tells of it."""
    about = {"run": str(run.id), "host": host.name, "id": host.id}
    world.archive.put_once(
        wire.report_key(run, host.id), json.dumps({**A_REPORT, **about, "nonce": host.nonce}).encode()
    )
    return {"schema": 1, **about, "status": "complete"}


def a_world_with(run: Run) -> World:
    world = a_world()
    world.catalog.open_run(run)
    return world


@pytest.mark.parametrize("hosts", [2, 200])
def test_a_report_costs_the_same_few_calls_however_many_hosts_there_are(hosts: int) -> None:
    run = a_run(hosts=tuple(f"h{number:02x}" for number in range(hosts)))
    world, fuse = a_world_with(run), replace(EVERY_CALL)
    events = [a_report_of(host, run, world) for host in run.hosts]

    for event in events:
        on_report(SOURCE, event, a_fused_world(world, fuse), NOW)

    assert fuse.calls == 3 * hosts
    assert [result.id for result in world.catalog.find_results(run.id)] == sorted(host.id for host in run.hosts)


def test_a_report_that_is_told_of_and_not_there_is_rejected() -> None:
    run = a_run()
    event = {"schema": 1, "run": str(run.id), "host": "us0", "id": "us0a", "status": "complete"}

    outcome = on_report(SOURCE, event, a_world_with(run), NOW)

    assert outcome is not None
    assert [each.key for each in outcome.rejected] == [wire.report_key(run, "us0a")]  # type: ignore[union-attr]


@dataclass
class ArchiveThatIsNotRead(FakeArchive):
    def get(self, key: str) -> bytes:
        raise AssertionError(f"{key} is read")


def test_of_a_host_that_nobody_expects_nothing_is_read_whoever_tells_of_it() -> None:
    run = a_run()
    world = replace(a_world_with(run), archive=ArchiveThatIsNotRead({wire.report_key(run, "web1"): b"{}"}))
    event = {"schema": 1, "run": str(run.id), "host": "web1", "id": "web1", "status": "complete"}

    outcome = on_report(SOURCE, event, world, NOW)

    assert outcome is not None
    assert [each.why for each in outcome.rejected] == [f"run {run.id} does not expect a host web1"]  # type: ignore[union-attr]


def test_a_report_of_a_closed_run_is_on_record_and_changes_nothing() -> None:
    run = a_run(state=RunState.DONE)
    world = a_world_with(run)

    on_report(SOURCE, a_report_of(run.hosts[0], run, world), world, NOW)

    assert [result.id for result in world.catalog.find_results(run.id)] == ["us0a"]
    assert world.catalog.get_run(run.id) == run


def test_an_event_about_no_host_id_reads_nothing_from_the_archive() -> None:
    run = a_run()

    with pytest.raises(PermanentError, match="no host id"):
        on_report(SOURCE, {"schema": 1, "run": str(run.id), "id": "../policies"}, a_world_with(run), NOW)
