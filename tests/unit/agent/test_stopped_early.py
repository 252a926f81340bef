"""A machine that is told to stop before it lets anybody in: it goes at once, and says no word of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from ebbtide_agent import instance
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.instance import Instance
from ebbtide_agent.orders import Order, Stopped
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import boot, clock, opened, sshd
from ebbtide_agent.receiver.brief import Brief
from ebbtide_agent.receiver.quotas import Quotas
from ebbtide_agent.receiver.station import Station

WIRE = Path(__file__).parents[2] / "contract/wire"
NOW = datetime(2026, 11, 23, 2, 3, tzinfo=UTC)


class Archive:
    """A brief and a host key; and what is done when it is asked for the time or the brief."""

    def __init__(self) -> None:
        self.time = NOW
        self.asked: Callable[[], None] = lambda: None
        self.words: list[str] = []

    def read_clock(self, key: str) -> datetime:
        self.asked()
        return self.time

    def get_brief(self, key: str) -> bytes:
        self.asked()
        return (WIRE / "brief-receiver.json").read_bytes()

    def get(self, key: str) -> bytes:
        raise KeyError(key)

    def get_parameter(self, name: str) -> str:
        return "a key"

    def put_once(self, key: str, body: bytes) -> bool:
        self.words.append(key)
        return True


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def machine(tmp_path: Path, archive: Archive) -> Station:
    """Its device, once there is one, is a directory."""
    about = Instance("receiver", "main/2026-11-23/1", 1, "archive", "us-east-1", "brief")
    door = sshd.Door(22, ("false",), {}, False, False, False, sshd.CROWD)
    return Station(about, MachinePaths(tmp_path / "machine"), cast(Cloud, archive), lambda: NOW, door)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Order:
    """The order, for a machine that loses patience within a second and has no sshd."""
    order = Order()
    for module in (boot, opened):
        monkeypatch.setattr(module, "stopped_by_signals", lambda: order)
    monkeypatch.setattr(clock, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(boot, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(instance, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(sshd, "start", lambda *_: pytest.fail("the door is open"))
    return order


def with_a_volume(machine: Station, store: Path) -> None:
    store.mkdir()
    device = machine.paths.device("vol-0abc")
    device.parent.mkdir(parents=True)
    device.symlink_to(store)


def with_a_wrong_clock(machine: Station, archive: Archive, stop: Order, _: pytest.MonkeyPatch) -> None:
    archive.time, archive.asked = NOW + timedelta(hours=1), stop.give


def without_its_volume(machine: Station, archive: Archive, stop: Order, _: pytest.MonkeyPatch) -> None:
    archive.asked = stop.give


def while_its_volume_is_looked_at(machine: Station, archive: Archive, stop: Order, patch: pytest.MonkeyPatch) -> None:
    look = boot.open_places

    def open_places(brief: Brief, paths: MachinePaths, as_root: bool) -> Quotas:
        stop.give()
        return look(brief, paths, as_root)

    with_a_volume(machine, machine.paths.root.parent / "store")
    patch.setattr(boot, "open_places", open_places)


@pytest.mark.fault("R7")
@pytest.mark.parametrize("when", [with_a_wrong_clock, without_its_volume, while_its_volume_is_looked_at])
def test_a_receiver_that_is_told_to_stop_lets_nobody_in_and_says_no_word(
    when: Callable[[Station, Archive, Order, pytest.MonkeyPatch], None],
    machine: Station,
    archive: Archive,
    stop: Order,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    when(machine, archive, stop, monkeypatch)

    with pytest.raises(Stopped, match="told to stop"):
        boot.boot(machine)

    assert archive.words == []
    assert not machine.paths.volume.is_symlink()


@pytest.mark.parametrize("is_there", [False, True], ids=["without its volume", "with it"])
def test_an_opened_machine_that_is_told_to_stop_opens_to_nobody(
    is_there: bool, machine: Station, archive: Archive, stop: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = json.loads((WIRE / "brief-opening.json").read_bytes())
    monkeypatch.setattr(opened, "header_of", lambda *_: None)
    if is_there:
        with_a_volume(machine, machine.paths.root.parent / "store")
        (machine.paths.root.parent / "store/hosts/us0a/tree").mkdir(parents=True)
    stop.give()

    with pytest.raises(Stopped, match="told to stop"):
        opened.serve(json.dumps({**brief, "volume": {**brief["volume"], "id": "vol-0abc"}}).encode(), machine)

    assert archive.words == []
