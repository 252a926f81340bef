"""What restored servers are called beside each other: no two of them the same, unless somebody means it."""

from datetime import timedelta

import pytest

from chalicelib.core.model import Recovery
from chalicelib.core.naming import RecoveryRequest, is_own_name, own_name
from chalicelib.errors import ConfigError, Refused, TransientError
from chalicelib.flows.close_recoveries import close_recoveries
from chalicelib.flows.open_recovery import open_restore
from chalicelib.flows.recover import recover
from tests.builders import a_point, a_run_id
from tests.fakes import FakeWorld
from tests.recoveries import NOW, a_world_with_backups


@pytest.fixture
def world() -> FakeWorld:
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
    list_keys = world.archive.list

    def asked_for_meanwhile(prefix: str) -> list[str]:
        monkeypatch.undo()
        open_restore(other, world, NOW)
        return list_keys(prefix)

    monkeypatch.setattr(world.archive, "list", asked_for_meanwhile)


def test_of_two_that_are_asked_for_at_once_one_gives_way_before_it_is_launched_and_has_another_number(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_while(RecoveryRequest("us0", point="snap-21"), world, monkeypatch)

    with pytest.raises(TransientError, match="1 was given the name restored-us0a just now: ask again"):
        restored(world, point="snap-22")

    (other, gave_way) = world.catalog.find_recoveries("us0a")
    assert [payload["recovery"] for _, payload in world.lambdas.invoked] == [str(other.id)]
    assert recover(gave_way.id, world, NOW + timedelta(hours=1)).recovery.state.is_final
    assert world.machines.requests == []
    assert (other.name, restored(world, point="snap-22").name) == ("restored-us0a", "restored-us0a-2")


def test_nor_does_a_name_that_was_given_go_to_two_at_once(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_while(RecoveryRequest("eu0", name="replica.example.org"), world, monkeypatch)

    with pytest.raises(TransientError, match="was given the name replica just now: ask again"):
        restored(world, name="replica")

    with pytest.raises(Refused, match="replica is the name of eu0a"):
        restored(world, name="replica")


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain"])
def test_what_every_machine_calls_itself_is_no_name(world: FakeWorld, name: str) -> None:
    with pytest.raises(ConfigError, match="expected a host name like"):
        restored(world, name=name, is_meant=True)


def test_a_name_that_somebody_gave_is_not_taken_for_a_numbered_one() -> None:
    assert own_name("us0a", {"restored-us0a", "restored-us0a-2", "restored-us0a-4"}) == "restored-us0a-3"
    assert [is_own_name(f"restored-{of}", "us0a") for of in ("us0a", "us0a-2", "us0a-b", "us0b")] == [
        True, True, False, False,
    ]  # fmt: skip
