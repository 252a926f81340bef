"""What becomes of a restore, and of a drill, of a night whose brief or report cannot be read."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.core.model import RecoveryState, Run
from chalicelib.core.naming import RecoveryRequest
from chalicelib.flows.open_recovery import open_drill, open_restore
from chalicelib.flows.rebuild import rebuild
from chalicelib.flows.recover import recover
from tests.builders import a_point, a_run, a_run_id
from tests.fakes import FakeCatalog, FakeWorld
from tests.recoveries import A_REPORT, DRILL, NOW, a_world_with_backups, its, the_machine_reports

NIGHT = a_run(a_run_id(22))
BRIEF, REPORT = wire.brief_key(NIGHT.id, "vol-1"), wire.report_key(NIGHT, "us0a")
ANOTHERS = json.dumps({**json.loads((A_REPORT.parent / "report.json").read_text()), "run": "main/2026-11-21/1"})
UNREADABLE = pytest.mark.parametrize(
    ("key", "body"),
    [(BRIEF, b"not JSON"), (REPORT, b"not JSON"), (REPORT, ANOTHERS.encode())],
    ids=["a brief", "a report", "a report of another night"],
)


def a_world_with_a_night_of_another_architecture() -> FakeWorld:
    """That was pushed from an x86 server, by receivers that stand on ARM; with the digest of its manifest."""
    world = a_world_with_backups()
    report = json.loads(world.archive.get(REPORT)) | {"arch": "x86_64"}
    report["receiver"]["manifest"] = {"key": a_point(run_id=NIGHT.id).manifest, "sha256": "abc", "content": "def"}
    world.archive.objects[REPORT] = json.dumps(report).encode()
    return world


def brought_up_on(world: FakeWorld) -> tuple[str, str | None]:
    """Which type, and from which template."""
    (request,) = world.machines.requests
    return request.instance_type, request.template


def digest_told(world: FakeWorld) -> str | None:
    told = json.loads(world.archive.get(its(wire.recovery_brief_key, world))).get("manifest_sha256")
    return None if told is None else str(told)


@UNREADABLE
def test_a_server_that_is_wanted_comes_back_without_and_the_finding_names_the_object(key: str, body: bytes) -> None:
    world = a_world_with_a_night_of_another_architecture()
    world.archive.objects[key] = body
    restore = open_restore(RecoveryRequest("us0"), world, NOW).id

    recovery = recover(restore, world, NOW).recovery
    the_machine_reports(world, restore)
    back = recover(restore, world, NOW).recovery

    (finding,) = recovery.findings
    assert finding.startswith(f"the report of its night cannot be read ({key}: ")
    assert finding.endswith("it is brought up on what receivers stand on, its manifest taken as it is")
    assert (brought_up_on(world), digest_told(world)) == (("t4g.small", None), None)
    assert (back.verdict, back.state) == ("proven", RecoveryState.OPEN)


@UNREADABLE
def test_a_drill_of_it_has_failed_and_the_finding_names_the_object(key: str, body: bytes) -> None:
    world = a_world_with_a_night_of_another_architecture()
    world.archive.objects[key] = body
    open_drill("us0", world, NOW)

    drill = recover(DRILL, world, NOW).recovery

    assert (drill.verdict, drill.state) == ("failed", RecoveryState.FAILED)
    assert drill.findings[0].startswith(f"the report of its night cannot be read ({key}: ")
    assert drill.findings[0].endswith("the archive keeps what was there before; a restore does without")
    assert world.machines.requests == []


def test_a_drill_of_a_night_that_is_known_from_its_snapshot_alone_has_failed_as_well() -> None:
    world = replace(a_world_with_a_night_of_another_architecture(), catalog=FakeCatalog())
    world.archive.objects[BRIEF] = b"not JSON"
    rebuild(world)
    open_drill("us0", world, NOW)

    drill = recover(DRILL, world, NOW).recovery

    assert world.catalog.get_run(NIGHT.id).nonce == ""
    assert drill.verdict == "failed"
    assert drill.findings[0].startswith(f"the report of its night cannot be read ({BRIEF}: ")


def test_of_a_night_of_an_earlier_version_whose_brief_is_gone_its_run_says_where_its_reports_are() -> None:
    world = a_world_with_a_night_of_another_architecture()
    without_nonce = replace(NIGHT, nonce="")
    world.catalog.open_run(without_nonce)
    world.archive.objects[wire.report_key(without_nonce, "us0a")] = world.archive.objects.pop(REPORT)
    del world.archive.objects[BRIEF]
    open_drill("us0", world, NOW)

    recover(DRILL, world, NOW)

    assert (brought_up_on(world), digest_told(world)) == (("t3a.medium", "lt-other"), "abc")


def in_the_catalogue(run: Run, world: FakeWorld) -> None:
    world.catalog.open_run(run)


def with_another_brief(run: Run, world: FakeWorld) -> None:
    """Of a second volume, in another zone."""
    brief = json.loads((A_REPORT.parent / "brief-receiver.json").read_text())
    said = {**brief, "run": str(run.id), "nonce": run.nonce}
    world.archive.objects[wire.brief_key(run.id, "vol-2")] = json.dumps(said).encode()


@pytest.mark.parametrize("is_known", [in_the_catalogue, with_another_brief])
def test_a_brief_that_cannot_be_read_costs_nothing_where_its_run_is_known_otherwise(
    is_known: Callable[[Run, FakeWorld], None],
) -> None:
    world = a_world_with_a_night_of_another_architecture()
    is_known(NIGHT, world)
    world.archive.objects[BRIEF] = b"not JSON"
    open_drill("us0", world, NOW)

    drill = recover(DRILL, world, NOW).recovery

    assert (drill.verdict, drill.findings) == (None, ())
    assert (brought_up_on(world), digest_told(world)) == (("t3a.medium", "lt-other"), "abc")
