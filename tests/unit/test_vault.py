"""Two accounts: the one that makes the backups, and the vault, which pulls its copies and believes the other little."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.advice import Kind
from chalicelib.core.copying import COPY_SETTLES
from chalicelib.core.model import Snapshot, SnapshotLock
from chalicelib.core.preflight import Key
from chalicelib.core.protections import SHARED, UNPULLED
from chalicelib.core.retention import Rules
from chalicelib.errors import ConfigError, PermanentError, Refused, TransientError
from chalicelib.flows.apply import apply_policy
from chalicelib.flows.copy import Copied, copy_snapshots
from chalicelib.flows.forget import forget_host
from chalicelib.flows.lock import Locked, lock_copies
from chalicelib.flows.offer import Offered, offer_snapshots
from chalicelib.flows.preflight import preflight
from chalicelib.flows.prune import prune
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.run_now import run_now
from chalicelib.flows.tell import tell
from chalicelib.flows.tick import tick
from chalicelib.ports import Settings, StackRole
from tests.builders import A_POLICY_TEXT, a_moment, a_run_id, a_snapshot
from tests.fakes import Crash, FakeWorld, Fuse, a_fused_world, a_world, some_settings
from tests.own_volumes import DONE, OWN_HOST, its_volume, report
from tests.past import a_night

HERE = "us-east-1"
THEIRS, OURS = "123456789012", "210987654321"
POLICY = f'{A_POLICY_TEXT}\n[vault]\naccount = "{OURS}"\nretention = {{ daily = 2 }}\n'
# As infra/resources.yaml says.
REPLICATED = ("policies/", "runs/", "reports/", "manifests/", "offers/", "host-reports/", "enrolled/", "damaged/")
MOST_CALLS = 120


def a_primary(*days: int, policy: str = POLICY) -> FakeWorld:
    """Nights have gone by, and nothing was offered yet."""
    primary = replace(a_world(), settings=replace(some_settings(), vault_account=OURS))
    apply_policy(policy, None, primary, a_moment(1))
    for day in days:
        a_night(primary, day)
    return primary


def a_vault_of(primary: FakeWorld, keep_at_least: Rules | None = None, lock_days: int = 0) -> FakeWorld:
    """In the same region of another account; its receipts go to the other one's archive."""
    settings = replace(
        some_settings(),
        role=StackRole.VAULT,
        primary_account=THEIRS,
        keep_at_least=keep_at_least or Rules(daily=2),
        lock_days=lock_days,
    )
    vault = replace(a_world(), settings=settings, receipts=primary.archive)
    vault.copies.by_region[HERE] = vault.volumes.snapshots
    return vault


def all_arrives(primary: FakeWorld, vault: FakeWorld, but: str = "nothing") -> None:
    """What of the archive is replicated to a vault, and EC2 shows what is shared, without its tags."""
    replicated = {key: body for key, body in primary.archive.objects.items() if key.startswith(REPLICATED)}
    vault.archive.objects.update({key: body for key, body in replicated.items() if but not in key})
    shared = [
        each for each in primary.volumes.snapshots.values() if OURS in primary.volumes.shared_with.get(each.id, ())
    ]
    vault.copies.shared[(HERE, THEIRS)] = [replace(each, tags={}) for each in shared]


def a_tick(vault: FakeWorld, now: datetime) -> Copied:
    vault.copies.now = vault.volumes.now = now
    tick(vault, now, new_nonce=lambda: "0" * 32)
    return copy_snapshots(vault, now)


def a_morning(primary: FakeWorld, vault: FakeWorld, day: int) -> None:
    """Everything is offered, and everything that the vault wants is pulled, one after the other."""
    now = a_moment(5, day=day)
    offer_snapshots(primary, now)
    all_arrives(primary, vault)
    while a_tick(vault, now).asked:
        vault.copies.end(HERE)
    a_tick(vault, now)


def receipts(primary: FakeWorld) -> list[str]:
    return sorted(wire.snapshots_named_by(primary.archive.list(wire.receipts_prefix(OURS))))


