"""Snapshots in a directory of the host: each is the tree as it was, and nothing ever changes an earlier one."""

import json
import os
import select
import shlex
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as some

from ebbtide_agent import moments
from ebbtide_agent.beside import Interfered
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.hardlinks import digest_of, find_groups
from ebbtide_agent.host import guards, night, survey, to_directory
from ebbtide_agent.host.config import Config, load
from ebbtide_agent.host.from_directory import FromDirectory
from ebbtide_agent.host.outcome import Counts, Outcome, together
from ebbtide_agent.host.target import Directory
from ebbtide_agent.report import encode_report
from ebbtide_agent.snapshots import moment_of
from ebbtide_agent.walk import LONGEST_PATH
from ebbtide_console.sandbox import awkward
from ebbtide_console.sandbox.awkward import MASK, NO_ID, OTHER, OWNER, OWNING_GROUP, USER, acl
from tests.local.edits import EDITS, NIGHTS, Edit, Editor, a_file_whose_names_vanish, dig, plant, take_the_place
from tests.local.own_nights import Host, agent, as_agent, differing, entries

EXAMPLES = int(os.environ.get("EBBTIDE_EXAMPLES", "1"))
IS_ROOT = os.geteuid() == 0
NEEDED = ("rsync", "cp")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
ALONE = ("unshare", "--mount")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="an edit may take a directory's access from anybody but root")
needs_mounts = pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="a small disk needs a mount namespace",
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return a_host(tmp_path)


def a_host(place: Path, **settings: int) -> Host:
    host = Host(place, place / "backup", **settings)
    plant(host.tree)
    return host


@needs_root
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(nights=NIGHTS, in_full=some.sampled_from([False, False, True]))
@example(nights=[[(name, number * 37, number * 11 + 1) for number, name in enumerate(sorted(EDITS))]], in_full=False)
@example(nights=[[("break_link", number, 0) for number in range(0, 9, 2)], [("change_owner", n, n) for n in range(30)]],
         in_full=False)  # fmt: skip
@example(nights=[[("change_owner", n, n) for n in range(30)], [("set_back", n, n) for n in range(30)]], in_full=True)
def test_whatever_happens_to_the_host_a_snapshot_is_its_tree_and_the_earlier_ones_stay_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, nights: list[list[Edit]], in_full: bool
) -> None:
    place = tmp_path_factory.mktemp("law")
    host = a_host(place)
    editor = Editor(host.tree)
    kept = []

    try:
        for edits in ([], *nights):
            for edit in edits:
                editor.edit(*edit)
            if in_full:
                # The week is over: by the index, and then in full.
                host.ahead += timedelta(days=7)
            report = host.back_up()

            assert (report.status, report.problems) == ("complete", ())
            assert report.receiver and report.receiver.links == digest_of(find_groups(host.tree))
            assert differing(entries(host.newest()), entries(host.tree)) == {}
            kept.append((host.newest(), entries(host.newest())))
            assert [differing(entries(tree), before) for tree, before in kept] == [{}] * len(kept)
    finally:
        shutil.rmtree(place)


AN_ACL = acl((OWNER, 7, NO_ID), (USER, 7, 12), (OWNING_GROUP, 4, NO_ID), (MASK, 7, NO_ID), (OTHER, 0, NO_ID))
ATTRIBUTES: dict[str, Callable[[Path], object]] = {
    "chmod": lambda path: path.chmod(0o4711),
    "chown": lambda path: os.chown(path, os.geteuid(), 12 if IS_ROOT else os.getegid(), follow_symlinks=False),
    "touch": lambda path: os.utime(path, ns=(1, 1), follow_symlinks=False),
    "setfacl": lambda path: os.setxattr(path, "system.posix_acl_access", AN_ACL),
    "attribute": lambda path: os.setxattr(path, "user.note", b"new"),
}


