"""What restored servers are called beside each other: no two of them the same, unless somebody means it."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.model import Lease, Recovery
from chalicelib.core.naming import RecoveryRequest, is_own_name, own_name
from chalicelib.core.verdicts import is_on_its_way_out
from chalicelib.errors import ConfigError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries
from chalicelib.flows.open_recovery import _OPENS_WITHIN, open_restore
from tests.builders import a_point, a_run_id
from tests.fakes import Crash, FakeWorld, Fuse, a_fused_world
from tests.recoveries import NOW, a_world_with_backups


@pytest.fixture
def world() -> FakeWorld:
    return a_world_that_has_both()


def a_world_that_has_both() -> FakeWorld:
    world = a_world_with_backups(21, 22)
    world.catalog.record_point(a_point("eu0a", snapshot_id="snap-22", run_id=a_run_id(22)))
    return world


def restored(world: FakeWorld, host: str = "us0", **asked: object) -> Recovery:
    return open_restore(RecoveryRequest(host, **asked), world, NOW)  # type: ignore[arg-type]


def test_the_second_one_of_a_host_has_a_number(world: FakeWorld) -> None:
    newest, older = restored(world), restored(world, point="snap-21")

    assert (newest.name, older.name) == ("restored-us0a", "restored-us0a-2")


def test_asked_again_each_is_the_one_that_stands_whatever_its_number(world: FakeWorld) -> None:
    newest, older = restored(world), restored(world, point="snap-21")

    assert (restored(world, point="snap-22").id, restored(world, point="snap-21").id) == (newest.id, older.id)
    assert restored(world).id == newest.id


@pytest.mark.parametrize("name", ["restored-us0a", "restored-us0a.example.org", "replica"])
def test_a_name_that_another_one_stands_under_is_refused_unless_it_is_meant(world: FakeWorld, name: str) -> None:
    standing = restored(world, name=name.partition(".")[0])

    with pytest.raises(Refused, match=f"{name} is the name of {standing.id}, which stands restored"):
        restored(world, "eu0", name=name)

    assert restored(world, "eu0", name=name, is_meant=True).name == name


def test_of_its_own_host_at_another_point_as_well(world: FakeWorld) -> None:
    restored(world, name="replica")

    with pytest.raises(Refused, match="replica is the name of"):
        restored(world, name="replica", point="snap-21")


def test_a_name_is_free_again_once_it_is_nobodys(world: FakeWorld) -> None:
    closed = restored(world, name="replica")
    close_recoveries(str(closed.id), world, NOW)

    assert open_restore(RecoveryRequest("eu0", name="replica"), world, NOW + timedelta(minutes=1)).name == "replica"


def asked_while(other: RecoveryRequest, world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody asks for the other one as soon as the next one that is asked for has seen what stands."""
    find_lease = world.catalog.find_lease

    def asked_for_meanwhile(name: str) -> Lease | None:
        monkeypatch.undo()
        open_restore(other, world, NOW)
        return find_lease(name)

    monkeypatch.setattr(world.catalog, "find_lease", asked_for_meanwhile)