def sources_of(vault: FakeWorld) -> list[str]:
    """The run of every copy there is, whatever became of it."""
    return sorted(copy.tags[tags.RUN] for copy in vault.volumes.snapshots.values())


def runs(*days: int) -> list[str]:
    return [str(a_run_id(day)) for day in days]


def out_of_reach(region: str, look: Callable[[str, str], list[Snapshot]]) -> Callable[[str, str], list[Snapshot]]:
    """The same look, but for one region that does not answer."""

    def looked(asked: str, owner: str) -> list[Snapshot]:
        if asked == region:
            raise TransientError(f"no answer from {region}")
        return look(asked, owner)

    return looked


def restorable(world: FakeWorld) -> list[tuple[str, datetime, str | None]]:
    return [(point.host_id, point.at, point.manifest) for point in world.catalog.find_points()]


def why_kept(primary: FakeWorld, day: int, now: datetime) -> list[str]:
    plan = prune(primary, now, dry_run=True)
    (verdict,) = [each for each in plan.verdicts if each.snapshot.tags[tags.RUN] == str(a_run_id(day))]
    return [reason.why for reason in verdict.reasons]


# -- a night ----------------------------------------------------------------------------------------------------------


def test_what_the_vaults_rules_want_is_offered_pulled_and_a_restore_point_there() -> None:
    primary = a_primary(21, 22, 23)
    vault = a_vault_of(primary)

    a_morning(primary, vault, 23)
    a_tick(vault, a_moment(6))

    assert sources_of(vault) == runs(22, 23)
    assert restorable(vault) == restorable(primary)[2:]
    assert all(manifest for _, _, manifest in restorable(vault))


def test_a_host_with_a_volume_of_its_own_has_its_restore_points_there_too() -> None:
    primary = a_primary(23, policy=f"{POLICY}{OWN_HOST}")
    primary.volumes.volumes["vol-web1"] = its_volume()
    own = report(primary)
    reconcile(own, primary, DONE)
    for snapshot_id in primary.volumes.snapshots:
        primary.volumes.complete(snapshot_id)
    reconcile(own, primary, DONE)
    vault = a_vault_of(primary)

    a_morning(primary, vault, 23)
    a_tick(vault, a_moment(6))

    assert sources_of(vault) == [str(own), *runs(23)]
    assert [(point.run, point.manifest) for point in vault.catalog.find_points("web1")] == [
        (own, f"manifests/web1/{own}.jsonl.gz")
    ]


def test_a_copy_says_all_that_the_offer_said_and_where_it_comes_from() -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary)
    (source,) = primary.volumes.snapshots.values()
    primary.volumes.tag(source.id, {tags.HOLD: "theirs", tags.MARKED: "theirs"})

    a_morning(primary, vault, 23)

    (copy,) = vault.volumes.snapshots.values()
    of_its_own = {
        tags.ROLE: "copy",
        tags.SOURCE: source.id,
        tags.SOURCE_REGION: HERE,
        tags.TAKEN: source.started.isoformat(),
    }
    assert copy.tags == {**source.tags, **of_its_own}


def test_without_a_word_on_a_vault_nothing_is_shared_and_without_an_offer_nothing_is_pulled() -> None:
    primary = a_primary(23, policy=A_POLICY_TEXT)
    vault = a_vault_of(primary)

    assert offer_snapshots(primary, a_moment(5)) == Offered()
    all_arrives(primary, vault)
    assert a_tick(vault, a_moment(6)) == Copied()
    assert (primary.volumes.shared_with, vault.copies.asked) == ({}, [])


def test_each_is_offered_once() -> None:
    primary = a_primary(23)

    first, again = offer_snapshots(primary, a_moment(5)), offer_snapshots(primary, a_moment(6))

    assert (len(first.snapshots), again.snapshots) == (1, ())


