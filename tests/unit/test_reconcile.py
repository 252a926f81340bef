"""Reconciling a run when AWS answers late, twice, wrongly or not at all, and when someone else is faster."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from chalicelib import wire
from chalicelib.core import tags
from chalicelib.core.model import Run, RunState, Snapshot
from chalicelib.core.night import MACHINE_SETTLES, MOST_ATTEMPTS, MOST_MACHINES
from chalicelib.core.one_snapshot import SNAPSHOT_SETTLES
from chalicelib.errors import CapacityError, PermanentError, TooLargeError, TransientError
from chalicelib.flows.observe import observe
from chalicelib.flows.policies import get_policy
from chalicelib.flows.reconcile import reconcile
from chalicelib.flows.steps import KEPT_ASIDE
from tests.builders import (
    A_POLICY_TEXT,
    a_moment,
    a_release,
    a_result,
    a_run,
    a_run_id,
    a_snapshot,
    a_word_of_readiness,
    a_word_without_a_volume,
)
from tests.fakes import FakeArchive, FakeCatalog, FakeVolumes, FakeWorld, a_world, without_end

OPENED = a_moment(2)
LARGE = b"larger than anything that is read"


def a_world_with(run: Run, catalog: FakeCatalog | None = None) -> FakeWorld:
    world = a_world(catalog=catalog)
    world.archive.put_once("policies/000001.toml", A_POLICY_TEXT.encode())
    world.catalog.open_run(run)
    return world


def a_world_after_the_pushes(catalog: FakeCatalog | None = None, clean: bool = True) -> FakeWorld:
    """Both hosts are complete, and the receiver is gone."""
    world = a_world_with(a_run(), catalog)
    reconcile(a_run_id(), world, OPENED)
    for host in ("us0", "eu0"):
        world.catalog.record_result(a_result(host))
    world.archive.put_once(wire.word_key(a_run(), "released", 1), a_release(clean=clean))
    world.machines.terminate("i-1")
    return world


@dataclass
class VolumesThatLoseAnswers(FakeVolumes):
    """CreateSnapshot answers with an error, whether it did it or not; Describe shows it when the test says so."""

    has_effect: bool = True
    hidden: bool = False
    asked: list[str] = field(default_factory=list)

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        self.asked.append(volume_id)
        if self.has_effect:
            super().create_snapshot(volume_id, description, tags)
        raise TransientError("no answer")

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        return [] if self.hidden else super().find_snapshots(tags)


def losing_answers(
    world: FakeWorld, has_effect: bool, hidden: bool = False
) -> tuple[FakeWorld, VolumesThatLoseAnswers]:
    volumes = VolumesThatLoseAnswers(
        world.machines,
        volumes=world.volumes.volumes,
        created=world.volumes.created,
        has_effect=has_effect,
        hidden=hidden,
    )
    return replace(world, volumes=volumes), volumes


@dataclass
class ArchiveThatDoesNotAnswer(FakeArchive):
    """Lists what there is, and breaks off whoever reads a report."""

    def get(self, key: str) -> bytes:
        if key.startswith("reports/"):
            raise TransientError("the connection broke off")
        return super().get(key)


def test_a_report_that_could_not_be_read_just_now_is_asked_for_again_and_not_rejected() -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    world.archive.put_once(wire.report_key(a_run(), "us0a"), b"{}")
    broken = replace(world, archive=ArchiveThatDoesNotAnswer(world.archive.objects))

    with pytest.raises(TransientError, match="broke off"):
        reconcile(a_run_id(), broken, OPENED)


def test_nobody_waits_for_a_host_whose_report_is_rejected() -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    world.archive.put_once(wire.report_key(a_run(), "us0a"), b"{}")

    observed = observe(a_run(), get_policy("000001", world), world)

    assert observed.night.rejected == {"us0a"}


def test_a_snapshot_whose_answer_was_lost_is_adopted_and_not_taken_twice() -> None:
    world, volumes = losing_answers(a_world_after_the_pushes(), has_effect=True)

    reconcile(a_run_id(), world, a_moment(3))

    assert len(volumes.asked) == 1
    assert world.catalog.get_run(a_run_id()).snapshot_id == next(iter(volumes.snapshots))


def test_a_snapshot_that_shows_minutes_later_is_still_the_only_one() -> None:
    world, volumes = losing_answers(a_world_after_the_pushes(), has_effect=True, hidden=True)

    reconcile(a_run_id(), world, a_moment(3))
    reconcile(a_run_id(), world, a_moment(3) + SNAPSHOT_SETTLES - timedelta(seconds=1))
    volumes.hidden = False
    reconcile(a_run_id(), world, a_moment(3) + SNAPSHOT_SETTLES)

    assert len(volumes.asked) == 1
    assert world.catalog.get_run(a_run_id()).snapshot_id == next(iter(volumes.snapshots))


@pytest.mark.parametrize("clean", [True, False])
def test_a_receivers_own_word_says_whether_its_volume_was_let_go_of(clean: bool) -> None:
    world = a_world_after_the_pushes(clean=clean)

    reconcile(a_run_id(), world, a_moment(3))

    (taken,) = world.volumes.snapshots.values()
    assert taken.tags[tags.CONSISTENCY] == (tags.Consistency.RELEASED if clean else tags.Consistency.CRASH)


def a_world_with_two_volumes() -> FakeWorld:
    """After the pushes; vol-0 is from an earlier night, was briefed tonight, and a receiver stood ready with it."""
    world = a_world_after_the_pushes()
    (other,) = world.volumes.volumes.values()
    left = {**other.tags, tags.MADE_FOR: str(a_run_id(22))}
    world.volumes.volumes["vol-0"] = replace(other, id="vol-0", tags=left, state="available", attached_to=None)
    world.archive.put_once(wire.brief_key(a_run_id(), "vol-0"), b"{}")
    world.archive.put_once(wire.word_key(a_run(), "ready", 1), a_word_of_readiness("vol-0"))
    return world


def volumes_taken(world: FakeWorld) -> list[str]:
    return [snapshot.volume_id for snapshot in world.volumes.snapshots.values()]


def test_the_volume_that_the_receiver_stood_ready_with_is_snapshotted_and_not_one_that_an_earlier_night_left() -> None:
    world = a_world_with_two_volumes()

    reconcile(a_run_id(), world, a_moment(3))

    assert volumes_taken(world) == ["vol-0"]


@dataclass
class ArchiveThatDeniesWords(FakeArchive):
    def get(self, key: str) -> bytes:
        if "/ready/" in key:
            raise PermanentError("AccessDenied")
        return super().get(key)


def test_a_word_that_cannot_be_had_just_now_is_no_leave_to_guess() -> None:
    world = a_world_with_two_volumes()
    denied = replace(world, archive=ArchiveThatDeniesWords(world.archive.objects))

    with pytest.raises(PermanentError, match="AccessDenied"):
        reconcile(a_run_id(), denied, a_moment(3))
    reconcile(a_run_id(), world, a_moment(3, 1))

    assert volumes_taken(world) == ["vol-0"]


@pytest.mark.parametrize(
    "key",
    [wire.word_key(a_run(), "ready", 2), f"{wire.words_prefix(a_run())}ready/deeper/ready/7.json"],
    ids=["an older agent's", "one that lies deeper"],
)
def test_no_other_word_silences_the_first_that_names_a_volume(key: str) -> None:
    world = a_world_with_two_volumes()
    world.archive.put_once(key, a_word_without_a_volume(attempt=2))

    reconcile(a_run_id(), world, a_moment(5, 55))

    assert volumes_taken(world) == ["vol-0"]


def test_a_word_of_a_volume_that_was_never_briefed_is_not_believed() -> None:
    """Every machine may write a word below every run; a brief none."""
    world = a_world_with_two_volumes()
    del world.archive.objects[wire.brief_key(a_run_id(), "vol-0")]

    reconcile(a_run_id(), world, a_moment(3))

    assert volumes_taken(world) != ["vol-0"]


def test_a_word_that_is_not_where_a_receivers_word_belongs_stops_no_run() -> None:
    world = a_world_after_the_pushes()
    for what in ("ready", "released"):
        world.archive.put_once(f"{wire.words_prefix(a_run())}ready/deeper/{what}/7.json", b"{}")

    reconcile(a_run_id(), world, a_moment(3))

    (taken,) = world.volumes.snapshots.values()
    assert taken.tags[tags.CONSISTENCY] == tags.Consistency.RELEASED


@dataclass
class VolumesThatShowLate(FakeVolumes):
    """What was made is not shown at the first look."""

    looks: int = 0

    def find_snapshots(self, tags: Mapping[str, str]) -> list[Snapshot]:
        self.looks += 1
        return super().find_snapshots(tags) if self.looks > 1 else []


def test_a_snapshot_that_shows_between_the_decision_and_the_deed_is_adopted() -> None:
    world = a_world_after_the_pushes()
    volumes = VolumesThatShowLate(world.machines, volumes=world.volumes.volumes)
    volumes.snapshots["snap-there"] = a_snapshot("snap-there", state="pending")

    reconcile(a_run_id(), replace(world, volumes=volumes), a_moment(3))

    assert list(volumes.snapshots) == ["snap-there"]
    assert world.catalog.get_run(a_run_id()).snapshot_id == "snap-there"


def test_a_snapshot_that_never_was_is_asked_for_again_when_it_would_have_shown() -> None:
    world, volumes = losing_answers(a_world_after_the_pushes(), has_effect=False)

    first = reconcile(a_run_id(), world, a_moment(3))
    volumes.has_effect = True
    reconcile(a_run_id(), world, a_moment(3) + SNAPSHOT_SETTLES)

    assert first.waiting == ("a snapshot was asked for and does not show yet",)
    assert len(volumes.asked) == 2
    assert len(volumes.snapshots) == 1


@dataclass
class CatalogWhereSomeoneIsFaster(FakeCatalog):
    """The next write of a run finds that another one came first."""

    is_beaten: bool = False

    def save_run(self, run: Run) -> Run | None:
        if self.is_beaten:
            self.is_beaten = False
            super().save_run(run)
        return super().save_run(run)


def test_whoever_loses_the_intent_takes_no_snapshot() -> None:
    catalog = CatalogWhereSomeoneIsFaster()
    world = a_world_after_the_pushes(catalog)
    catalog.is_beaten = True

    outcome = reconcile(a_run_id(), world, a_moment(3))

    assert outcome.overtaken
    assert world.volumes.snapshots == {}


def test_whoever_loses_the_claim_launches_nothing() -> None:
    catalog = CatalogWhereSomeoneIsFaster(is_beaten=True)
    world = a_world_with(a_run(), catalog)

    outcome = reconcile(a_run_id(), world, OPENED)

    assert outcome.overtaken
    assert world.machines.requests == []


def test_without_room_for_the_first_type_the_next_one_is_launched() -> None:
    world = a_world_with(a_run())
    world.machines.no_capacity_for = {"t4g.small"}

    reconcile(a_run_id(), world, OPENED)

    assert [request.instance_type for request in world.machines.requests] == ["t4g.medium"]


def test_without_room_for_any_type_it_is_tried_again_later_with_the_same_request() -> None:
    world = a_world_with(a_run())
    world.machines.no_capacity_for = {"t4g.small", "t4g.medium"}

    with pytest.raises(CapacityError, match=r"t4g\.small, t4g\.medium"):
        reconcile(a_run_id(), world, OPENED)
    world.machines.no_capacity_for = set()
    reconcile(a_run_id(), world, OPENED + MACHINE_SETTLES)

    (request,) = world.machines.requests
    assert "POWER_OFF_MINUTES='270'" in request.user_data
    assert "STOP_MINUTES='30'" in request.user_data
    assert "FILESYSTEM='ext4'" in request.user_data
    assert request.tags[tags.ATTEMPT] == "1"


def test_a_night_without_any_room_fails_without_a_snapshot() -> None:
    world = a_world_with(a_run())
    world.machines.no_capacity_for = {"t4g.small", "t4g.medium"}
    with pytest.raises(CapacityError):
        reconcile(a_run_id(), world, OPENED)

    outcome = reconcile(a_run_id(), world, a_moment(6))

    assert outcome.run.state is RunState.FAILED
    assert world.volumes.snapshots == {}


def test_a_machine_that_ec2_has_forgotten_costs_its_attempt_only() -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    forget(world, "i-1")
    world.machines.now = a_moment(4)

    reconcile(a_run_id(), world, a_moment(4))
    reconcile(a_run_id(), world, a_moment(4) + MACHINE_SETTLES)

    assert [request.tags[tags.ATTEMPT] for request in world.machines.requests] == ["1", "2"]


def forget(world: FakeWorld, machine_id: str) -> None:
    """EC2 no longer shows it, and still knows its token."""
    world.machines.terminate(machine_id)
    gone = world.machines.by_id[machine_id]
    world.machines.by_id[machine_id] = replace(gone, tags={})


def test_a_second_receiver_serves_from_where_the_first_was_lost() -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    world.machines.terminate("i-1")
    world.machines.now = a_moment(3)

    reconcile(a_run_id(), world, a_moment(3))

    (volume,) = world.volumes.volumes.values()
    assert volume.attached_to == "i-2"
    assert world.address.names == {"backup.example.org": "10.0.0.2"}


def test_a_lost_volume_comes_back_from_the_newest_completed_snapshot() -> None:
    world = a_world_with(a_run())
    for snapshot in (
        a_snapshot("snap-old", a_run_id(21)),
        replace(a_snapshot("snap-new", a_run_id(22)), size_gib=120),
        a_snapshot("snap-pending", a_run_id(22, attempt=2), state="pending"),
    ):
        world.volumes.snapshots[snapshot.id] = snapshot

    reconcile(a_run_id(), world, OPENED)

    (volume,) = world.volumes.volumes.values()
    assert world.volumes.made_from[volume.id] == "snap-new"
    assert volume.size_gib == 120


def a_world_with_a_volume_of_tonight() -> FakeWorld:
    """Made of the newest snapshot; its first receiver has gone."""
    world = a_world_with(a_run())
    world.volumes.snapshots["snap-22"] = a_snapshot("snap-22", a_run_id(22))
    reconcile(a_run_id(), world, OPENED)
    world.machines.terminate("i-1")
    return world


def test_what_was_pushed_to_tonight_is_kept_for_a_person_and_its_snapshot_is_not_blamed() -> None:
    world = a_world_with_a_volume_of_tonight()
    world.archive.put_once(wire.word_key(a_run(), "ready", 1), a_word_of_readiness("vol-1"))
    world.archive.put_once(wire.word_key(a_run(), "damaged", 2), a_word_of_readiness("vol-1", 2))

    reconcile(a_run_id(), world, OPENED)

    volume = world.volumes.volumes["vol-1"]
    assert volume.tags[tags.ROLE] == tags.Role.ASIDE
    assert volume.tags[tags.EXPIRES] == (a_run().deadline + KEPT_ASIDE).isoformat()
    assert tags.DAMAGED not in world.volumes.snapshots["snap-22"].tags


@dataclass
class VolumesThatTagNoSnapshot(FakeVolumes):
    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        if resource_id in self.snapshots:
            raise TransientError("no answer")
        super().tag(resource_id, tags)


def test_a_volume_is_set_aside_only_when_what_it_was_made_of_is_marked() -> None:
    """Once it is aside nobody looks for its source any more."""
    world = a_world_with_a_volume_of_tonight()
    world.archive.put_once(wire.word_key(a_run(), "damaged", 1), a_word_of_readiness("vol-1"))
    failing = VolumesThatTagNoSnapshot(world.machines, volumes=world.volumes.volumes, snapshots=world.volumes.snapshots)

    with pytest.raises(TransientError):
        reconcile(a_run_id(), replace(world, volumes=failing), OPENED)

    assert world.volumes.volumes["vol-1"].tags[tags.ROLE] == tags.Role.DATA


def a_refusal(attempt: int, why: object) -> bytes:
    return json.dumps({**json.loads(a_word_without_a_volume(attempt)), "why": why}).encode()


@pytest.mark.fault("R3")
def test_a_run_that_fails_says_in_their_own_words_why_its_receivers_let_nobody_in() -> None:
    """Every machine may write words of every run that is open, and of attempts that there never were."""
    world = a_world_with(a_run())
    world.archive.put_once(wire.word_key(a_run(), "refused", 3), a_refusal(3, "says another"))
    for attempt, why in ((1, "the clock is wrong"), (2, "rsync\n3.2.7 is too old")):
        reconcile(a_run_id(), world, OPENED)
        world.archive.put_once(wire.word_key(a_run(), "refused", attempt), a_refusal(attempt, why))
        reconcile(a_run_id(), world, OPENED)

    run = world.catalog.get_run(a_run_id())
    assert run.state is RunState.FAILED
    assert run.why == r"no receiver was ready in time, of 2; receiver 2 says: rsync\n3.2.7 is too old"


@dataclass
class ArchiveThatCounts(FakeArchive):
    read: list[str] = field(default_factory=list)

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)


@pytest.mark.parametrize("what", ["ready", "released", "damaged", "refused"])
def test_a_machine_that_writes_words_without_end_keeps_no_run_waiting(what: str) -> None:
    """Every machine may write words of every run that is open, and of attempts that there never were."""
    world = a_world_with(a_run())
    archive = ArchiveThatCounts(world.archive.objects)
    for attempt in range(1, 1001):
        archive.put_once(wire.word_key(a_run(), what, attempt), a_word_of_readiness("vol-9", attempt))

    reconcile(a_run_id(), replace(world, archive=archive), OPENED)

    assert {key for key in archive.read if f"/{what}/" in key} <= {
        wire.word_key(a_run(), what, attempt) for attempt in range(1, MOST_ATTEMPTS + 1)
    }


def test_words_of_damage_without_end_launch_no_machines_without_end() -> None:
    """Who has found its volume damaged costs no machine of those that a night has."""
    world = a_world_with(a_run())
    for passed in range(0, 240, 5):
        launched, world.machines.now = len(world.machines.by_id), OPENED + timedelta(minutes=passed)
        world.archive.put_once(wire.word_key(a_run(), "damaged", launched), a_word_of_readiness("vol-9", launched))
        reconcile(a_run_id(), world, world.machines.now)

    assert len(world.machines.by_id) <= MOST_ATTEMPTS + MOST_MACHINES


def test_names_without_end_beside_a_word_hide_it_from_no_look_and_make_none_longer() -> None:
    world = a_world_after_the_pushes()
    for number in range(1000):
        world.archive.put_once(f"{wire.words_prefix(a_run())}forged/{number}.json", b"{}")
        world.archive.put_once(f"{wire.report_prefix(a_run())}0{number}.json", b"{}")

    observed = observe(a_run(), get_policy("000001", world), without_end(world))

    assert observed.night.clean == {1}
    assert [result.name for result in observed.night.results] == ["eu0", "us0"]


@dataclass
class ArchiveOfLargeWords(FakeArchive):
    """What S3Archive says of one that is larger than anything that is read."""

    def get(self, key: str) -> bytes:
        if super().get(key) == LARGE:
            raise TooLargeError(key)
        return super().get(key)


@pytest.mark.parametrize("what", ["ready", "released", "damaged", "refused"])
def test_a_word_that_is_too_large_to_be_read_keeps_no_run_open(what: str) -> None:
    world = a_world_with(a_run())
    world = replace(world, archive=ArchiveOfLargeWords(world.archive.objects))
    reconcile(a_run_id(), world, OPENED)
    world.archive.put_once(wire.word_key(a_run(), what, 1), LARGE)
    world.machines.terminate("i-1")

    reconcile(a_run_id(), world, a_moment(7))
    for snapshot_id in world.volumes.snapshots:
        world.volumes.complete(snapshot_id)
    reconcile(a_run_id(), world, a_moment(7, 30))

    assert world.catalog.get_run(a_run_id()).state is RunState.FAILED


def test_reports_of_hosts_that_nobody_expects_are_not_even_read() -> None:
    world = a_world_with(a_run())
    archive = ArchiveThatCounts(world.archive.objects)
    for number in range(1000):
        archive.put_once(wire.report_key(a_run(), f"x{number:03}"), b"{}")

    outcome = reconcile(a_run_id(), replace(world, archive=archive), OPENED)

    assert outcome.rejected == ()
    assert not [key for key in archive.read if key.startswith("reports/")]


@pytest.mark.parametrize("why", [5, None, ""])
def test_a_word_that_does_not_say_why_ends_no_machine(why: object) -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    world.archive.put_once(wire.word_key(a_run(), "refused", 1), a_refusal(1, why))

    reconcile(a_run_id(), world, OPENED)

    assert [machine.is_gone for machine in world.machines.by_id.values()] == [False]


def test_who_stands_ready_is_not_ended_for_a_word_that_it_lets_nobody_in() -> None:
    world = a_world_with(a_run())
    reconcile(a_run_id(), world, OPENED)
    world.archive.put_once(wire.word_key(a_run(), "ready", 1), a_word_of_readiness("vol-1"))
    world.archive.put_once(wire.word_key(a_run(), "refused", 1), a_refusal(1, "says another"))

    reconcile(a_run_id(), world, OPENED)

    assert [machine.is_gone for machine in world.machines.by_id.values()] == [False]


def test_once_a_snapshot_was_found_damaged_what_is_made_of_another_is_looked_through() -> None:
    world = a_world_with(a_run())
    sound, damaged = a_snapshot("snap-21", a_run_id(21)), a_snapshot("snap-22", a_run_id(22))
    damaged = replace(damaged, tags={**damaged.tags, tags.DAMAGED: str(a_run_id(22))})
    world.volumes.snapshots.update({"snap-21": sound, "snap-22": damaged})

    reconcile(a_run_id(), world, OPENED)

    assert world.volumes.made_from == {"vol-1": "snap-21"}
    assert json.loads(world.archive.get(wire.brief_key(a_run_id(), "vol-1")))["volume"]["distrusted"] is True


def test_the_archive_knows_of_the_end_before_the_table_does() -> None:
    catalog = CatalogWhereSomeoneIsFaster()
    world = a_world_after_the_pushes(catalog)
    reconcile(a_run_id(), world, a_moment(3))
    world.volumes.complete(next(iter(world.volumes.snapshots)))
    catalog.is_beaten = True

    outcome = reconcile(a_run_id(), world, a_moment(4))

    assert outcome.overtaken
    assert wire.parse_closed(world.archive.get(wire.closed_key(a_run_id()))).state is RunState.DONE
    assert world.lambdas.invoked == []


@pytest.mark.parametrize("now", [a_moment(3), a_moment(23)])
def test_a_closed_run_stays_as_it_is(now: datetime) -> None:
    world = a_world_with(a_run(state=RunState.DONE))

    outcome = reconcile(a_run_id(), world, now)

    assert outcome.steps == ()
    assert world.machines.requests == []


def test_a_run_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(PermanentError, match="rebuild"):
        reconcile(a_run_id(), a_world(), OPENED)