def test_of_two_that_are_asked_for_at_once_one_is_not_begun_and_has_another_number(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_while(RecoveryRequest("us0", point="snap-21"), world, monkeypatch)

    with pytest.raises(TransientError, match="1 was given the name restored-us0a just now: ask again"):
        restored(world, point="snap-22")

    (other,) = world.catalog.find_recoveries("us0a")
    assert [payload["recovery"] for _, payload in world.lambdas.invoked] == [str(other.id)]
    assert (other.name, restored(world, point="snap-22").name) == ("restored-us0a", "restored-us0a-2")


def test_nor_does_a_name_that_was_given_go_to_two_at_once(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_while(RecoveryRequest("eu0", name="replica.example.org"), world, monkeypatch)

    with pytest.raises(TransientError, match="was given the name replica just now: ask again"):
        restored(world, name="replica")

    with pytest.raises(Refused, match="replica is the name of eu0a"):
        restored(world, name="replica")


REPLICA_OF_US0, REPLICA_OF_EU0 = RecoveryRequest("us0", name="replica"), RecoveryRequest("eu0", name="replica")
NEVER = 0


@dataclass
class Crossed(Fuse):
    """Before the call at which they meet somebody else has done as much as they do."""

    meet: int = NEVER
    other: Callable[[], object] = lambda: None

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        guarded = super().around(call)

        def met(*given: Any, **named: Any) -> Any:
            if self.calls + 1 == self.meet:
                self.other()
            return guarded(*given, **named)

        return met


def as_far_as_it_comes(request: RecoveryRequest, world: FakeWorld, fuse: Fuse) -> None:
    with suppress(Crash, TransientError, Refused):
        open_restore(request, a_fused_world(world, fuse), NOW)


def those_that_stand(meet: int, first: Fuse, second: Fuse) -> tuple[list[str], bool]:
    """What a tick would wake, where the second one comes at this call of the first; and whether they met at all."""
    world = a_world_that_has_both()
    crossed = Crossed(first.at, first.after, True, meet=meet)
    crossed.other = lambda: as_far_as_it_comes(REPLICA_OF_EU0, world, second)
    as_far_as_it_comes(REPLICA_OF_US0, world, crossed)
    standing = [str(each.id) for each in world.catalog.find_recoveries() if not is_on_its_way_out(each, NOW)]
    return standing, crossed.calls >= meet


def test_wherever_two_cross_that_would_be_called_the_same_one_is_opened() -> None:
    for meet in count(1):
        standing, have_met = those_that_stand(meet, Fuse(NEVER, False), Fuse(NEVER, False))
        if not have_met:
            break
        assert len(standing) == 1, meet

    assert meet > 10


@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after it"])
@pytest.mark.parametrize("is_first", [True, False], ids=["who was there", "who came"])
def test_whichever_of_the_two_dies_wherever_they_cross_no_second_one_is_called_so(is_first: bool, after: bool) -> None:
    for meet, dies in product(range(1, 20), range(1, 20)):
        dying, whole = Fuse(dies, after, for_good=True), Fuse(NEVER, False)
        standing, _ = those_that_stand(meet, *((dying, whole) if is_first else (whole, dying)))

        assert len(standing) <= 1, (meet, dies)


def test_a_name_is_nobody_elses_for_longer_than_the_function_lives_that_opens_a_restore() -> None:
    stages = json.loads(Path(".chalice/config.json").read_text())["stages"]

    lives = {stage["lambda_functions"]["restore"]["lambda_timeout"] for stage in stages.values()}

    assert timedelta(seconds=max(lives)) < _OPENS_WITHIN


def test_whoever_dies_keeps_a_name_from_others_for_two_minutes_at_most() -> None:
    for dies in range(1, 20):
        world = a_world_that_has_both()
        as_far_as_it_comes(REPLICA_OF_US0, world, Fuse(dies, after=True, for_good=True))

        with suppress(Refused):
            open_restore(REPLICA_OF_EU0, world, NOW + timedelta(minutes=2))

        (standing,) = world.catalog.find_recoveries()
        assert standing.name == "replica", dies


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain"])
def test_what_every_machine_calls_itself_is_no_name(world: FakeWorld, name: str) -> None:
    with pytest.raises(ConfigError, match="expected a host name like"):
        restored(world, name=name, is_meant=True)


def test_a_name_that_somebody_gave_is_not_taken_for_a_numbered_one() -> None:
    assert own_name("us0a", {"restored-us0a", "restored-us0a-2", "restored-us0a-4"}) == "restored-us0a-3"
    assert [is_own_name(f"restored-{of}", "us0a") for of in ("us0a", "us0a-2", "us0a-b", "us0b")] == [
        True, True, False, False,
    ]  # fmt: skip