def test_over_many_nights_nothing_is_copied_twice_and_nothing_stays_owed() -> None:
    """By rules whose count is never reached, which keep the oldest there is: another one on either side."""
    policy = POLICY.replace("retention = { daily = 2 }", "retention = { weekly = 4 }").replace("daily = 7", "daily = 2")
    primary = a_primary(policy=policy)
    vault = a_vault_of(primary, Rules(weekly=4))

    for day in range(10, 24):
        a_night(primary, day)
        a_morning(primary, vault, day)
        prune(vault, a_moment(6, day=day))
        prune(primary, a_moment(6, day=day))

    offer_snapshots(primary, a_moment(7))
    asked = [source for _, source in vault.copies.asked]
    assert len(asked) == len(set(asked))
    assert [copying.uncopied for copying in primary.catalog.find_copying()] == [()]
    assert len(primary.volumes.snapshots) < 6
    assert {*runs(10, 22, 23)} <= {*sources_of(vault)}


# -- what keeps a source ----------------------------------------------------------------------------------------------


def test_a_source_stays_until_its_receipt_is_there_and_no_longer() -> None:
    primary = a_primary(22, 23, policy=POLICY.replace("daily = 7", "last = 1"))
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))

    before = why_kept(primary, 22, a_moment(5))
    a_morning(primary, vault, 23)

    assert (before, why_kept(primary, 22, a_moment(6))) == ([UNPULLED], [])
    assert len(prune(primary, a_moment(6)).mark) == 1


def test_what_a_third_account_may_use_stays_although_the_vault_has_it() -> None:
    primary = a_primary(22, 23, policy=POLICY.replace("daily = 7", "last = 1"))
    vault = a_vault_of(primary)
    a_morning(primary, vault, 23)
    (goes,) = prune(primary, a_moment(6), dry_run=True).mark

    primary.volumes.share(goes, "999999999999")

    assert (why_kept(primary, 22, a_moment(6)), prune(primary, a_moment(6)).mark) == ([SHARED], ())


def test_who_no_longer_wants_a_vault_is_not_left_with_all_that_was_ever_shared_with_it() -> None:
    primary = a_primary(22, 23, policy=POLICY.replace("daily = 7", "last = 1"))
    a_morning(primary, a_vault_of(primary), 23)
    shared = prune(primary, a_moment(6), dry_run=True).mark

    apply_policy(A_POLICY_TEXT.replace("daily = 7", "last = 1"), None, primary, a_moment(7))

    assert len(shared) == 1
    assert prune(primary, a_moment(8), dry_run=True).mark == shared


def test_a_forged_receipt_frees_nothing_that_our_own_rules_keep() -> None:
    primary = a_primary(22, 23)
    for snapshot_id in primary.volumes.snapshots:
        primary.archive.put_once(wire.receipt_key(OURS, snapshot_id), b"forged")

    assert prune(primary, a_moment(6)).mark == ()


def test_what_the_vault_does_not_want_after_all_gets_a_receipt_too() -> None:
    """It was offered while newer ones were not there yet."""
    primary = a_primary(20, policy=POLICY)
    offer_snapshots(primary, a_moment(5, day=20))
    for day in (21, 22):
        a_night(primary, day)
    offer_snapshots(primary, a_moment(5, day=22))
    vault = a_vault_of(primary)

    a_morning(primary, vault, 22)

    (declined,) = [
        json.loads(body)
        for key, body in primary.archive.objects.items()
        if key.startswith("receipts/") and json.loads(body)["copy"] is None
    ]
    assert primary.volumes.snapshots[declined["snapshot"]].tags[tags.RUN] == str(a_run_id(20))
    assert sources_of(vault) == runs(21, 22)


def test_a_vault_that_stopped_pulling_is_told_where_the_backups_are() -> None:
    primary = a_primary(22, 23)
    offer_snapshots(primary, a_moment(5))
    at_first = tell(primary, a_moment(6))

    offer_snapshots(primary, a_moment(6, day=24))
    tell(primary, a_moment(6, day=24))
    pulled = a_vault_of(primary)
    a_morning(primary, pulled, 24)
    offer_snapshots(primary, a_moment(7, day=24))
    tell(primary, a_moment(7, day=24))

    about_it = [subject for subject in primary.alarms.subjects if OURS in subject]
    assert at_first.troubles == 0
    assert about_it == [
        f"copy failed: 2 snapshots lack their copies in account {OURS}",
        f"copying to account {OURS} is well again",
    ]


