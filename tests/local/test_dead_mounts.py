"""A mount that does not answer holds up a night for a while, and none for ever: whoever looks there is beside us."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ebbtide_agent.beside import Interfered
from ebbtide_agent.commands.explain import NOT_ALL
from ebbtide_agent.errors import ConfigError
from ebbtide_agent.host import config, night, push, rsync_walk, survey
from ebbtide_agent.host.asked_for import missing_places
from ebbtide_agent.host.claim import check_place
from ebbtide_agent.host.health import file_systems
from ebbtide_agent.host.lock import try_lock
from ebbtide_agent.host.outcome import Outcome
from ebbtide_agent.report import COMPLETE, PARTIAL, WITH_WARNINGS, Health
from tests.local.dead_mounts import a_dead_mount
from tests.local.own_nights import Host, after_each_push, as_agent, differing, entries, give_up_soon
from tests.local.test_away_meanwhile import around_each_push_in_full

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    give_up_soon(monkeypatch)
    host = Host(tmp_path, tmp_path / "backup")
    for name in ("etc/hostname", "srv/deep/page"):
        (host.tree / name).parent.mkdir(parents=True)
        (host.tree / name).write_text(name)
    return host


@pytest.fixture
def dead() -> Iterator[ExitStack]:
    """What is mounted there later, and until then does not answer."""
    with ExitStack() as mounts:
        yield mounts


def deep(host: Host) -> Path:
    return host.tree / "srv/deep"


def dies_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, die: Callable[[], object]) -> None:
    """When this has come to its end."""
    original = getattr(where, name)

    def and_die(*arguments: Any, **named: Any) -> Any:
        seen = original(*arguments, **named)
        die()
        return seen

    monkeypatch.setattr(where, name, and_die)


def test_what_was_away_and_lies_where_nobody_answers_costs_the_night_and_the_next_one_is_whole(
    host: Host, dead: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = host.place / "aside"

    def come_back_dead() -> None:
        aside.rename(deep(host))
        dead.enter_context(a_dead_mount(deep(host)))

    around_each_push_in_full(monkeypatch, lambda: deep(host).rename(aside), come_back_dead)

    first = host.back_up()
    monkeypatch.undo()
    dead.close()
    second = host.back_up()

    unseen = "what was away while everything was pushed is not known: a look at what was missed was not done within 2 s"
    assert (first.status, unseen in first.problems) == (PARTIAL, True), first.problems
    assert (second.status, second.problems) == (COMPLETE, ())
    assert differing(entries(host.newest()), entries(host.tree)) == {}


def test_what_was_pushed_and_does_not_answer_then_is_told_and_everything_is_compared_the_next_night(
    host: Host, dead: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.back_up()
    (deep(host) / "page").write_text("another")
    after_each_push(monkeypatch, lambda: dead.enter_context(a_dead_mount(deep(host))))

    first = host.back_up()
    monkeypatch.undo()
    dead.close()
    second = host.back_up()

    assert (first.status, "was not looked after" in first.problems[0]) == (WITH_WARNINGS, True), first.problems
    assert second.status == COMPLETE
    assert any("during the last push was not looked after" in each for each in host.said)


def test_a_content_check_that_waits_for_a_mount_costs_no_night_and_is_told_as_not_done(
    host: Host, dead: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.back_up(CHECK="1")
    dies_once(monkeypatch, survey, "find_known", lambda: dead.enter_context(a_dead_mount(deep(host))))

    first = host.back_up(CHECK="1")
    monkeypatch.undo()
    dead.close()
    second = host.back_up(CHECK="1")

    not_read = Health("contents", "unknown", "part 1 of 1 was not read: the content check was not done within 2 s")
    assert (first.status, not_read in first.health) == (COMPLETE, True), first.health
    assert (second.status, not_read in second.health) == (COMPLETE, False)


def test_what_only_rsync_can_name_is_looked_at_beside_us(
    host: Host, dead: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.configure()
    host.paths.state.mkdir()
    dies_once(monkeypatch, rsync_walk, "_walked", lambda: dead.enter_context(a_dead_mount(deep(host))))

    with pytest.raises(Interfered, match="a look at what travels was not done"):
        list(rsync_walk.read_entries(config.load(host.paths), host.paths))


def test_where_nobody_can_look_for_acls_any_more_the_push_is_partial(host: Host) -> None:
    host.configure()
    outcomes: list[Outcome] = []

    with a_dead_mount(deep(host)):
        passes = push.with_acls_mended(config.load(host.paths), [b"srv/deep/page"])
        left = list(push._as_far_as_known(passes, outcomes))

    assert left == []
    assert [(each.status, each.problems) for each in outcomes] == [
        (PARTIAL, ("a look at ACLs was not done within 2 s",))
    ]


def test_where_nobody_can_tell_one_file_system_from_another_everything_is_pushed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.configure()
    host.paths.state.mkdir()
    monkeypatch.setattr(survey, "read_mounts", lambda: {os.fsencode(deep(host)): "ext4"})

    with a_dead_mount(deep(host)):
        found = survey.scanned(config.load(host.paths), host.paths, datetime.now(UTC))

    assert str(found) == "a full push: there can be no index: a look at what is mounted was not done within 2 s"


def test_a_file_system_that_does_not_answer_is_a_warning_and_keeps_none_from_being_looked_at(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebbtide_agent.host.health.FULL_PERCENT", 0)

    with a_dead_mount(deep(host)):
        told = list(file_systems({os.fsencode(deep(host)): "xfs", os.fsencode(host.target): "ext4"}))

    assert told[0] == Health(f"file system {deep(host)}", "warning", "does not answer within 2 s")
    assert [each.what for each in told[1:]] == [f"file system {host.target}"]


@pytest.mark.parametrize("place", ["tree", "backup"])
def test_a_place_that_does_not_answer_ends_the_night_and_whoever_waits_there_holds_nothing(
    host: Host, place: str
) -> None:
    host.back_up()
    said = f"a look at the places that {host.paths.config} names was not done within 2 s"

    with a_dead_mount(host.place / place):
        with pytest.raises(Interfered, match=said):
            host.back_up()
        try_lock(host.paths.lock)
        listed = as_agent(host, "list")
    report = host.back_up()

    assert (listed.returncode, said in listed.stderr) == (Interfered.exit_code, True), listed.stderr
    assert report.is_complete


def test_a_root_and_a_target_that_answer_no_more_once_they_are_known_end_the_night_as_well(
    host: Host,
) -> None:
    host.configure()
    known = config.load(host.paths)

    with a_dead_mount(host.tree), a_dead_mount(host.target):
        with pytest.raises(Interfered, match="a look at ROOT was not done"):
            list(missing_places(known, host.paths))
        with pytest.raises(Interfered, match=f"a look at TARGET {host.target} was not done"):
            check_place(host.store, host.paths, "us0")
        assert night.os_name(host.tree) == "unknown"


def test_of_a_path_that_does_not_answer_it_is_said_so_and_the_others_are_explained(host: Host) -> None:
    host.configure()
    dead_one, other = deep(host) / "page", host.tree / "etc/hostname"

    with a_dead_mount(deep(host)):
        ended = as_agent(host, "explain", str(dead_one), str(other))

    assert ended.stdout.splitlines() == [
        f"{dead_one}: cannot be told; a look at {dead_one} was not done within 2 s",
        f"{other}: backed up; nothing excludes it",
    ], ended.stderr
    assert ended.returncode == NOT_ALL


def test_what_is_asked_for_and_excluded_ends_the_night_where_it_does_not_answer(host: Host) -> None:
    host.paths.include.write_text("/srv/deep/page\n")
    host.paths.exclude.write_text("/srv\n")
    host.configure()
    known = config.load(host.paths)

    with a_dead_mount(deep(host)), pytest.raises(Interfered, match="a look at /srv/deep/page was not done within 2 s"):
        list(missing_places(known, host.paths))


def test_a_place_that_does_not_answer_is_found_by_a_check_and_keeps_nobody_from_taking_the_agent_off(
    host: Host,
) -> None:
    host.back_up()
    said = f"a look at the places that {host.paths.config} names was not done within 2 s"

    with a_dead_mount(host.target):
        checked = as_agent(host, "check")
        taken_off = as_agent(host, "uninstall", "--yes")

    assert (checked.returncode, said in checked.stdout) == (ConfigError.exit_code, True), checked.stderr
    assert (taken_off.returncode, host.paths.index.exists()) == (0, False), taken_off.stderr