@pytest.mark.parametrize("known", ["by the index", "in full"])
def test_what_changes_never_reaches_through_to_an_earlier_snapshot_and_what_does_not_stays_as_it_is(
    host: Host, known: str
) -> None:
    for name in ATTRIBUTES:
        (host.tree / name).write_text(name)
    (host.tree / "pointer").symlink_to("chmod")
    (host.tree / "kept").write_text("size and time")
    for name in ("d/e/two", "d/e"):
        ATTRIBUTES["setfacl"](host.tree / name)
    host.back_up()
    first, before = host.newest(), entries(host.newest())
    if known == "in full":
        host.paths.index.unlink()

    for name, change in ATTRIBUTES.items():
        change(host.tree / name)
    ATTRIBUTES["touch"](host.tree / "pointer")
    looked = (host.tree / "kept").stat()
    (host.tree / "kept").write_text("and not these")
    os.utime(host.tree / "kept", ns=(looked.st_atime_ns, looked.st_mtime_ns))
    (host.tree / "d/e/new").touch()
    with (host.tree / "large").open("r+b") as file:
        file.write(b"changed")
    report = host.back_up()

    assert report.status == "complete"
    assert differing(entries(first), before) == {}
    assert differing(entries(host.newest()), entries(host.tree)) == {}
    assert (host.newest() / "d/e/f/two").samefile(first / "d/e/f/two"), "what did not change is not shared"


def test_a_link_that_only_the_snapshot_has_is_never_written_through_and_mended_in_a_week(host: Host) -> None:
    take_the_place(host.tree / "linked")
    host.back_up()
    (host.newest() / "linked").unlink()
    (host.newest() / "linked").hardlink_to(host.newest() / "d/one")
    first, before = host.newest(), entries(host.newest())
    host.back_up()
    assert (host.newest() / "linked").samefile(host.newest() / "d/one"), (
        "a night by the index mends it: nothing to show"
    )

    with (host.tree / "large").open("r+b") as file:
        file.write(b"changed")
    host.back_up()
    assert differing(entries(first), before) == {}
    assert not (host.newest() / "large").samefile(first / "large")

    host.ahead += timedelta(days=7)
    assert host.back_up().status == "complete"
    assert differing(entries(first), before) == {}
    assert differing(entries(host.newest()), entries(host.tree)) == {}


def test_where_the_newest_snapshot_cannot_be_copied_by_links_a_name_that_became_a_file_of_its_own_is_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.back_up()
    for name in ("linked", "g/link", "fifo"):
        take_the_place(host.tree / name)
    monkeypatch.setattr(to_directory.ToDirectory, "_copy_links", lambda *_: False)

    assert host.back_up().status == "complete"

    assert differing(entries(host.newest()), entries(host.tree)) == {}


def test_what_a_clock_that_was_far_ahead_has_dated_is_dated_anew_once_something_keeps_it_right(host: Host) -> None:
    for number, (ahead, is_kept) in enumerate(((0, True), (400, False), (-400, False), (0, True))):
        if is_kept:
            in_the_future = [name for name in host.snapshots() if moment_of(name) > datetime.now(UTC) + host.ahead]
        host.ahead, host.clock_is_kept = host.ahead + timedelta(days=ahead), is_kept
        (host.tree / "night").write_text(str(number))
        host.back_up()

    assert len(in_the_future) == 2
    assert all(moment_of(name) <= datetime.now(UTC) + host.ahead for name in host.snapshots())
    assert [(host.store.tree(name) / "night").read_text() for name in host.snapshots()] == ["0", "1", "2", "3"]


def test_the_newest_ones_are_kept_and_a_partial_night_rotates_nothing_out(host: Host) -> None:
    host.keep = 2
    for _ in range(3):
        host.back_up()
    kept = host.snapshots()

    broken = host.back_up(RSYNC=str(an_rsync_that_ends_with(host, 23)))

    assert len(kept) == 2
    assert broken.status == "partial" and broken.receiver is None
    assert host.snapshots() == kept
    assert host.back_up().status == "complete"
    assert len(host.snapshots()) == 2 and host.snapshots()[0] == kept[1]
    assert {path.name for path in host.target.iterdir()} == {*host.snapshots(), "ebbtide.json", ".lock"}


def an_rsync_that_ends_with(host: Host, code: int) -> Path:
    """One that does its work, and says then that it could not do all of it."""
    return an_rsync(host, f'rsync "$@"; exit {code}')


