"""What is away for exactly as long as a push in full takes, and back when somebody looks: real rsyncs, real mounts."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.host import changes, named, night, push
from ebbtide_agent.report import COMPLETE, PARTIAL, WITH_WARNINGS
from tests.local.enclosed import in_an_enclosure
from tests.local.own_nights import Host, differing, entries
from tests.local.rsync_only import a_far_side
from tests.local.test_content_check import mounted
from tests.local.test_guarded_nights import A_WEEK
from tests.local.test_to_remote import MISSING, Pushing, fetched
from tests.patience import for_make_long

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

Edit = Callable[[], object]
A_STORE, A_DIRECTORY = "a store", "a directory"


@contextmanager
def a_host(place: Path, kind: str = A_DIRECTORY) -> Iterator[Host]:
    """With a disk, or what one is to the test: a directory."""
    with a_far_side() if kind == A_STORE else nullcontext() as far:
        host = Host(place, place / "backup")
        if far:
            host = Pushing(place, place / "unused")
            host.reach(far)
        for name in ("etc/hostname", "srv/deep/page", "srv/index"):
            (host.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (host.tree / name).write_text(name)
        (host.tree / "srv/link").symlink_to("index")
        yield host


def there(host: Host) -> Path:
    return fetched(host) if isinstance(host, Pushing) else host.newest()


def around_each_push_in_full(monkeypatch: pytest.MonkeyPatch, before: Edit, after: Edit) -> None:
    once = push._push_once

    def pushed(config: Any, route: Any, what: push.Pass, *more: Any) -> Any:
        if not what.is_in_full:
            return once(config, route, what, *more)
        before()
        outcome = once(config, route, what, *more)
        after()
        return outcome

    monkeypatch.setattr(push, "_push_once", pushed)


def away(host: Host) -> "tuple[Edit, Edit]":
    directory, aside = host.tree / "srv/deep", host.place / "aside"
    return lambda: directory.rename(aside), lambda: aside.rename(directory)


@pytest.mark.fault("H14")
@pytest.mark.parametrize(
    ("kind", "first"),
    [
        pytest.param(A_STORE, False, id="a store, the weekly push"),
        pytest.param(A_DIRECTORY, True, id="a directory, the first push"),
        pytest.param(A_STORE, True, id="a store, the first push", marks=for_make_long),
        pytest.param(A_DIRECTORY, False, id="a directory, the weekly push", marks=for_make_long),
    ],
)
def test_a_directory_that_is_away_exactly_while_everything_is_pushed_is_pushed_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, first: bool
) -> None:
    with a_host(tmp_path, kind) as host:
        if not first:
            assert host.back_up().status == COMPLETE
            host.ahead += A_WEEK
        around_each_push_in_full(monkeypatch, *away(host))

        report = host.back_up()

        assert report.status == WITH_WARNINGS
        assert report.problems == ("srv/deep and 1 more were away while everything was pushed: pushed once more",)
        assert differing(entries(there(host)), entries(host.tree)) == {}
        monkeypatch.undo()
        assert host.back_up().status == COMPLETE
        assert "of 8 entries 0 to push, 0 to delete first" in host.said


@pytest.mark.fault("H14")
@in_an_enclosure
def test_a_disk_that_is_unmounted_exactly_while_everything_is_pushed_is_pushed_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a change time tells."""
    with a_host(tmp_path) as host:
        disk = tmp_path / "disk"
        (host.tree / "srv").rename(disk)
        (host.tree / "srv").mkdir()
        mount = partial(subprocess.run, ["mount", "--bind", str(disk), str(host.tree / "srv")], check=True)
        unmount = partial(subprocess.run, ["umount", str(host.tree / "srv")], check=True)
        with mounted(host.tree / "srv", "--bind", str(disk)):
            assert host.back_up().status == COMPLETE
            host.ahead += A_WEEK
            around_each_push_in_full(monkeypatch, unmount, mount)

            report = host.back_up()

            assert report.status == WITH_WARNINGS
            assert "srv/deep and 3 more were away while everything was pushed" in report.problems[0]
            assert differing(entries(there(host)), entries(host.tree)) == {}


@pytest.mark.fault("H14")
def test_what_was_away_while_everything_was_pushed_and_is_not_pushed_any_more_costs_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_host(tmp_path) as host:
        around_each_push_in_full(monkeypatch, *away(host))
        monkeypatch.setattr(night, "seconds_to_scan", lambda *_: 0.0)

        report = host.back_up()

        assert report.status == PARTIAL
        assert "srv/deep and 1 more were away while everything was pushed" in report.problems[0]
        monkeypatch.undo()
        assert host.back_up().status == COMPLETE
        assert differing(entries(there(host)), entries(host.tree)) == {}


@pytest.mark.fault("H14")
def test_what_was_away_while_everything_was_pushed_and_is_held_back_then_costs_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because half of the tree is gone by then."""
    with a_host(tmp_path) as host:
        (host.tree / "many").mkdir()
        for number in range(20):
            (host.tree / "many" / str(number)).touch()
        goes, comes = away(host)
        around_each_push_in_full(monkeypatch, goes, lambda: (comes(), shutil.rmtree(host.tree / "many")))

        report = host.back_up()

        assert report.status == PARTIAL
        assert any("srv/deep and 1 more were away while everything was" in problem for problem in report.problems)


@pytest.mark.fault("H14")
def test_what_is_away_whenever_everything_is_pushed_costs_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So much of it that it cannot be listed."""
    monkeypatch.setattr(changes, "MOST_CHANGES", 0)
    monkeypatch.setattr(named, "MOST_CHANGES", 0)
    with a_host(tmp_path) as host:
        around_each_push_in_full(monkeypatch, *away(host))

        report = host.back_up()

        assert report.status == PARTIAL
        assert report.problems[0] == (
            "srv/deep and 1 more were away while everything was pushed: what is over there may lack it"
        )
        assert len([said for said in host.said if said.startswith("push: ")]) == 3


@pytest.mark.fault("H14")
def test_a_disk_that_goes_while_everything_is_pushed_costs_the_night_where_nobody_can_look_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = night.read_mounts
    with a_host(tmp_path) as host:
        point = os.fsencode(host.tree / "srv")
        scanned = {**mounts(), point: "ext4"}
        monkeypatch.setattr("ebbtide_agent.host.survey.read_mounts", lambda: scanned)
        monkeypatch.setattr(night, "seconds_to_scan", lambda *_: 0.0)

        report = host.back_up()

        assert (report.status, report.problems) == (PARTIAL, ("a file system went while everything was pushed",))


def test_what_comes_goes_and_is_replaced_while_everything_is_pushed_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_host(tmp_path) as host:
        tree = host.tree
        for name in ("pid", "old", "log"):
            (tree / name).write_text(name)

        def before() -> None:
            (tree / "pid").unlink()
            (tree / "old").unlink()
            (tree / "log").rename(tree / "log.1")

        def after() -> None:
            (tree / "pid").write_text("dip")
            shutil.rmtree(tree / "srv/deep")
            (tree / "log").touch()

        around_each_push_in_full(monkeypatch, before, after)

        report = host.back_up()

        assert (report.status, report.problems) == (COMPLETE, ())
        assert differing(entries(there(host)), entries(host.tree)) == {}
