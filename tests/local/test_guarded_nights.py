"""Whole nights of a host whose data seems to be gone or rewritten: what is pushed then, and how to say it is meant."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ebbtide_agent
from chalicelib import wire
from chalicelib.core.model import HostStatus
from ebbtide_agent.host import guards, night
from ebbtide_agent.host.link import World
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE, PARTIAL, SUSPECT, WITH_WARNINGS
from tests.local.enclosed import in_an_enclosure
from tests.local.own_nights import Host, after_each_push, differing, entries
from tests.local.receiver_machine import MISSING as NO_RECEIVER
from tests.local.receiver_machine import Receiver, a_receiver, an_aws, report_key
from tests.local.rsync_only import a_far_side
from tests.local.test_content_check import mounted
from tests.local.test_to_remote import MISSING as FAR_AWAY
from tests.local.test_to_remote import Pushing, fetched
from tests.patience import for_make_long

MISSING = [name for name in ("rsync", "cp") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

A_WEEK = timedelta(days=7)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, tmp_path / "backup")
    for number in range(20):
        (host.tree / f"file{number}").write_text(f"content of {number}\n" * 10)
    return host


def needs(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(f"mkfs.{kind}") is None, reason=f"no mkfs.{kind} here")


KINDS = [pytest.param(kind, marks=needs(kind)) for kind in ("ext4", "xfs")]


def a_disk(image: Path, kind: str) -> None:
    """With nothing on it. Smaller ones mkfs.xfs does not make."""
    image.touch()
    os.truncate(image, 300 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)


@dataclass(frozen=True)
class ToAReceiver:
    """The nights of us0 into a receiver."""

    receiver: Receiver
    night: night.Night

    def back_up(self) -> str:
        """How the host itself says that it ended."""
        return night.run(self.night).status

    def recorded(self, run: str) -> wire.Report:
        return wire.parse_report(self.receiver.aws.body(report_key("us0a", run)))


@contextmanager
def into_a_receiver(host: Host, accept_shrink: bool = False, **settings: str) -> Iterator[ToAReceiver]:
    kind = confine.SEPARATE if os.geteuid() == 0 else confine.OWN
    with an_aws() as aws, a_receiver(aws, kind, ("us0",)) as receiver:
        paths = receiver.configure("us0", host.tree, host.paths.etc, WHOLE_SYSTEM="no", **settings)
        world = World(lambda: datetime.now(UTC))
        yield ToAReceiver(receiver, night.Night(paths, world, os.environ, accept_shrink=accept_shrink))


def rewrite(tree: Path, which: range) -> None:
    for number in which:
        (tree / f"file{number}").write_text("your files are encrypted")


@pytest.mark.fault("H14")
def test_half_of_a_tree_that_is_gone_is_suspect_until_it_is_said_to_be_meant(host: Host) -> None:
    assert host.back_up().status == COMPLETE
    for number in range(15):
        (host.tree / f"file{number}").unlink()

    nights = [host.back_up() for _ in range(2)]
    kept = host.snapshots()
    accepted = host.back_up(accept_shrink=True)
    after = host.back_up()

    assert [night.status for night in nights] == [SUSPECT, SUSPECT]
    assert "of 21 entries of the last complete night 6 are left" in nights[0].problems[0]
    assert len(kept) == 1
    assert (accepted.status, after.status) == (COMPLETE, COMPLETE)
    assert len(list(host.newest().iterdir())) == 5


@pytest.mark.fault("H14")
@pytest.mark.skipif(bool(FAR_AWAY), reason=f"not installed: {', '.join(FAR_AWAY)}")
@in_an_enclosure
def test_a_disk_that_is_not_mounted_loses_nothing_over_there_and_is_pushed_again_once_it_is(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted/file").write_text("on a disk of its own")
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tmp_path / "planted"), str(disk), "16M"], check=True)
    with a_far_side() as far:
        host = Pushing(tmp_path, tmp_path / "unused")
        host.reach(far)
        (host.tree / "srv").mkdir()
        (host.tree / "large").write_bytes(bytes(100_000))

        with mounted(host.tree / "srv", "-o", "loop", str(disk)):
            before = host.back_up()
        without = host.back_up()
        kept = (host.there / "tree/srv/file").read_text()
        with mounted(host.tree / "srv", "-o", "loop", str(disk)):
            after = host.back_up()
            assert differing(entries(fetched(host)), entries(host.tree)) == {}

        assert (before.status, without.status, after.status) == (COMPLETE, SUSPECT, COMPLETE)
        (problem,) = without.problems
        assert f"{host.tree}/srv is not mounted" in problem and "nothing was pushed" in problem
        assert kept == "on a disk of its own"


@pytest.mark.fault("H14")
@pytest.mark.parametrize(
    ("kind", "instead"),
    [
        pytest.param("ext4", "a tmpfs", marks=needs("ext4")),
        pytest.param("xfs", "an empty disk", marks=needs("xfs")),
        pytest.param("ext4", "an empty disk", marks=(needs("ext4"), for_make_long)),
        pytest.param("xfs", "a tmpfs", marks=(needs("xfs"), for_make_long)),
    ],
)
@in_an_enclosure
def test_what_is_mounted_in_the_place_of_a_disk_empties_no_backup(tmp_path: Path, kind: str, instead: str) -> None:
    for name in ("disk", "empty"):
        a_disk(tmp_path / name, kind)
    words = ("-t", "tmpfs", "none") if instead == "a tmpfs" else ("-o", "loop", str(tmp_path / "empty"))
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "srv").mkdir()
    (host.tree / "large").write_bytes(bytes(100_000))
    for number in range(20):
        (host.tree / f"file{number}").touch()

    with mounted(host.tree / "srv", "-o", "loop", str(tmp_path / "disk")):
        (host.tree / "srv/file").write_text("on a disk of its own")
        statuses = [host.back_up().status, host.back_up().status]
    with mounted(host.tree / "srv", *words):
        emptied = host.back_up()
        meant = host.back_up(accept_shrink=True)
        after = host.back_up()

    assert (statuses, emptied.status) == ([COMPLETE, COMPLETE], SUSPECT)
    said = {
        "a tmpfs": f"srv was {kind} at the last complete night, and what is mounted there now is tmpfs",
        "an empty disk": f"of 1 files on {host.tree}/srv at the last complete night none is left, and it is not the",
    }
    assert said[instead] in emptied.problems[0]
    assert (meant.status, after.status) == (COMPLETE, COMPLETE)


@pytest.mark.parametrize("kind", KINDS)
@in_an_enclosure
def test_the_last_file_of_a_small_disk_may_go(tmp_path: Path, kind: str) -> None:
    a_disk(tmp_path / "disk", kind)
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "spool").mkdir()
    for number in range(20):
        (host.tree / f"file{number}").touch()

    with mounted(host.tree / "spool", "-o", "loop", str(tmp_path / "disk")):
        (host.tree / "spool/letter").touch()
        full = host.back_up()
        (host.tree / "spool/letter").unlink()
    with mounted(host.tree / "spool", "-o", "loop", str(tmp_path / "disk")):
        emptied = host.back_up()

    assert (full.status, emptied.status) == (COMPLETE, COMPLETE), emptied.problems


def test_what_is_emptied_while_everything_is_pushed_costs_no_night_and_what_is_back_is_there(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was moved away and is back looks as it did to an index."""
    sessions, aside = host.tree / "sessions", host.place / "aside"
    sessions.mkdir()
    for number in range(30):
        (sessions / f"{number}").touch()
    pushed = len(entries(host.tree))
    after_each_push(monkeypatch, lambda: sessions.rename(aside) if sessions.exists() else None)
    reports = []
    for _ in range(3):
        reports.append(host.back_up(REWRITE="no"))
        shutil.rmtree(host.newest() / "sessions")
        assert aside.exists(), "what was pushed is not looked at once more"
        aside.rename(sessions)
    monkeypatch.undo()
    last = host.back_up(REWRITE="no")

    assert [(each.status, each.entries) for each in reports] == [(WITH_WARNINGS, pushed)] * 3
    assert "so much is gone that the next night's guards are to judge it" in reports[0].problems[0]
    assert last.status == COMPLETE and differing(entries(host.newest()), entries(host.tree)) == {}
    assert "what changed during the last push was not looked after" in " ".join(host.said)
    assert host.back_up().status == COMPLETE
    assert f"of {pushed} entries 0 to push, 0 to delete first" in host.said