@pytest.mark.fault("H4")
@pytest.mark.parametrize("days", [None, 0, 7], ids=["the first", "by the index", "and in full"])
@pytest.mark.parametrize(("times", "status"), [(2, "complete-with-warnings"), (9, "partial")])
def test_a_night_from_under_which_files_go_looks_twice_more(
    host: Host, monkeypatch: pytest.MonkeyPatch, days: int | None, times: int, status: str
) -> None:
    if days is not None:
        host.back_up()
        host.ahead += timedelta(days=days)
    kept = [(host.store.tree(name), entries(host.store.tree(name))) for name in host.snapshots()]
    (host.tree / "d/two").chmod(0o600)
    from_under_each_push(monkeypatch, *[lambda: (host.tree / "d/came meanwhile").write_text("new")] * times)

    report = host.back_up()

    assert (report.status, report.exit_code, report.problems[-1]) == (status, 24, "d/two has vanished")
    assert len([each for each in host.said if "renamed or deleted meanwhile" in each]) == min(times, 2)
    assert [differing(entries(tree), before) for tree, before in kept] == [{}] * len(kept)
    if status == "complete-with-warnings":
        assert differing(entries(host.newest()), entries(host.tree)) == {}
        assert report.entries == len(entries(host.tree))
    assert len(host.snapshots()) == len(kept) + (status != "partial")
    monkeypatch.undo()
    assert host.back_up().status == "complete"
    assert differing(entries(host.newest()), entries(host.tree)) == {}


@pytest.mark.fault("H4")
def test_a_file_whose_names_all_vanish_costs_no_snapshot(host: Host) -> None:
    for large in ("large", "g/large", "d/e/large"):
        (host.tree / large).unlink()
    host.back_up()
    (host.tree / "slow").write_bytes(os.urandom(4_000_000))

    with a_file_whose_names_vanish(host.tree, lambda: any(host.store.making.glob(".slow.*"))):
        report = host.back_up(BANDWIDTH="2m")

    assert report.status == "complete-with-warnings"
    assert len(host.snapshots()) == 2
    assert differing(entries(host.newest()), entries(host.tree)) == {}


def from_under_each_push(monkeypatch: pytest.MonkeyPatch, *happens: Callable[[], object]) -> None:
    """Have a file vanish from under each of so many pushes of a night, and something happen then."""
    push_tree, left = night.push_tree, list(happens)

    def push(*arguments: Any) -> Outcome:
        outcome = push_tree(*arguments)
        if not left:
            return outcome
        left.pop(0)()
        return together([outcome, Outcome("partial", 24, Counts(), ("d/two has vanished",), (b"d/two",))])

    monkeypatch.setattr(night, "push_tree", push)


@pytest.mark.parametrize("exclude", ["", "[x]y\n"], ids=["counted by the agent", "counted by rsync"])
def test_of_a_tree_that_is_half_gone_by_then_nothing_more_is_pushed(
    host: Host, monkeypatch: pytest.MonkeyPatch, exclude: str
) -> None:
    host.paths.exclude.write_text(exclude)
    host.back_up()
    from_under_each_push(monkeypatch, lambda: (shutil.rmtree(host.tree / "d"), shutil.rmtree(host.tree / "g")))

    report = host.back_up()

    assert (report.status, len(host.snapshots())) == ("partial", 1)
    assert "so much is gone that the next night's guards are to judge it" in report.problems[0]
    assert host.back_up().status == "suspect"


