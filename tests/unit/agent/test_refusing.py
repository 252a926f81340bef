"""A receiver that lets nobody in: why is in the archive, if that can be reached, and is raised all the same."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from ebbtide_agent import volume
from ebbtide_agent.cloud import Cloud
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.instance import Instance
from ebbtide_agent.orders import Order
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import boot, clock, sshd
from ebbtide_agent.receiver.brief import parse_brief
from ebbtide_agent.receiver.station import Station

WIRE = Path(__file__).parents[2] / "contract/wire"
RUN, NOW = "main/2026-11-23/1", datetime(2026, 11, 23, 2, 3, tzinfo=UTC)
REFUSED, DAMAGED = f"runs/{RUN}/refused/1.json", f"runs/{RUN}/damaged/1.json"


class Archive:
    """A brief, and the words it was given; none where it is out of reach."""

    def __init__(self) -> None:
        self.brief = (WIRE / "brief-receiver.json").read_bytes()
        self.time = NOW
        self.words: dict[str, bytes] = {}
        self.is_in_reach = True

    def read_clock(self, key: str) -> datetime:
        return self.time

    def get_brief(self, key: str) -> bytes:
        return self.brief

    def put_once(self, key: str, body: bytes) -> bool:
        if not self.is_in_reach:
            raise TransientError("no answer")
        self.words[key] = body
        return True


def a_receiver(tmp_path: Path, archive: Archive) -> Station:
    """Its device is a directory."""
    paths, store = MachinePaths(tmp_path / "machine"), tmp_path / "store"
    store.mkdir()
    device = paths.device(parse_brief(archive.brief).volume_id)
    device.parent.mkdir(parents=True)
    device.symlink_to(store)
    door = sshd.Door(22, ("false",), {}, False, False, False, sshd.CROWD)
    return Station(
        Instance("receiver", RUN, 1, "archive", "us-east-1", "brief"), paths, cast(Cloud, archive), now, door
    )


def now() -> datetime:
    return NOW


@pytest.fixture(autouse=True)
def no_signal_and_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "stopped_by_signals", Order)
    monkeypatch.setattr(clock, "PATIENCE_SECONDS", 0.0)


def with_another_receivers_volume(receiver: Station, archive: Archive) -> None:
    owner = receiver.paths.device(parse_brief(archive.brief).volume_id) / "receiver.json"
    owner.write_text('{"schema": 1, "receiver": "other"}')


def with_a_file_system_that_is_not_supported(receiver: Station, archive: Archive) -> None:
    archive.brief = archive.brief.replace(b'"ext4"', b'"xfs"')


def with_a_wrong_clock(receiver: Station, archive: Archive) -> None:
    archive.time = NOW + timedelta(hours=1)


def with_a_brief_that_is_none(receiver: Station, archive: Archive) -> None:
    archive.brief = b"{}"


def without_room_for_its_notes(receiver: Station, archive: Archive) -> None:
    receiver.paths.run.parent.mkdir(parents=True)
    receiver.paths.run.write_text("in the way")


@pytest.mark.fault("R3")
@pytest.mark.parametrize(
    ("harm", "kind", "why"),
    [
        (with_another_receivers_volume, Refused, "volume vol-0abc belongs to receiver 'other', this is main"),
        (with_a_file_system_that_is_not_supported, PermanentError, "file system xfs is not supported"),
        (with_a_wrong_clock, PermanentError, "the clock of this machine is 3600 s behind the archive's"),
        (with_a_brief_that_is_none, PermanentError, "the receiver's brief is not an object of schema 1"),
        (without_room_for_its_notes, OSError, "FileExistsError: [Errno 17]"),
    ],
)
def test_why_nobody_is_let_in_is_in_the_archive(
    harm: Callable[[Station, Archive], None], kind: type[Exception], why: str, tmp_path: Path
) -> None:
    archive = Archive()
    receiver = a_receiver(tmp_path, archive)
    harm(receiver, archive)

    with pytest.raises(kind):
        boot.boot(receiver)

    (word,) = archive.words.values()
    assert list(archive.words) == [REFUSED]
    assert json.loads(word).keys() == json.loads((WIRE / "refused.json").read_bytes()).keys()
    assert json.loads(word)["why"].startswith(why)
    assert not receiver.paths.volume.is_symlink()


def test_what_cannot_be_told_hides_nothing(tmp_path: Path) -> None:
    archive = Archive()
    receiver = a_receiver(tmp_path, archive)
    with_another_receivers_volume(receiver, archive)
    archive.is_in_reach = False

    with pytest.raises(Refused, match="belongs to receiver 'other'"):
        boot.boot(receiver)


def test_damage_that_cannot_be_told_is_not_hidden_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_places(*_: object) -> None:
        raise volume.Damaged("it needs a person")

    monkeypatch.setattr(boot, "open_places", open_places)
    archive = Archive()
    archive.is_in_reach = False

    with pytest.raises(volume.Damaged, match="it needs a person"):
        boot.boot(a_receiver(tmp_path, archive))

    assert "operators are not told why: no answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "key", "why"),
    [
        (PermanentError("two\nlines, \x1b[2J and half a \udcff"), REFUSED, r"two\nlines, \x1b[2J and half a \udcff"),
        (PermanentError("x" * 1000), REFUSED, "x" * 500),
        (volume.Damaged("it needs\na person"), DAMAGED, r"it needs\na person"),
    ],
    ids=["not printable", "long", "damaged"],
)
def test_it_says_so_once_in_one_line_that_is_cut_short(
    fault: Exception, key: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_places(*_: object) -> None:
        raise fault

    monkeypatch.setattr(boot, "open_places", open_places)
    archive = Archive()

    with pytest.raises(type(fault)):
        boot.boot(a_receiver(tmp_path, archive))

    assert {name: json.loads(word)["why"] for name, word in archive.words.items()} == {key: why}


@pytest.mark.fault("R3")
@pytest.mark.parametrize("busy", ["let_go", "unmount"])
def test_whose_volume_it_is_is_said_also_where_it_stays_mounted(
    busy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive()
    receiver = a_receiver(tmp_path, archive)
    with_another_receivers_volume(receiver, archive)

    def fail(*_: object) -> None:
        raise PermanentError("it cannot be unmounted")

    monkeypatch.setattr(volume, busy, fail)

    with pytest.raises(Refused, match="belongs to receiver 'other'"):
        boot.boot(receiver)

    assert "belongs to receiver 'other'" in json.loads(archive.words[REFUSED])["why"]
