"""The doors of two accounts: `copy` offers where the backups are, and pulls at the vault."""

from dataclasses import replace

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.ports import Settings, StackRole
from tests.app.stage import Stage
from tests.builders import A_POLICY_TEXT, a_moment
from tests.fakes import FakeWorld, a_world

HERE = "us-east-1"
THEIRS, OURS = "123456789012", "210987654321"
VAULTED = f'{A_POLICY_TEXT}\n[vault]\naccount = "{OURS}"\nretention = {{ daily = 2 }}\n'


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A night has closed in the first account, and its snapshot is offered."""
    stage = Stage(monkeypatch)
    stage.world = replace(stage.world, settings=replace(stage.world.settings, vault_account=OURS))
    stage.call("apply_policy", text=VAULTED, expected=None)
    stage.tick()
    stage.ready()
    for host in ("us0", "eu0"):
        stage.report(host)
    stage.released()
    stage.tick()
    stage.complete_snapshots()
    stage.snapshot_event(stage.the_snapshot())
    stage.deliver()
    return stage


def a_vault(primary: FakeWorld) -> FakeWorld:
    """Everything has arrived there."""
    vault = replace(a_world(), settings=the_vaults(primary.settings), receipts=primary.archive)
    vault.archive.objects.update(primary.archive.objects)
    vault.copies.by_region[HERE] = vault.volumes.snapshots
    vault.copies.shared[(HERE, THEIRS)] = [replace(each, tags={}) for each in primary.volumes.snapshots.values()]
    return vault


def the_vaults(settings: Settings) -> Settings:
    return replace(settings, role=StackRole.VAULT, vault_account=None, primary_account=THEIRS, lock_days=30)


def test_the_run_that_closes_has_its_snapshot_offered(stage: Stage) -> None:
    snapshot_id = stage.the_snapshot()

    assert stage.world.volumes.shared_with == {snapshot_id: {OURS}}
    assert stage.world.archive.list(wire.offers_prefix(OURS)) == [wire.offer_key(OURS, snapshot_id)]


def test_the_vaults_tick_pulls_it_has_it_locked_makes_it_a_restore_point_and_sends_the_receipt(stage: Stage) -> None:
    primary, snapshot_id = stage.world, stage.the_snapshot()
    stage.world = vault = a_vault(primary)

    stage.tick(a_moment(4))
    vault.copies.end(HERE)
    stage.tick(a_moment(4, 10))
    stage.tick(a_moment(4, 15))

    (copied,) = vault.volumes.snapshots.values()
    assert vault.copies.asked == [(HERE, snapshot_id)]
    assert copied.tags[tags.SOURCE] == snapshot_id
    assert {point.snapshot_id for point in vault.catalog.find_points()} == {copied.id}
    assert [(each.snapshot_id, each.days) for each in vault.volumes.locks] == [(copied.id, 30)]
    assert primary.archive.list(wire.receipts_prefix(OURS)) == [wire.receipt_key(OURS, snapshot_id)]


def test_an_offer_that_cannot_be_made_is_logged_and_keeps_no_copy_from_being_asked_for(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.world.archive.objects.pop(wire.offer_key(OURS, stage.the_snapshot()))
    stage.world.volumes.unshareable.add(stage.the_snapshot())
    both = VAULTED + '\n[copy]\nregion = "eu-central-1"\nretention = { daily = 2 }\n'
    stage.call("apply_policy", text=both, expected=None)

    stage.call("copy")

    (record,) = (record for record in caplog.records if record.message == "offer failed")
    assert record.snapshot == stage.the_snapshot()  # type: ignore[attr-defined]
    assert stage.world.copies.asked == [("eu-central-1", stage.the_snapshot())]