def test_what_is_gone_for_good_while_everything_is_pushed_is_suspect_the_next_night(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_each_push(
        monkeypatch, lambda: [(host.tree / f"file{number}").unlink(missing_ok=True) for number in range(15)]
    )

    assert [host.back_up().status, host.back_up().status] == [WITH_WARNINGS, SUSPECT]


@contextmanager
def with_a_disk(host: Host) -> Iterator[None]:
    """For a block, with a file on a disk of its own, and more beside it."""
    (host.tree / "srv").mkdir()
    (host.tree / "large").write_bytes(bytes(100_000))
    a_disk(host.place / "disk", "ext4")
    with mounted(host.tree / "srv", "-o", "loop", str(host.place / "disk")):
        (host.tree / "srv/file").write_text("on a disk of its own")
        yield


@in_an_enclosure
def test_a_night_in_which_a_disk_goes_while_everything_is_pushed_is_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can tell whether it was there when the push came by?"""
    host = Host(tmp_path, tmp_path / "backup")

    with ExitStack() as until_it_goes:
        until_it_goes.enter_context(with_a_disk(host))
        after_each_push(monkeypatch, until_it_goes.close)
        report = host.back_up()

    assert report.status == PARTIAL
    assert "what changed while the tree was pushed was not looked after" in report.problems[0]


@pytest.mark.fault("H14")
@in_an_enclosure
def test_a_disk_that_goes_at_the_end_of_a_night_is_missed_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, tmp_path / "backup")

    with ExitStack() as until_it_goes:
        until_it_goes.enter_context(with_a_disk(host))
        assert host.back_up().status == COMPLETE
        after_each_push(monkeypatch, until_it_goes.close)
        statuses = [host.back_up().status, host.back_up().status]

    assert statuses == [COMPLETE, SUSPECT]


@pytest.mark.fault("H14")
def test_a_pattern_that_leaves_hardly_anything_is_asked_about_once(host: Host) -> None:
    assert host.back_up().status == COMPLETE
    host.paths.exclude.write_text("/file*\n")
    (host.tree / "directory").mkdir()

    held_back = host.back_up()
    meant = host.back_up(accept_shrink=True)
    after = host.back_up()

    assert held_back.status == SUSPECT
    assert "of 20 files of the last complete night 0 are left since what is backed up was" in held_back.problems[0]
    assert (meant.status, after.status) == (COMPLETE, COMPLETE)


@pytest.mark.fault("H14")
def test_a_tree_that_only_rsync_can_count_is_guarded_as_any_other(host: Host) -> None:
    host.paths.exclude.write_text("[x]y\n")
    assert [host.back_up().status, host.back_up().status] == [COMPLETE, COMPLETE]
    for number in range(15):
        (host.tree / f"file{number}").unlink()

    nights = [host.back_up() for _ in range(3)]
    kept = host.snapshots()
    accepted = host.back_up(accept_shrink=True)
    after = host.back_up()

    assert [night.status for night in nights] == [SUSPECT] * 3
    assert "of 21 entries of the last complete night 6 are left" in nights[0].problems[0]
    assert len(kept) == 2
    assert (accepted.status, after.status) == (COMPLETE, COMPLETE)


@pytest.mark.fault("H14")
def test_a_pattern_of_rsyncs_own_that_leaves_hardly_anything_is_asked_about(host: Host) -> None:
    assert host.back_up().status == COMPLETE
    host.paths.exclude.write_text("[a-y]*\n")
    (host.tree / "zero").mkdir()

    assert "of 20 files of the last complete night 0 are left" in host.back_up().problems[0]


def test_losses_of_nights_that_were_not_complete_add_up(host: Host) -> None:
    assert host.back_up().status == COMPLETE
    host.paths.scripts.mkdir()
    (host.paths.scripts / "10-dump").write_text("never made executable")
    for number in range(8):
        (host.tree / f"file{number}").unlink()
    first = host.back_up()
    for number in range(8, 13):
        (host.tree / f"file{number}").unlink()

    second = host.back_up()

    assert (first.status, second.status) == (PARTIAL, SUSPECT)
    assert "of 21 entries" in second.problems[0] and "10-dump" in second.problems[1]


@pytest.mark.fault("H14")
def test_an_empty_root_is_suspect_once_there_was_a_complete_night(host: Host) -> None:
    shutil.move(host.tree, host.place / "aside")
    host.tree.mkdir()
    first = host.back_up()
    shutil.copytree(host.place / "aside", host.tree, dirs_exist_ok=True)
    assert host.back_up().status == COMPLETE

    shutil.rmtree(host.tree)
    host.tree.mkdir()
    emptied = host.back_up(accept_shrink=True)

    assert (first.status, emptied.status) == ("failed", SUSPECT)
    assert len(host.snapshots()) == 1


@pytest.mark.fault("H14")
@pytest.mark.parametrize("line", ["*", "/*", "**", "/**"])
def test_a_line_that_excludes_everything_empties_no_backup(host: Host, line: str) -> None:
    assert host.back_up().status == COMPLETE
    host.paths.exclude.write_text(f"{line}\n")

    emptied = host.back_up(accept_shrink=True)

    assert emptied.status == SUSPECT
    assert f"{host.paths.exclude}:1: {line} excludes it" in emptied.problems[0]
    assert len(host.snapshots()) == 1


@pytest.mark.fault("H15")
def test_a_mass_that_is_rewritten_at_once_is_suspect_every_night_and_the_nights_before_stay(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    assert host.back_up().status == COMPLETE
    rewrite(host.tree, range(11))

    nights = [host.back_up() for _ in range(2)]
    kept = host.snapshots()
    accepted = host.back_up(accept_rewrite=True)

    assert [night.status for night in nights] == [SUSPECT, SUSPECT]
    assert "of 20 files of the last complete night 11 are gone or rewritten" in nights[1].problems[0]
    assert len(kept) == 1
    assert accepted.status == COMPLETE


@pytest.mark.fault("H15")
@pytest.mark.parametrize(
    ("before", "meanwhile", "status"), [(range(8), range(8), COMPLETE), (range(8), range(8, 16), SUSPECT)]
)
def test_what_is_rewritten_before_and_while_everything_is_pushed_is_counted_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, before: range, meanwhile: range, status: str
) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    assert host.back_up().status == COMPLETE
    rewrite(host.tree, before)
    after_each_push(monkeypatch, lambda: rewrite(host.tree, meanwhile))
    host.ahead += A_WEEK

    assert host.back_up(SHRINK="no").status == status


@pytest.mark.fault("H15")
def test_what_is_rewritten_while_everything_is_pushed_counts_where_the_index_is_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    assert host.back_up().status == COMPLETE
    host.paths.index.write_bytes(host.paths.index.read_bytes()[:-1])
    after_each_push(monkeypatch, lambda: rewrite(host.tree, range(11)))

    assert host.back_up(SHRINK="no").status == SUSPECT


@pytest.mark.fault("H15")
@pytest.mark.skipif(bool(NO_RECEIVER), reason=f"not installed: {', '.join(NO_RECEIVER)}")
def test_a_mass_that_is_rewritten_at_once_is_recorded_as_suspect_by_a_receiver(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    with into_a_receiver(host) as there:
        before = there.back_up()
        there.receiver.next_night("main/2026-11-24/1")
        rewrite(host.tree, range(11))
        there.back_up()

        recorded = there.recorded("main/2026-11-24/1")
        assert before == COMPLETE
        assert recorded.result.status is HostStatus.SUSPECT and not recorded.result.status.is_complete
        assert "11 are gone or rewritten" in recorded.result.problems[0]
        assert (there.receiver.tree("us0") / "file0").read_text() == "your files are encrypted"


@pytest.mark.skipif(bool(NO_RECEIVER), reason=f"not installed: {', '.join(NO_RECEIVER)}")
def test_what_the_volume_has_lost_of_a_note_of_rsyncs_costs_its_host_one_night_and_not_every_one(host: Host) -> None:
    with into_a_receiver(host) as there:

        def another(number: int) -> str:
            there.receiver.next_night(f"main/2026-11-{number}/1")
            return there.back_up()

        first = there.back_up()
        os.setxattr(there.receiver.tree("us0") / "file0", "user.rsync.%stat", b"1006\xe44 0,0 0:0")
        statuses = [first, another(24), another(25)]

        recorded = there.recorded("main/2026-11-24/1")
        assert statuses == [COMPLETE, PARTIAL, COMPLETE]
        assert recorded.result.problems[0].startswith("what rsync had noted of owner and mode was lost of 1 entries")
        assert "/file0" in " ".join(recorded.result.problems)


@pytest.mark.fault("H15")
@pytest.mark.skipif(bool(NO_RECEIVER), reason=f"not installed: {', '.join(NO_RECEIVER)}")
def test_a_receiver_takes_only_its_operators_word_that_half_of_a_tree_is_to_go(host: Host) -> None:
    with into_a_receiver(host, accept_shrink=True, SHRINK="no", REWRITE="no") as there:

        def another(number: int, guarded: bool = True) -> HostStatus:
            run = f"main/2026-11-{number}/1"
            there.receiver.next_night(run, guarded)
            there.back_up()
            recorded = there.recorded(run)
            said.append(" ".join(recorded.result.problems))
            return recorded.result.status

        said: list[str] = []
        for number in range(20, 160):
            (host.tree / f"file{number}").touch()
        there.back_up()
        for number in range(120):
            (host.tree / f"file{number}").unlink()
        statuses = [another(24), another(25), another(26, guarded=False), another(27)]

        assert statuses == [HostStatus.SUSPECT, HostStatus.SUSPECT, HostStatus.COMPLETE, HostStatus.COMPLETE]
        assert "of 161 entries of the last complete night 41 are left" in said[1]
        assert 'guard = "off" for host us0' in said[1]


@pytest.mark.fault("H14")
@pytest.mark.skipif(bool(NO_RECEIVER), reason=f"not installed: {', '.join(NO_RECEIVER)}")
def test_a_receiver_sees_a_loss_of_a_bit_less_than_half_each_night(host: Host) -> None:
    """The host's own guard compares with the last complete night alone, and finds nothing."""
    with into_a_receiver(host) as there:
        for number in range(20, 400):
            (host.tree / f"file{number}").touch()
        statuses = [there.back_up()]
        for number, left in ((24, 220), (25, 130)):
            for gone in range(left, 400):
                (host.tree / f"file{gone}").unlink(missing_ok=True)
            there.receiver.next_night(f"main/2026-11-{number}/1")
            statuses.append(there.back_up())

        recorded = there.recorded("main/2026-11-25/1")
        assert statuses == [COMPLETE, COMPLETE, SUSPECT]
        assert recorded.result.status is HostStatus.SUSPECT
        assert recorded.result.problems[0].startswith(
            "of 401 entries of main/2026-11-23/1, the most of 2 complete nights, 131 are left"
        )


def test_files_that_only_change_owner_mode_or_place_on_the_disk_are_not_rewritten(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    host.back_up()
    aside = host.place / "aside"
    shutil.copytree(host.tree, aside)
    shutil.rmtree(host.tree)
    aside.rename(host.tree)
    for path in host.tree.iterdir():
        path.chmod(0o600)

    assert host.back_up().status == COMPLETE


def test_both_guards_can_be_switched_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "A_MASS", 5)
    host.back_up()
    rewrite(host.tree, range(20))
    for number in range(15):
        (host.tree / f"file{number}").unlink()

    assert host.back_up(SHRINK="no", REWRITE="no").status == COMPLETE


def test_the_program_says_what_is_suspect_and_takes_the_operators_word(host: Host) -> None:
    host.configure()
    words = [sys.executable, "-m", "ebbtide_agent", "run", "--progress", "none", "--log", str(host.place / "none")]
    words += ["--etc", str(host.paths.etc), "--state", str(host.paths.state)]
    where = {**os.environ, "PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*words, *more], capture_output=True, text=True, env=where)

    first = run()
    for path in host.tree.iterdir():
        path.write_text("")
    suspect, accepted = run(), run("--accept-shrink")

    assert (first.returncode, suspect.returncode, accepted.returncode) == (0, 4, 0), first.stderr + accepted.stderr
    assert "bytes of the last complete night 0 are left" in suspect.stderr
    quiet = [line for line in (first.stderr + accepted.stderr).splitlines() if "disk warning" not in line]
    assert quiet == []


@in_an_enclosure
def test_what_the_kernel_makes_up_travels_from_no_place(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "file").touch()
    (host.tree / "jail/proc").mkdir(parents=True)

    before = host.back_up(WHOLE_SYSTEM="yes")
    with mounted(host.tree / "jail/proc", "-t", "proc", "none"):
        meanwhile = [host.back_up(WHOLE_SYSTEM="yes", **more) for more in ({}, {"CHECK": "no"})]
        host.ahead += A_WEEK
        in_full = host.back_up(WHOLE_SYSTEM="yes")

    nights = (before, *meanwhile, in_full)
    assert [(night.status, night.problems, night.entries) for night in nights] == [(COMPLETE, (), 4)] * 4
    assert "the configuration has changed" not in " ".join(host.said)


@in_an_enclosure
def test_what_a_disk_has_where_the_kernel_made_things_up_below_it_travels(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "jail/proc").mkdir(parents=True)

    with mounted(host.tree / "jail/proc", "-t", "proc", "none"), mounted(host.tree / "jail", "-t", "tmpfs", "none"):
        (host.tree / "jail/proc").mkdir()
        (host.tree / "jail/proc/mine").touch()
        report = host.back_up(WHOLE_SYSTEM="yes")

    assert report.status == COMPLETE
    assert (host.newest() / "jail/proc/mine").exists()


@pytest.mark.fault("H14")
@in_an_enclosure
def test_nor_does_it_empty_a_backup_in_the_place_of_a_disk(tmp_path: Path) -> None:
    a_disk(tmp_path / "disk", "ext4")
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "srv").mkdir()
    with mounted(host.tree / "srv", "-o", "loop", str(tmp_path / "disk")):
        (host.tree / "srv/file").write_text("on a disk of its own")
        whole = host.back_up(WHOLE_SYSTEM="yes")

    with mounted(host.tree / "srv", "-t", "proc", "none"):
        instead = host.back_up(WHOLE_SYSTEM="yes")

    assert (whole.status, instead.status) == (COMPLETE, SUSPECT)
    assert "srv was ext4 at the last complete night, and what is mounted there now is proc" in instead.problems[0]
