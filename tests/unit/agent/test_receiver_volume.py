"""Whose volume it is: a receiver takes a new one or its own, and refuses every other; and who has a place on it."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import quotas
from ebbtide_agent.receiver.boot import open_places, open_volume
from ebbtide_agent.receiver.brief import Brief, parse_brief
from ebbtide_agent.receiver.places import make_directory, make_places, make_room

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


def two_hosts(filesystem: str = "ext4") -> Brief:
    """us0 and eu0."""
    (us0,) = (brief := a_brief(filesystem=filesystem)).hosts
    return replace(brief, hosts=(us0, replace(us0, name="eu0", id="eu0a")))


def failing(error: Exception, *hosts: str) -> Callable[[Path], None]:
    """What makes trees, but not those of some."""

    def make(tree: Path) -> None:
        if tree.parent.name in hosts:
            raise error
        make_directory(tree)

    return make


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [NO_ROOM, PermanentError("btrfs subvolume create: No space left on device")])
def test_one_host_without_a_place_costs_no_other_its_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    paths, store = a_machine(tmp_path)
    make_room(paths)
    monkeypatch.setattr(quotas, "make_directory", failing(error, "us0a"))

    open_places(two_hosts(), paths, as_root=False)

    assert (store / "hosts/eu0a/tree").is_dir()
    assert [paths.without_place(host).exists() for host in ("us0a", "eu0a")] == [True, False]
    assert "No space left on device" in paths.without_place("us0a").read_text()
    assert capsys.readouterr().out.count("us0a has no place on it tonight, and is turned away: ") == 1


def test_who_has_a_place_again_is_let_in_again(tmp_path: Path) -> None:
    paths, _ = a_machine(tmp_path)
    make_room(paths)
    open_volume(two_hosts(), paths)
    make_places(paths, two_hosts().hosts, False, failing(NO_ROOM, "us0a"))

    assert make_places(paths, two_hosts().hosts, as_root=False) == {}
    assert not paths.without_place("us0a").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_fault_of_the_volume_is_no_hosts_own(tmp_path: Path, number: int) -> None:
    paths, _ = a_machine(tmp_path)
    make_room(paths)
    open_volume(two_hosts(), paths)

    with pytest.raises(OSError, match=f"Errno {number}"):
        make_places(paths, two_hosts().hosts, False, failing(OSError(number, "of the volume"), "us0a"))


def test_a_btrfs_that_cannot_be_read_is_damaged_though_it_is_one_hosts_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, _ = a_machine(tmp_path)
    make_room(paths)
    monkeypatch.setattr(quotas, "make_directory", failing(OSError(errno.EIO, "Input/output error"), "us0a"))

    with pytest.raises(volume.Damaged, match=r"needs a person: .*Input/output error"):
        open_places(two_hosts("btrfs"), paths, as_root=False)


def test_where_nobody_has_a_place_there_is_no_night(tmp_path: Path) -> None:
    paths, _ = a_machine(tmp_path)
    make_room(paths)
    open_volume(two_hosts(), paths)

    with pytest.raises(OSError, match="No space left"):
        make_places(paths, two_hosts().hosts, False, failing(NO_ROOM, "us0a", "eu0a"))


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


@pytest.mark.fault("R7")
def test_a_new_volume_whose_first_receiver_was_killed_at_once_is_taken_by_the_next_one(tmp_path: Path) -> None:
    paths, store = a_machine(tmp_path)
    (store / "lost+found").mkdir()
    (store / ".receiver.json.new").write_text('{"schema": 1, "recei')

    open_volume(a_brief(), paths)

    assert json.loads((store / "receiver.json").read_bytes())["receiver"] == "main"
    assert not (store / ".receiver.json.new").exists()


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