def test_what_cannot_be_shared_is_told_with_its_reason_and_costs_only_itself() -> None:
    primary = a_primary(22, 23)
    newest, *_ = sorted(primary.volumes.snapshots, reverse=True)
    primary.volumes.unshareable.add(newest)

    first = offer_snapshots(primary, a_moment(5))
    second = offer_snapshots(primary, a_moment(5, 5))
    tell(primary, a_moment(6))

    assert (len(first.snapshots), [failure.failures for failure in (*first.failed, *second.failed)]) == (1, [1, 2])
    assert any("under AWS's own key" in body for _, _, body in primary.alarms.published)


# -- what the vault believes ------------------------------------------------------------------------------------------


def test_an_offer_of_what_ec2_does_not_show_as_shared_is_only_waited_for() -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))
    primary.volumes.shared_with.clear()
    all_arrives(primary, vault)

    done = a_tick(vault, a_moment(6))

    assert (done.asked, receipts(primary)) == ((), [])
    assert "EC2 does not show that snapshot as shared" in done.waiting[0]


def test_when_a_snapshot_was_taken_is_ec2s_word_and_not_the_offers() -> None:
    """Points that claim to be newer would make the true ones look old, and go."""
    primary = a_primary(23)
    (source,) = primary.volumes.snapshots.values()
    claimed = wire.Offer(source.id, HERE, "000001", {**source.tags, tags.TAKEN: "2036-01-01T00:00:00+00:00"})
    primary.volumes.share(source.id, OURS)
    primary.archive.put_once(wire.offer_key(OURS, source.id), wire.offer_record(claimed))
    vault = a_vault_of(primary)

    a_morning(primary, vault, 23)
    a_tick(vault, a_moment(6))

    assert {at for _, at, _ in restorable(vault)} == {source.started}


@pytest.mark.parametrize("change", ["retention = { last = 1 }", "nothing"])
def test_no_policy_of_the_other_account_makes_it_keep_less_than_its_own_deployment_says(change: str) -> None:
    primary = a_primary(20, policy=POLICY.replace("daily = 2", "daily = 4"))
    vault = a_vault_of(primary, Rules(daily=4))
    for day in (21, 22, 23):
        a_night(primary, day)
        a_morning(primary, vault, day)
    gone = A_POLICY_TEXT if change == "nothing" else POLICY.replace("retention = { daily = 2 }", change)
    apply_policy(gone, None, primary, a_moment(1))
    all_arrives(primary, vault)

    a_tick(vault, a_moment(6))

    assert len(sources_of(vault)) == 4
    assert prune(vault, a_moment(6)).mark == ()


@pytest.mark.attack(
    "delete all backups, forget all hosts, keep nothing, and offer the vault forged points",
    row="X7",
    outcome="the vault lets go of no more than a night takes",
)
@pytest.mark.fault("X7")
def test_whoever_rules_in_the_other_account_can_make_the_vault_let_go_of_no_more_than_a_night_of_theirs_does() -> None:
    primary = a_primary()
    vault = a_vault_of(primary, Rules(daily=3))
    for day in (20, 21, 22, 23):
        a_night(primary, day)
        a_morning(primary, vault, day)

    everything_is_tried_at(primary, vault, a_moment(5, day=24))
    for day in (24, 25):
        while a_tick(vault, a_moment(6, day=day)).asked:
            vault.copies.end(HERE)
        prune(vault, a_moment(7, day=day))

    assert {*runs(22, 23)} <= {*sources_of(vault)}
    assert {at.day for _, at, _ in restorable(vault)} >= {22, 23, 24}


