"""What rsync counts and finds of a tree is what a scan would."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pytest

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host import rsync_walk
from ebbtide_agent.host import tally as tallying
from ebbtide_agent.host.rsync_walk import count, read_entries
from ebbtide_agent.host.tally import Counted, groups_among
from ebbtide_agent.paths import HostPaths
from tests.unit.agent.test_course import A_CONFIG
from tests.unit.agent.test_identity import NOBODY, without_root
from tests.unit.agent.test_scan import entries as scanned_entries
from tests.unit.agent.test_scan import needs_rsync

pytestmark = needs_rsync


def test_it_counts_what_travels_and_writes_nothing(tmp_path: Path) -> None:
    for name in ("etc/hosts", "etc/left-out", "srv/a/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    (tmp_path / "srv/linked").hardlink_to(tmp_path / "srv/a/b")
    (tmp_path / "srv/link").symlink_to("a")
    config = replace(A_CONFIG, root=tmp_path, whole_system=False, exclude=("[l]eft-out",))

    assert count(config) == Counted(entries=8, files=3, size=22)
    assert count(replace(config, one_file_system=True)) == Counted(entries=8, files=3, size=22)
    assert count(replace(config, include=("/srv/a",))) == Counted(entries=4, files=1, size=7)


def test_what_it_may_not_read_is_named() -> None:
    with TemporaryDirectory() as place:
        (tree := Path(place) / "tree").mkdir()
        (tree / "closed").mkdir(mode=0)
        (tree / "file").touch()
        Path(place).chmod(0o755)
        config = replace(A_CONFIG, root=tree, whole_system=False)

        with without_root():
            counted = count(config)

    assert (counted.entries, counted.files) == (3, 1)
    assert counted.unread == (f'rsync: [sender] opendir "{tree}/closed" failed: Permission denied (13)',)


def test_an_rsync_that_does_not_tell_is_no_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="rsync cannot tell what the tree amounts to: exit code 1"):
        count(replace(A_CONFIG, root=tmp_path, rsync="false"))


def paths_of(state: Path) -> HostPaths:
    state.mkdir()
    return HostPaths(state, state)


def test_it_finds_each_entry_that_travels_as_a_scan_does(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("etc/a\nb", "etc/\udcff", "etc/back\\slash", "etc/back\\#134", " x ", "left-out/file"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("content")
    (tree / "linked").hardlink_to(tree / "etc/a\nb")
    (tree / "link").symlink_to("etc")
    config = replace(A_CONFIG, root=tree, whole_system=False, exclude=("[l]eft-out",))
    scan = [entry for entry in scanned_entries(tree) if not entry.path.startswith(b"left-out")]

    found = list(read_entries(config, paths_of(tmp_path / "state")))

    assert sorted(entry for entry in found if entry.path != b".") == sorted(entry for entry in scan if entry.path)
    assert groups_among(found) == [[b"linked", b"etc/a\nb"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a device node")
def test_a_device_that_somebody_else_could_not_make_is_among_them() -> None:
    with TemporaryDirectory() as place:
        (tree := Path(place) / "tree").mkdir()
        os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (tree / "file").touch()
        Path(place).chmod(0o755)
        (scratch := Path(place) / "state").mkdir()
        os.chown(scratch, NOBODY, NOBODY)

        with without_root():
            found = list(read_entries(replace(A_CONFIG, root=tree, whole_system=False), HostPaths(scratch, scratch)))

    assert sorted(entry.path for entry in found) == [b".", b"file", b"null"]


def test_a_list_of_names_that_could_not_be_kept_is_not_taken_for_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()

    def on_a_full_disk(file: IO[bytes], chunk: bytes) -> None:
        file.write(chunk[: len(b"> ./\n> a")])
        raise OSError("the disk is full")

    monkeypatch.setattr(rsync_walk, "_write", on_a_full_disk)

    with pytest.raises(PermanentError, match=r"has [01] of the 3 names that travel: is the disk full\?"):
        list(read_entries(replace(A_CONFIG, root=tmp_path, whole_system=False), paths_of(tmp_path.with_name("state"))))


def test_more_names_of_links_than_are_to_be_kept_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    found = scanned_entries(tmp_path)

    monkeypatch.setattr(tallying, "MOST_LINKED_NAMES", 1)

    assert groups_among(found) is None
