"""A directory is written to only if it is the one that the backups of this host go to, as far as anyone can tell."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from ebbtide_agent import fstab
from ebbtide_agent.errors import Refused
from ebbtide_agent.host import claim as claiming
from ebbtide_agent.host.claim import claim, held
from ebbtide_agent.paths import DirectoryPaths, HostPaths


class Host:
    """us0, its state, and the directory that it means."""

    def __init__(self, place: Path) -> None:
        self.paths = HostPaths(place / "etc", place / "state")
        self.target = place / "backup"
        self.said: list[str] = []
        for directory in (self.paths.etc, self.paths.state, self.target):
            directory.mkdir()

    def claim(self, name: str = "us0") -> None:
        store = DirectoryPaths(self.target)
        with held(store, self.paths, name):
            claim(store, self.paths, name, self.said.append)

    def refused(self, because: str, name: str = "us0") -> None:
        with pytest.raises(Refused, match=because):
            self.claim(name)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_new_directory_is_marked_and_known_the_next_time(host: Host) -> None:
    host.claim()
    host.claim()

    assert json.loads((host.target / "ebbtide.json").read_bytes()) == {"schema": 1, "host": "us0"}


def test_a_full_state_is_no_reason_to_have_no_backup(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_but_for_the_target(path: Path, body: bytes) -> None:
        if path.parent == host.paths.state:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(body)

    monkeypatch.setattr(claiming, "write_whole", full_but_for_the_target)

    host.claim()

    (said,) = host.said
    assert said.startswith("where this went was not kept: ") and "No space left on device" in said
    assert (host.target / "ebbtide.json").exists()


def test_what_is_known_of_a_directory_already_is_not_written_anew(host: Host) -> None:
    host.claim()
    before = host.paths.target.stat().st_ino

    host.claim()

    assert host.paths.target.stat().st_ino == before and host.said == []


def test_what_is_known_of_a_directory_and_damaged_is_written_anew(host: Host) -> None:
    host.claim()
    host.paths.target.write_bytes(b"")

    host.claim()

    assert json.loads(host.paths.target.read_bytes())["target"] == str(host.target)
    assert any("is not known any more" in line for line in host.said)


def test_a_directory_that_is_not_there_is_not_made(host: Host) -> None:
    host.target.rmdir()

    host.refused("is not a directory: mount what belongs there, or make it")

    assert not host.target.exists()


@pytest.mark.parametrize(
    "line",
    [
        "LABEL=backup {} ext4 noatime 0 2",
        "UUID=1\t{}\txfs",
        "/dev/sdb1 {} ext4 # mine",
        "/dev/sdb1 {}/ ext4",
        "sshfs#me@there:/ {} fuse",
    ],
)
def test_a_mount_point_of_fstab_that_is_not_mounted_is_not_written_to(host: Host, line: str) -> None:
    host.paths.fstab.write_text(f"# {host.target} was elsewhere\n{line.format(host.target)}\n")

    host.refused("has a file system for .*backup, and it is not mounted")

    assert list(host.target.iterdir()) == []


def test_neither_is_one_that_a_link_leads_to(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "mnt é/disk 2/us0"
    real.mkdir(parents=True)
    host.target.rmdir()
    host.target.symlink_to(real)
    host.paths.fstab.write_text(f"/dev/sdb1 {str(real.parent).replace(' ', chr(92) + '040')} ext4\n")

    host.refused("has a file system for .*disk 2, and it is not mounted")

    assert list(real.iterdir()) == []


def test_a_directory_of_the_same_disk_that_is_mounted_there_is_mounted(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.paths.fstab.write_text(f"/srv/large {host.target} none bind\n")
    line = "36 35 8:1 /srv/large {} rw - ext4 /dev/sda1 rw\n"
    monkeypatch.setattr(fstab, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text(line.format(f"{host.target}2") + line.format(host.target))

    host.claim()

    (tmp_path / "mounts").write_text(line.format(f"{host.target}2"))
    host.refused("it is not mounted")


def test_once_the_directory_is_held_only_its_mark_is_looked_at_again(host: Host) -> None:
    """All else was looked at for this night, and takes long where the directory has many snapshots."""
    store = DirectoryPaths(host.target)

    with held(store, host.paths, "us0"):
        host.paths.fstab.write_text(f"/dev/sdb1 {host.target} ext4\n")
        claim(store, host.paths, "us0", host.said.append)

    assert (host.target / "ebbtide.json").exists()
    host.refused("has a file system for .*backup, and it is not mounted")


def test_neither_is_a_directory_below_one(host: Host) -> None:
    host.paths.fstab.write_text(f"/dev/sdb1 {host.target.parent} ext4\n")

    host.refused("it is not mounted")


@pytest.mark.parametrize("line", ["/dev/sda1 / ext4", "proc /proc proc", "# /dev/sdb1 {} ext4", "/dev/sdb1 {}2 ext4"])
def test_other_lines_of_fstab_do_not_matter(host: Host, line: str) -> None:
    host.paths.fstab.write_text(line.format(host.target) + "\n")

    host.claim()


def test_a_directory_that_has_lost_its_mark_is_not_written_to(host: Host) -> None:
    host.claim()
    shutil.rmtree(host.target)
    host.target.mkdir()

    host.refused("is not what it was at the last backup.*delete .*target.json")

    assert list(host.target.iterdir()) == []


def test_the_operator_may_begin_anew_or_elsewhere(host: Host) -> None:
    host.claim()
    (host.target / "ebbtide.json").unlink()
    host.paths.target.unlink()
    host.claim()

    host.target = host.target.parent / "other"
    host.target.mkdir()
    host.claim()


def test_a_second_disk_of_the_same_host_will_do(host: Host) -> None:
    host.claim()
    first = host.target.rename(host.target.parent / "first")
    host.target.mkdir()
    host.paths.target.unlink()
    host.claim()

    host.target.rename(host.target.parent / "second")
    first.rename(host.target)

    host.claim()


def test_the_directory_of_another_host_is_not_written_to(host: Host) -> None:
    host.claim("eu0")

    host.refused("holds the backups of eu0; HOST is us0")


def test_a_mark_that_another_host_has_left_before_we_held_the_directory_stays(host: Host) -> None:
    store = DirectoryPaths(host.target)
    with held(store, host.paths, "us0"):
        host_of_the_other = HostPaths(host.paths.etc, host.paths.state / "other")
        host_of_the_other.state.mkdir()
        claim(store, host_of_the_other, "eu0", host.said.append)

        with pytest.raises(Refused, match="holds the backups of eu0; HOST is us0"):
            claim(store, host.paths, "us0", host.said.append)

    assert json.loads(store.mark.read_bytes())["host"] == "eu0"


def test_snapshots_that_nobody_has_marked_are_nobodys_to_expire(host: Host) -> None:
    (host.target / "2026-11-23T02-12-30Z").mkdir()

    host.refused("holds dated snapshots and no ebbtide.json")