@pytest.mark.attack("the same in both accounts", row="X7", outcome="what is locked stays, one of each week")
@pytest.mark.fault("X7")
def test_whoever_rules_in_both_accounts_can_delete_no_copy_that_is_locked() -> None:
    primary = a_primary()
    vault = a_vault_of(primary, Rules(daily=30), lock_days=30)
    for day in range(1, 17):
        a_night(primary, day)
        a_morning(primary, vault, day)

    everything_is_tried_at(primary, vault, a_moment(5, day=17))
    robbed = replace(vault, settings=replace(vault.settings, keep_at_least=Rules(last=1), lock_days=0))
    for day in (17, 18):
        a_tick(robbed, a_moment(6, day=day))
        prune(robbed, a_moment(7, day=day))
    for copy_id in [*vault.volumes.snapshots]:
        with suppress(PermanentError):
            vault.volumes.delete_snapshot(copy_id)

    assert sources_of(vault) == runs(1, 8, 15)


def everything_is_tried_at(primary: FakeWorld, vault: FakeWorld, now: datetime) -> None:
    """The backups are deleted, the policy wants nothing kept, every host is forgotten, and there are newer points of
    every day to come, as offers claim."""
    primary.volumes.snapshots.clear()
    objects = {
        "policies/000009.toml": POLICY.replace("daily = 2", "last = 1").encode(),
        "forgotten/us0a.json": b"{}",
        "forgotten/eu0a.json": b"{}",
        **{wire.receipt_key(OURS, copy_id): b"{}" for copy_id in vault.volumes.snapshots},
    }
    forged = []
    for day in range(24, 29):
        forgery = a_snapshot(f"snap-forged-{day}", a_run_id(day))
        offer = wire.Offer(forgery.id, HERE, "000009", {**forgery.tags, tags.TAKEN: a_moment(day=day).isoformat()})
        objects[wire.offer_key(OURS, forgery.id)] = wire.offer_record(offer)
        forged.append(replace(forgery, started=now, tags={}))
    vault.archive.objects.update(objects)
    vault.copies.shared[(HERE, THEIRS)] = forged


def test_with_its_rules_and_none_stricter_it_lets_go_of_what_they_let_go_of() -> None:
    primary = a_primary()
    vault = a_vault_of(primary)
    for day in (21, 22, 23):
        a_night(primary, day)
        a_morning(primary, vault, day)

    (marked,) = prune(vault, a_moment(6)).mark

    assert vault.volumes.snapshots[marked].tags[tags.RUN] == str(a_run_id(21))


def test_a_host_that_was_forgotten_in_the_other_account_keeps_its_copies() -> None:
    without_eu0 = POLICY.replace('hosts    = ["us0", "eu0"]', 'hosts    = ["us0"]')
    without_eu0 = without_eu0[: without_eu0.index("[host.eu0]")] + without_eu0[without_eu0.index("[retention]") :]
    primary = a_primary(20)
    vault = a_vault_of(primary)
    a_morning(primary, vault, 20)
    apply_policy(without_eu0, None, primary, a_moment(1))
    for day in (21, 22, 23):
        a_night(primary, day, ("complete",))
        a_morning(primary, vault, day)
    forget_host("eu0", "someone", primary, a_moment(6))
    all_arrives(primary, vault)

    marked = prune(vault, a_moment(6)).mark

    assert [vault.volumes.snapshots[each].tags[tags.RUN] for each in marked] == runs(21)


def test_an_offer_waits_for_the_policy_that_wants_it() -> None:
    """By an older one it might be declined, and that is for ever."""
    primary = a_primary(21, 22, 23, policy=POLICY.replace("daily = 2", "daily = 1"))
    apply_policy(POLICY, None, primary, a_moment(1))
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))
    all_arrives(primary, vault, but="policies/000002")

    early = a_tick(vault, a_moment(6))

    assert (early.asked, receipts(primary)) == ((), [])
    assert "policy 000002, which wants it, has not arrived yet" in early.waiting[0]
    a_morning(primary, vault, 23)
    assert sources_of(vault) == runs(22, 23)


def test_once_an_offer_is_settled_it_is_not_read_again() -> None:
    primary = a_primary(22, 23)
    vault = a_vault_of(primary)
    a_morning(primary, vault, 23)
    for key in vault.archive.list(wire.offers_prefix(OURS)):
        vault.archive.objects[key] = b"what nobody could read"

    assert a_tick(vault, a_moment(6)) == Copied()


