"""Names that were one file when they were pushed, and are two by now which rsync takes for one: each arrives as itself.

Without an index of what was pushed nobody tells which these are. What is compared is what a restore would bring back:
owner, mode and time of each name, and which of them are one file.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local.edits import plant, take_the_place
from tests.local.own_nights import Host, differing, entries
from tests.local.rsync_only import FarSide
from tests.local.test_to_remote import MISSING, Pushing, fetched
from tests.patience import for_make_long

IS_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

# Names of planted links: of a file, a symlink, a FIFO, and, where that takes root, of a device.
BROKEN = ("linked", "g/link", "fifo", *(("null",) if IS_ROOT else ()))


@pytest.fixture(params=["directory", "remote"])
def host(request: pytest.FixtureRequest, far: FarSide, tmp_path: Path) -> Host:
    if request.param == "directory":
        host = Host(tmp_path, tmp_path / "backup")
    else:
        host = Pushing(tmp_path, tmp_path / "unused")
        host.reach(far)
    plant(host.tree)
    return host


def restored(host: Host) -> Path:
    if not isinstance(host, Pushing):
        return host.newest()
    shutil.rmtree(host.place / "back", ignore_errors=True)
    return fetched(host)


def break_links(tree: Path) -> None:
    """A copy takes the place of each, the same in everything but the inode."""
    for name in BROKEN:
        take_the_place(tree / name)


def set_apart(tree: Path) -> None:
    """Another mode, and where that takes root another owner."""
    for name in BROKEN:
        if not (tree / name).is_symlink():
            (tree / name).chmod(0o600)
        if IS_ROOT:
            os.chown(tree / name, 1234, 1234, follow_symlinks=False)


def set_apart_by_time(tree: Path) -> None:
    for name in BROKEN:
        os.utime(tree / name, ns=(1, 1), follow_symlinks=False)


def lose_the_index(host: Host) -> None:
    host.paths.index.unlink()


def damage_the_index(host: Host) -> None:
    with host.paths.index.open("r+b") as file:
        file.truncate(host.paths.index.stat().st_size - 9)


def lose_the_index_of_a_tree_that_is_known(host: Host) -> None:
    """So that the push does not compare contents."""
    lose_the_index(host)
    host.paths.exclude.write_text("[z]nothing\n")


def set_nothing_apart(_: Path) -> None:
    pass


WAYS = [lose_the_index, damage_the_index, lose_the_index_of_a_tree_that_is_known]
HOW = [set_apart, set_apart_by_time, set_nothing_apart]
# A damaged index is as none at all, and where no contents are compared it is one pass less.
ALWAYS = [
    *((lose_the_index, apart) for apart in HOW),
    (damage_the_index, set_nothing_apart),
    (lose_the_index_of_a_tree_that_is_known, set_apart),
]


@pytest.mark.parametrize(
    ("without_index", "apart"),
    [pytest.param(way, apart, marks=() if (way, apart) in ALWAYS else for_make_long) for way in WAYS for apart in HOW],
)
def test_what_is_no_more_one_file_is_none_after_a_push_that_no_index_goes_with(
    host: Host, without_index: Callable[[Host], None], apart: Callable[[Path], None]
) -> None:
    host.back_up()
    break_links(host.tree)
    apart(host.tree)
    without_index(host)

    report = host.back_up()

    assert (report.status, report.problems) == ("complete", ())
    assert differing(entries(restored(host)), entries(host.tree)) == {}


def test_what_looks_the_same_stays_as_it_is_where_the_links_over_there_are_known_to_be_ours(host: Host) -> None:
    host.paths.exclude.write_text("[z]nothing\n")
    shutil.copy2(host.tree / "d/one", host.tree / "same")
    host.back_up()

    host.back_up()

    if isinstance(host, Pushing):
        assert differing(entries(restored(host)), entries(host.tree)) == {}, "nobody looks at the links over there"
    else:
        earlier, newest = (host.store.tree(name) for name in host.snapshots())
        assert all((newest / name).samefile(earlier / name) for name in ("same", "d/one"))


def test_where_only_rsync_knows_what_travels_it_is_so_in_every_night_and_nothing_else_comes_along(host: Host) -> None:
    host.paths.exclude.write_text("[z]nothing\n/h*\n")
    host.back_up()
    break_links(host.tree)
    for name in ("one", "two"):
        shutil.copy2(host.tree / "d/one", host.tree / "h\n\udcff" / name)

    for change in (lambda _: None, set_apart):
        change(host.tree)

        assert host.back_up().status == "complete"
        expected = {path: entry for path, entry in entries(host.tree).items() if not path.startswith(b"h")}
        assert differing(entries(restored(host)), expected) == {}
