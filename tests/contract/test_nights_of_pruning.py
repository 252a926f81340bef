"""Two nights of pruning through the real adapters: what goes is gone from EC2 and from the table, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.core.responses import ActionResult
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from chalicelib.aws.archive import S3Archive
from chalicelib.aws.catalog import DynamoCatalog
from chalicelib.aws.volumes import EbsVolumes
from chalicelib.core import tags
from chalicelib.core.backups import points_in
from chalicelib.core.model import TreeKind
from chalicelib.flows.hold import Target, hold
from chalicelib.flows.prune import prune
from chalicelib.ports import World
from tests.builders import A_POLICY_TEXT, a_run_id
from tests.contract.aws import Account
from tests.fakes import a_world

DAYS = (19, 20, 21, 22, 23)


@pytest.fixture
def world(account: Account, monkeypatch: pytest.MonkeyPatch) -> World:
    """The real volumes, catalogue and archive; the first of five snapshots is locked, one is to be kept."""
    world = replace(
        a_world(),
        volumes=EbsVolumes(account.clients),
        catalog=DynamoCatalog(account.clients, account.table),
        archive=S3Archive(account.clients, account.bucket),
    )
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.replace("daily = 7", "last = 1").encode())
    world.catalog.set_policy_version("000001", None)
    volume = world.volumes.create_volume("v" * 64, "us-east-1a", 8, "gp3", {tags.ROLE: tags.Role.DATA})
    for day in DAYS:
        tagged = tags.snapshot_tags(a_run_id(day), ["us0a"], TreeKind.FAKE_SUPER, tags.Consistency.RELEASED)
        taken = world.volumes.create_snapshot(volume.id, "one night", tagged)
        for point in points_in(world.volumes.get_snapshot(taken.id)):
            world.catalog.record_point(point)

    def describe_locked_snapshots(_: Any) -> ActionResult:
        return ActionResult({"Snapshots": [{"SnapshotId": of_day(19, world), "LockState": "governance"}]})

    monkeypatch.setattr(ElasticBlockStore, "describe_locked_snapshots", describe_locked_snapshots, raising=False)
    return world


def of_day(day: int, world: World) -> str:
    (snapshot,) = world.volumes.find_snapshots({tags.RUN: str(a_run_id(day))})
    return snapshot.id


def test_what_nobody_wants_goes_the_second_night_and_the_locked_and_the_held_stay(world: World) -> None:
    tonight = datetime.now(UTC)
    newest = max(world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP}), key=lambda each: (each.started, each.id))
    hold(Target(of_day(20, world)), "the auditors", "ada", world, tonight)
    stay = {of_day(19, world), of_day(20, world), newest.id}

    first = prune(world, tonight)
    second = prune(world, tonight + timedelta(days=1))

    assert first.refused is None
    assert (set(first.mark), first.delete) == ({each.snapshot.id for each in first.verdicts} - stay, ())
    assert (second.mark, set(second.delete)) == ((), set(first.mark))
    left = {snapshot.id for snapshot in world.volumes.find_snapshots({tags.ROLE: tags.Role.BACKUP})}
    assert left == stay == {point.snapshot_id for point in world.catalog.find_points()}