def test_a_damaged_offer_costs_itself() -> None:
    primary = a_primary(22, 23)
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))
    (damaged, *_) = primary.archive.list(wire.offers_prefix(OURS))
    primary.archive.objects[damaged] = b"{}"

    a_morning(primary, vault, 23)

    assert len(receipts(primary)) == len(sources_of(vault)) == 1


def test_an_offer_in_a_region_that_cannot_be_asked_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = a_primary(22, 23)
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))
    (astray, *_) = primary.archive.list(wire.offers_prefix(OURS))
    primary.archive.objects[astray] = primary.archive.objects[astray].replace(HERE.encode(), b"xx-nowhere-1")
    monkeypatch.setattr(vault.copies, "find_shared", out_of_reach("xx-nowhere-1", vault.copies.find_shared))

    all_arrives(primary, vault)

    looked = a_tick(vault, a_moment(5))

    assert len(looked.asked) == len(sources_of(vault)) == 1
    (snapshot_id,) = wire.snapshots_named_by([astray])
    assert looked.waiting == (f"offer of {snapshot_id}: no answer from xx-nowhere-1",)


def test_a_vault_that_can_see_no_region_of_its_offers_has_not_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary)
    offer_snapshots(primary, a_moment(5))
    all_arrives(primary, vault)
    monkeypatch.setattr(vault.copies, "find_shared", out_of_reach(HERE, vault.copies.find_shared))

    with pytest.raises(TransientError, match="no answer"):
        a_tick(vault, a_moment(6))

    assert [each.blind for each in vault.catalog.find_copying()] == [f"no answer from {HERE}"]


# -- what neither does ------------------------------------------------------------------------------------------------


def test_a_policy_cannot_name_a_vault_that_the_deployment_does_not_know() -> None:
    with pytest.raises(
        ConfigError, match=r"vault\.account: '210987654321', expected no vault.*VaultAccount=210987654321"
    ):
        apply_policy(POLICY, None, a_world(), a_moment(1))


def test_the_vault_offers_nothing_makes_no_backups_and_takes_no_policy() -> None:
    primary = a_primary(22, 23)
    vault = a_vault_of(primary)
    a_morning(primary, vault, 23)
    a_tick(vault, a_moment(2, 1, day=24))

    assert offer_snapshots(vault, a_moment(6)) == Offered()
    assert vault.machines.requests == []
    with pytest.raises(Refused, match="standby"):
        run_now("main", vault, a_moment(7), new_nonce=lambda: "0" * 32)
    with pytest.raises(ConfigError, match="standby"):
        apply_policy(POLICY, None, vault, a_moment(1))


# -- what EBS locks ---------------------------------------------------------------------------------------------------


def test_unless_the_deployment_says_so_nothing_is_locked_and_only_at_a_vault() -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary)
    a_morning(primary, vault, 23)

    assert vault.volumes.locks == []
    assert lock_copies(primary.volumes.snapshots.values(), replace(primary, settings=not_a_vault())) == Locked()
    assert primary.volumes.locks == []


def not_a_vault() -> Settings:
    return replace(some_settings(), lock_days=30)


def test_a_lock_that_is_refused_holds_up_nothing_is_tried_again_and_told_after_an_hour_until_it_is_there() -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary, lock_days=30)
    vault.volumes.lock_fault = PermanentError("locking snapshot snap-x for 30 days: UnauthorizedOperation")

    a_morning(primary, vault, 23)
    at_first = tell(vault, a_moment(5, 30))
    a_tick(vault, a_moment(6))
    tell(vault, a_moment(6))
    vault.volumes.lock_fault = None
    a_tick(vault, a_moment(7))
    tell(vault, a_moment(7))

    assert (receipts(primary), at_first.troubles) == (sorted(primary.volumes.snapshots), 0)
    about_it = [(subject, body) for _, subject, body in vault.alarms.published if "lock" in subject]
    assert [subject for subject, _ in about_it] == [
        "lock failed: copies in this vault are not locked that should be",
        "locking the copies in this vault is well again",
    ]
    assert "UnauthorizedOperation" in about_it[0][1]
    assert [lock.days for lock in vault.volumes.locks] == [30]