def test_what_cannot_be_scanned_again_is_not_pushed_and_the_night_is_judged_by_the_scan_before(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interfered(*_: object, **__: object) -> NoReturn:
        raise Interfered("the scan was ended from outside")

    monkeypatch.setattr(guards, "A_MASS", 1)
    host.back_up(REWRITE="1")
    (host.tree / "d/one").write_text("your files are encrypted")
    from_under_each_push(monkeypatch, lambda: monkeypatch.setattr(survey, "_compared", interfered))

    report = host.back_up(REWRITE="1")

    assert (report.status, len(host.snapshots())) == ("suspect", 1)
    assert any("not looked after: there can be no index: the scan was ended" in each for each in report.problems)
    assert any("are gone or rewritten" in each for each in report.problems)


def test_what_rsync_cannot_count_again_is_not_pushed_and_costs_no_more_than_that(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_tell(_: Config) -> NoReturn:
        raise PermanentError("rsync cannot tell what the tree amounts to: exit code 1")

    host.paths.exclude.write_text("[x]y\n")
    host.back_up()
    from_under_each_push(monkeypatch, lambda: monkeypatch.setattr(night, "count", cannot_tell))

    report = host.back_up()

    assert (report.status, len(host.snapshots())) == ("partial", 1)
    assert "was not looked after: rsync cannot tell what the tree amounts to: exit code 1" in report.problems[0]


@pytest.mark.fault("H6")
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_night_that_was_killed_leaves_nothing_that_is_taken_for_a_snapshot(host: Host, earlier: int) -> None:
    for _ in range(earlier):
        host.back_up()
    (host.tree / "new").write_text("new")
    killer = host.place / "rsync"
    killer.write_text('#!/bin/sh\nrsync "$@"\ncase "$*" in *--stats*) kill -9 $PPID;; esac\n')
    killer.chmod(0o755)

    host.configure(RSYNC=str(killer))
    ended = as_agent(host, "run")

    assert ended.returncode == -signal.SIGKILL
    assert host.store.making.is_dir() and len(host.snapshots()) == earlier
    assert host.back_up().status == "complete-with-warnings"
    assert differing(entries(host.newest()), entries(host.tree)) == {}
    assert len(host.snapshots()) == earlier + 1


@pytest.mark.fault("H7")
def test_of_two_agents_with_one_directory_and_a_state_each_the_second_is_refused_and_harms_nothing(host: Host) -> None:
    host.keep = 2
    host.back_up()
    second = Host(host.place / "second", host.target)
    plant(second.tree)
    began, go = (host.place / name for name in ("began", "go"))
    waiting = an_rsync(
        host, f'[ ! -e {began} ] || {{ echo > {began}; rm {began}; read -r _ < {go}; }}; exec rsync "$@"'
    )
    host.configure(RSYNC=str(waiting))
    with an_open_pipe(began) as told, an_open_pipe(go) as answer, subprocess.Popen(agent(host)) as first:
        try:
            assert select.select([told], [], [], 60)[0], "it has not begun"
            with pytest.raises(Refused, match=r"another backup of this host is under way .*backup/\.lock"):
                second.back_up()
            assert at_hand(second) == host.snapshots(), "who only reads is in nobody's way"
        finally:
            os.write(answer, b"\n")

    assert first.returncode == 0 and len(host.snapshots()) == 2
    assert differing(entries(host.newest()), entries(host.tree)) == {}
    assert second.back_up().status == "complete", "the kernel has let go of the lock"


@contextmanager
def an_open_pipe(place: Path) -> Iterator[int]:
    """Open at both ends, so that nobody waits for the other one to come."""
    os.mkfifo(place)
    descriptor = os.open(place, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.fault("H7")
@pytest.mark.parametrize("left", ["", "mkdir -p {0}/tree", "mkdir -p {0}/tree; echo another > {0}/night"])
def test_what_this_night_did_not_push_becomes_no_snapshot_and_lets_none_go(host: Host, left: str) -> None:
    host.keep = 1
    host.back_up()
    kept, before = host.snapshots(), entries(host.newest())
    store = host.store.incomplete

    report = host.back_up(RSYNC=str(an_rsync(host, f'rsync "$@"; rm -rf {store}; {left.format(store)}')))

    assert report.status == "failed" and "is not what was pushed: somebody else has written there" in report.problems[0]
    assert host.snapshots() == kept and differing(entries(host.newest()), before) == {}


@pytest.mark.fault("H7")
def test_what_took_the_place_of_tonights_tree_while_that_was_looked_at_becomes_no_snapshot(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at(tree: Path) -> list[list[bytes]]:
        (tree.parent / "night").write_text("another")
        return []

    monkeypatch.setattr(to_directory, "find_groups", looked_at)

    report = host.back_up()

    assert report.status == "failed" and "is not what was pushed: somebody else has written there" in report.problems[0]
    assert host.snapshots() == () and host.store.making_night.read_text() == "another"


@pytest.mark.fault("H7")
@pytest.mark.parametrize("lacks", ["tree", "report.json"])
def test_a_dated_directory_without_its_tree_or_its_report_is_no_snapshot(host: Host, lacks: str) -> None:
    host.keep = 2
    for _ in range(2):
        host.back_up()
    sound, broken = host.snapshots()
    (host.store.snapshot(broken) / lacks).rename(host.place / "taken away")

    assert at_hand(host) == (sound,)
    assert host.back_up().status == "complete"

    *earlier, newest = host.snapshots()
    assert earlier == [sound, broken], "it counts for KEEP, or is taken for nobody's"
    assert at_hand(host) == (sound, newest)
    assert (host.newest() / "d/two").samefile(host.store.tree(sound) / "d/two"), "what is whole is not the base"
    assert any(f"{broken} lacks its tree or its report" in line for line in host.said)


def test_what_a_night_left_is_not_gone_on_with_once_it_is_linked_to_a_snapshot(host: Host) -> None:
    host.back_up()
    (script := host.paths.scripts / "10-fails").parent.mkdir()
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    assert host.back_up().status == "partial"
    script.unlink()
    (snapshot,) = host.snapshots()
    kept = entries(host.store.tree(snapshot))
    host.store.report(snapshot).unlink()
    (host.tree / "d/two").chmod(0o600)

    assert host.back_up().status == "complete"

    assert differing(entries(host.store.tree(snapshot)), kept) == {}


@pytest.mark.fault("H11")
@pytest.mark.parametrize("boots", ["this", "another"])
def test_a_first_night_that_broke_off_is_gone_on_with_by_the_same_boot_of_the_machine_only(
    host: Host, monkeypatch: pytest.MonkeyPatch, boots: str
) -> None:
    """Of what a machine has lost its power with, a file's size and time may be on the disk, and its content not."""
    large = host.tree / "d/large"
    large.write_bytes(b"content")
    assert host.back_up(RSYNC=str(an_rsync(host, 'rsync "$@"; exit 23'))).status == "partial"
    there = host.store.making / "d/large"
    there.write_bytes(b"written")
    os.utime(there, ns=(0, large.stat().st_mtime_ns))
    if boots == "another":
        monkeypatch.setattr(moments, "up", lambda: moments.Up("another", 1.0))

    assert host.back_up(RSYNC="rsync").status == "complete"

    content = (host.newest() / "d/large").read_bytes()
    assert content == {"this": b"written", "another": b"content"}[boots]


def at_hand(host: Host) -> tuple[str, ...]:
    """What `list` offers."""
    host.configure()
    config = load(host.paths)
    assert isinstance(config.target, Directory)
    return tuple(point.name for point in FromDirectory(config.target, config, host.paths).at_hand().points)


def an_rsync(host: Host, does: str) -> Path:
    program = host.place / "rsync"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec rsync --version\n{does}\n')
    program.chmod(0o755)
    return program


def test_an_attribute_that_the_disk_does_not_take_is_no_full_disk(host: Host) -> None:
    says = 'rsync: [receiver] rsync_xal_set: lsetxattr("d/one","user.a") failed: No space left on device (28)'
    said = shlex.quote(says)

    report = host.back_up(RSYNC=str(an_rsync(host, f'rsync "$@"; echo {said} >&2; exit 23')))

    assert (report.status, report.problems[0]) == ("partial", says)


def test_a_disk_is_full_whatever_the_file_is_called_that_finds_it_so(host: Host) -> None:
    says = 'rsync: [receiver] write failed on "/tree/include/linux/xattr.h": No space left on device (28)'
    said = shlex.quote(says)

    report = host.back_up(RSYNC=str(an_rsync(host, f'rsync "$@"; echo {said} >&2; exit 23')))

    assert report.status == "failed"
    assert "is full" in report.problems[0]


def test_a_disk_that_is_full_elsewhere_is_not_this_one(host: Host) -> None:
    host.paths.scripts.mkdir()
    (host.paths.scripts / "10-dump").write_text("#!/bin/sh\necho No space left on device >&2; exit 1\n")
    (host.paths.scripts / "10-dump").chmod(0o755)

    report = host.back_up()

    assert report.status == "partial" and "No space left on device" in report.problems[0]
    assert host.store.making.exists()


@needs_mounts
def test_a_full_disk_fails_the_night_and_costs_no_earlier_snapshot(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup", keep=1)
    (host.tree / "file").write_bytes(os.urandom(1 << 20))
    host.configure()
    more = f"head -c 3M /dev/urandom > {host.tree}/more"
    seen = f"find {host.target} -mindepth 1 -maxdepth 1 -name '[.2]*' ! -name .lock"
    seen += f"; cat {host.target}/2*/tree/file | wc -c"
    night = shlex.join(agent(host))
    script = f"mount -t tmpfs -o size=3M tmpfs {host.target} && {night} && {more} && ! {night} && {seen}"

    ended = subprocess.run([*ALONE, "sh", "-c", script], capture_output=True, text=True)

    report = json.loads(host.paths.last_report.read_bytes())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert report["status"] == "failed" and "is full" in report["problems"][0]
    *_, snapshot, size = ended.stdout.splitlines()
    assert Path(snapshot).name.startswith("20") and size == str(1 << 20)


def test_the_backup_does_not_back_itself_up(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "tree/srv/backup")
    (host.tree / "file").write_text("file")

    host.back_up()
    report = host.back_up()

    assert report.entries == 4
    assert set(entries(host.newest())) == {b".", b"file", b"srv", b"srv/backup"}


def test_what_is_awkward_is_in_both_kinds_of_snapshots_as_it_is(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    (awkward.grow if IS_ROOT else awkward.grow_plain)(host.tree)

    for _ in range(2):
        assert host.back_up().status == "complete"
        assert differing(entries(host.newest()), entries(host.tree)) == {}
        host.paths.index.unlink()


def test_a_night_is_reported_as_to_any_target(host: Host) -> None:
    report = host.back_up()

    assert report.receiver and (report.receiver.tree, report.receiver.entries) == ("real", report.entries)
    assert report.entries == len(entries(host.tree))
    assert host.paths.last_report.read_bytes() == encode_report(report)
    assert (host.newest().parent / "report.json").read_bytes() == encode_report(report)
    assert stat.S_IMODE(host.newest().parent.stat().st_mode) == 0o700


def test_a_file_with_too_many_names_is_no_obstacle(host: Host) -> None:
    """cp cannot link it once more; rsync copies it then."""
    host.back_up()
    first = host.newest()
    refusing = host.place / "cp"
    refusing.write_text("#!/bin/sh\necho 'cp: cannot create hard link: Too many links' >&2\nexit 1\n")
    refusing.chmod(0o755)

    host.configure()
    path = f"{host.place}:{os.environ['PATH']}"
    ended = subprocess.run(
        [*agent(host), "--progress", "lines"], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )

    assert ended.returncode == 0 and "a full push" in ended.stdout, ended.stdout + ended.stderr
    assert len(host.snapshots()) == 2
    assert differing(entries(host.newest()), entries(host.tree)) == {}
    assert (host.newest() / "d/two").samefile(first / "d/two")


@pytest.mark.fault("H13")
def test_a_directory_as_deep_as_a_server_may_have_it_costs_no_night(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    dig(host.tree, LONGEST_PATH)
    host.paths.include.write_text(f"{host.tree}\n")

    nights = [host.back_up(ROOT="/").status for _ in range(2)]

    assert nights == ["complete", "complete"], host.said
    kept = host.newest() / host.tree.relative_to("/")
    assert entries(kept).keys() == entries(host.tree).keys()
    assert not any("there can be no index" in line for line in host.said)


def test_a_disk_that_is_not_there_is_not_written_to(host: Host) -> None:
    host.back_up()
    shutil.rmtree(host.target)
    host.target.mkdir()

    with pytest.raises(Refused, match="is not what it was at the last backup"):
        host.back_up()

    assert list(host.target.iterdir()) == []
