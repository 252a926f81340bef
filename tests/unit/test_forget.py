"""Forgetting a host: asked for, shown, recorded in the archive, and never for one that is still backed up."""

import json

import pytest

from chalicelib.errors import Refused
from chalicelib.flows.forget import forget_host
from chalicelib.flows.prune import prune
from tests.builders import A_POLICY_TEXT, a_moment, a_point, a_run_id, a_snapshot
from tests.fakes import FakeWorld, a_world

NOW = a_moment(12)
WITHOUT_EU0 = A_POLICY_TEXT.replace('["us0", "eu0"]', '["us0"]').split("[host.eu0]")[0] + "[retention]\nlast = 1\n"


@pytest.fixture
def world() -> FakeWorld:
    """eu0 was backed up until the 21st, and has left the policy since."""
    world = a_world()
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.archive.put_once("policies/000002.toml", WITHOUT_EU0.encode())
    world.catalog.set_policy_version("000002", None)
    for day in (20, 21, 22, 23):
        complete = ("us0a", "eu0a") if day < 22 else ("us0a",)
        world.volumes.snapshots[f"snap-{day}"] = a_snapshot(f"snap-{day}", a_run_id(day), complete)
        for host_id in complete:
            world.catalog.record_point(a_point(host_id, f"snap-{day}", a_run_id(day)))
    return world


@pytest.mark.parametrize("name", ["eu0", "eu0a"])
def test_a_forgotten_hosts_points_keep_nothing_any_more(world: FakeWorld, name: str) -> None:
    before = prune(world, NOW, dry_run=True)

    forgotten = forget_host(name, "ada", world, NOW)

    assert before.mark == ("snap-22",)
    assert [point.snapshot_id for point in forgotten.points] == ["snap-20", "snap-21"]
    assert prune(world, NOW).mark == ("snap-20", "snap-21", "snap-22")


def test_it_is_recorded_in_the_archive_once(world: FakeWorld) -> None:
    first = forget_host("eu0", "ada", world, NOW)
    again = forget_host("eu0", "bob", world, a_moment(13))

    record = json.loads(world.archive.get("forgotten/eu0a.json"))
    assert record == {"schema": 1, "id": "eu0a", "by": "ada", "at": "2026-11-23T12:00:00Z"}
    assert (first.already, again.already) == (False, True)


def test_showing_it_records_nothing(world: FakeWorld) -> None:
    shown = forget_host("eu0", "ada", world, NOW, dry_run=True)

    assert len(shown.points) == 2
    assert world.archive.list("forgotten/") == []


def test_a_host_of_the_policy_is_not_forgotten(world: FakeWorld) -> None:
    with pytest.raises(Refused, match="us0 is in the policy in force"):
        forget_host("us0", "ada", world, NOW)


def test_a_host_without_points_is_not_known(world: FakeWorld) -> None:
    with pytest.raises(Refused, match="us9 has no restore point"):
        forget_host("us9", "ada", world, NOW)


def test_without_a_policy_nobody_is_forgotten(world: FakeWorld) -> None:
    world.catalog.version = None

    with pytest.raises(Refused):
        forget_host("eu0", "ada", world, NOW)


def test_a_forgotten_host_that_comes_back_is_kept_by_the_rules_again(world: FakeWorld) -> None:
    forget_host("eu0", "ada", world, NOW)
    both = A_POLICY_TEXT.replace("daily = 7", "last = 1")
    world.archive.put_once("policies/000003.toml", both.encode())
    world.catalog.version = "000003"

    assert prune(world, NOW).mark == ("snap-20", "snap-22")
