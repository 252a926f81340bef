"""Whose volume it is: a receiver takes a new one or its own, and refuses every other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver.boot import open_volume
from ebbtide_agent.receiver.brief import Brief, parse_brief
from ebbtide_agent.receiver.places import make_places

WIRE = Path(__file__).parents[2] / "contract/wire"


def a_brief(receiver: str = "main", filesystem: str = "ext4") -> Brief:
    brief = parse_brief((WIRE / "brief-receiver.json").read_bytes())
    return replace(brief, receiver=receiver, filesystem=filesystem)


def a_machine(tmp_path: Path) -> tuple[MachinePaths, Path]:
    """A machine whose device is a directory."""
    paths, store = MachinePaths(tmp_path / "machine"), tmp_path / "store"
    store.mkdir()
    device = paths.device("vol-0abc")
    device.parent.mkdir(parents=True)
    device.symlink_to(store)
    return paths, store


def test_a_new_volume_gets_this_receivers_id_and_a_place_for_each_host(tmp_path: Path) -> None:
    paths, store = a_machine(tmp_path)

    open_volume(a_brief(), paths)
    make_places(paths, a_brief().hosts, as_root=False)

    assert json.loads((store / "receiver.json").read_bytes()) == {"schema": 1, "receiver": "main"}
    assert (store / "hosts/us0a/tree").is_dir()
    assert [oct(path.stat().st_mode & 0o777) for path in (store / "hosts", store / "hosts/us0a")] == ["0o711"] * 2


def test_its_own_volume_is_taken_again(tmp_path: Path) -> None:
    paths, _ = a_machine(tmp_path)

    open_volume(a_brief(), paths)
    open_volume(a_brief(), paths)


@pytest.mark.fault("R3")
def test_another_receivers_volume_is_refused(tmp_path: Path) -> None:
    paths, _ = a_machine(tmp_path)
    open_volume(a_brief("other"), paths)

    with pytest.raises(Refused, match="belongs to receiver 'other'"):
        open_volume(a_brief("main"), paths)


@pytest.mark.fault("R3")
def test_a_volume_with_files_and_no_id_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    paths, store = a_machine(tmp_path)
    (store / "precious").touch()

    with pytest.raises(Refused, match="it is not a receiver's"):
        open_volume(a_brief(), paths)

    assert [path.name for path in store.iterdir()] == ["precious"]


def test_a_file_system_that_is_not_there_yet_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="xfs is not supported"):
        open_volume(a_brief(filesystem="xfs"), a_machine(tmp_path)[0])


@pytest.mark.fault("R3")
@pytest.mark.skipif(shutil.which("blkid") is None, reason="blkid is not installed")
@pytest.mark.parametrize("offset", [0, 1024, 5 << 20])
def test_what_lost_its_file_system_is_not_new_and_is_left_as_it_was(tmp_path: Path, offset: int) -> None:
    device = tmp_path / "device"
    with device.open("wb") as file:
        file.truncate(128 << 20)
        file.seek(offset)
        file.write(b"all that is left")
    before = device.read_bytes()

    with pytest.raises(PermanentError, match="it needs a person"):
        volume.mount(device, tmp_path / "place", "ext4")

    assert device.read_bytes() == before