def test_locks_that_cannot_be_looked_at_are_told_and_hold_up_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary, lock_days=30)
    monkeypatch.setattr(vault.volumes, "find_locks", nobody_may_look)

    a_morning(primary, vault, 23)
    a_tick(vault, a_moment(6))
    tell(vault, a_moment(6))

    assert (receipts(primary), vault.volumes.locks) == (sorted(primary.volumes.snapshots), [])
    assert "lock failed: copies in this vault are not locked that should be" in vault.alarms.subjects


def nobody_may_look() -> list[SnapshotLock]:
    raise PermanentError("looking for locked snapshots: UnauthorizedOperation")


def test_before_the_first_lock_is_for_good_the_preflight_says_so_with_the_time_it_can_be_taken_back_until() -> None:
    primary = a_primary(23)
    vault = a_vault_of(primary, lock_days=3650)
    a_morning(primary, vault, 23)
    vault.account.keys["key-1"] = Key("key-1", HERE, "Enabled", is_ours=True)

    (told,) = [each for each in preflight(vault, a_moment(12)).troubles if each.kind is Kind.LOCKS_BEGIN]
    (lock,) = vault.volumes.locks
    vault.volumes.locks = [replace(lock, state="compliance")]
    later = preflight(vault, a_moment(12, day=26)).troubles

    assert told.what == "EBS locks copies for 3650 days, and soon nobody can take that back"
    assert told.details == (
        f"{lock.snapshot_id} until 2036-11-20 05:00 UTC, can be taken back until 2026-11-26 05:00 UTC",
        "key key-1 encrypts copies, and who rules here can delete it: then no lock helps",
    )
    assert [each for each in later if each.kind is Kind.LOCKS_BEGIN] == []


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_wherever_either_side_dies_each_is_copied_once_and_every_receipt_arrives(after: bool) -> None:
    for at in range(1, MOST_CALLS):
        primary, fuse = a_primary(22, 23), Fuse(at, after)
        vault = a_vault_of(primary, lock_days=30)

        now = a_moment(5)
        for _ in range(4):
            now += COPY_SETTLES
            for world, act in ((primary, offer_snapshots), (vault, copy_snapshots)):
                all_arrives(primary, vault)
                vault.catalog.version = "000001"
                try:
                    act(a_fused_world(world, fuse), now)  # type: ignore[operator]
                except Crash:
                    act(world, now)  # type: ignore[operator]
            vault.copies.end(HERE)

        copy_snapshots(vault, now + timedelta(hours=1))
        assert sources_of(vault) == runs(22, 23), f"call {at}"
        assert receipts(primary) == sorted(primary.volumes.snapshots), f"call {at}"
        assert [each.days for each in vault.volumes.locks] == [30], f"call {at}"
        if not fuse.has_blown:
            return
    pytest.fail(f"four passes on both sides take more than {MOST_CALLS} calls")


# -- what was found damaged after it was pulled -----------------------------------------------------------------------


def test_what_the_other_account_calls_damaged_counts_no_more_and_not_one_copy_goes_for_it() -> None:
    primary = a_primary()
    vault = a_vault_of(primary)
    for day in (21, 22, 23):
        a_night(primary, day)
        a_morning(primary, vault, day)
    for snapshot in [*primary.volumes.snapshots.values()]:
        if snapshot.tags[tags.RUN] != str(a_run_id(22)):
            primary.volumes.tag(snapshot.id, {tags.DAMAGED: "main/2026-11-24/1"})
    prune(primary, a_moment(9, day=24))
    all_arrives(primary, vault)
    before = sources_of(vault)

    for hours in (0, 21, 42):
        now = a_moment(10, day=24) + timedelta(hours=hours)
        a_tick(vault, now)
        prune(vault, now)

    assert {at.day for _, at, _ in restorable(vault)} == {22}
    assert sources_of(vault) == before
