"""What a gate records of a tree of which it cannot tell everything, and what the next nights are compared with then."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ebbtide_agent import entry, manifest
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.peer.night import Night
from ebbtide_agent.peer.shelf import Shelf
from ebbtide_agent.receiver import boot, cgroups, ledger, mending, status
from ebbtide_agent.receiver.brief import Brief, parse_brief
from ebbtide_agent.receiver.history import Held
from ebbtide_agent.receiver.lease import Session, write_session
from ebbtide_agent.receiver.ledger import Ledger
from ebbtide_agent.receiver.mending import take_off_lost_notes
from ebbtide_agent.receiver.station import Station
from ebbtide_agent.receiver.status import Status, forget_tree, read_status, write_status
from ebbtide_agent.report import COMPLETE, FAILED, PARTIAL, SUSPECT, Report, report_key
from tests.unit.agent.guests import NOW, Taking


def test_a_night_with_an_entry_that_no_manifest_takes_is_partial_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "MOST_ATTRIBUTES", 1000)
    there = Taking(tmp_path)
    there.night()
    before = there.paths.manifest("us0a").read_bytes()
    os.setxattr(there.paths.tree("us0a") / "file", "user.flood", bytes(1001))

    recorded = there.report(there.say_hello())

    assert recorded.status == PARTIAL
    assert recorded.problems[0].startswith("one entry's extended attributes are more than 1000 B together")
    assert recorded.problems[0].endswith("exclude file")
    assert recorded.receiver and recorded.receiver.manifest is None
    assert there.paths.manifest("us0a").read_bytes() == before


def stored_by_no_rsync(tree: Path) -> None:
    os.setxattr(tree / "file", "user.rsync.%stat", b"not a stat")


def with_an_acl_that_is_none(tree: Path) -> None:
    os.setxattr(tree / "file", "user.rsync.%aacl", b"short")


def deeper_than_a_path_can_say(tree: Path) -> None:
    """Who has broken into rsync goes down step by step."""
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (stored_by_no_rsync, "file cannot be read back: not a %stat of rsync"),
        (with_an_acl_that_is_none, "file cannot be read back: not an ACL of rsync"),
        (deeper_than_a_path_can_say, "what was pushed cannot be read back: File name too long: dddd"),
    ],
)
def test_a_night_of_a_tree_that_cannot_be_read_back_has_its_report_and_is_partial(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    there = Taking(tmp_path)
    there.night()
    before = there.paths.manifest("us0a").read_bytes()
    harm(there.paths.tree("us0a"))

    recorded = there.report(there.say_hello())

    assert recorded.status == PARTIAL
    assert said in "".join(recorded.problems)
    assert recorded.receiver and recorded.receiver.manifest is None
    assert there.paths.manifest("us0a").read_bytes() == before


def test_lost_notes_are_taken_off_and_nothing_is_touched_that_a_link_leads_to(tmp_path: Path) -> None:
    tree, beside = tmp_path / "tree", tmp_path / "beside"
    for place in (tree / "directory", beside):
        place.mkdir(parents=True)
        (place / "file").touch()
    for place in (tree / "directory", tree / "directory/file", beside, beside / "file"):
        os.setxattr(place, "user.rsync.%stat", b"not a stat")
        os.setxattr(place, "user.note", b"its own")
    os.mkfifo(tree / "pipe")
    (tree / "link").symlink_to(beside)

    through_the_link = mending._take_off(os.fsencode(tree), b"link/file")
    taken = take_off_lost_notes(tree)

    kept = [os.listxattr(place) for place in (tree / "directory", tree / "directory/file")]
    assert (taken, kept, through_the_link) == (2, [["user.note"]] * 2, False)
    assert len(os.listxattr(beside)) == len(os.listxattr(beside / "file")) == 2


def test_an_entry_that_cannot_be_looked_at_ends_no_mending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    tree.mkdir(mode=0o777)
    for name in ("a lost one", "b shut", "c attributes", "d lost one"):
        (tree / name).touch()
        os.setxattr(tree / name, "user.rsync.%stat", b"not a stat")
    monkeypatch.setattr(entry, "MOST_ATTRIBUTES", 100)
    os.setxattr(tree / "c attributes", "user.note", b"x" * 101)
    for name in ("a lost one", "d lost one"):
        (tree / name).chmod(0o666)
    (tree / "b shut").chmod(0)
    monkeypatch.chdir(tree)

    with as_nobody():
        taken = take_off_lost_notes(Path())

    assert taken == 2
    assert sorted(each.name for each in tree.iterdir() if os.listxattr(each)) == ["b shut", "c attributes"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Whoever is root reads everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_without_the_manifest_that_a_complete_night_has_left_the_next_one_is_no_first_night(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    there.night(PARTIAL)
    there.days_pass()
    there.night()
    first = there.keeper.find_report()
    there.days_pass()
    there.paths.manifest("us0a").unlink()

    recorded = there.report(there.say_hello(), guarded=True)

    assert first and (first.status, recorded.status) == (COMPLETE, SUSPECT)
    assert recorded.problems[0].startswith("the manifest of the last complete night cannot be read")
    assert recorded.problems[0].endswith("manifest.jsonl.gz is not there)")


def test_what_the_volume_knew_of_a_host_may_be_lost_and_its_nights_go_on_in_full(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    there.night()
    there.days_pass()
    there.paths.status("us0a").write_bytes(b"\0" * 80)

    recorded = there.report(there.say_hello(), guarded=True)

    assert recorded.status == COMPLETE


@pytest.mark.parametrize("forget", [forget_tree, lambda path: path.write_bytes(b"{}")], ids=["mended", "lost"])
def test_where_more_is_lost_with_the_manifest_it_is_missed_all_the_same(
    tmp_path: Path, forget: Callable[[Path], object]
) -> None:
    there = Taking(tmp_path)
    there.night()
    there.days_pass()
    forget(there.paths.status("us0a"))
    there.paths.manifest("us0a").unlink()

    recorded = there.report(there.say_hello(), guarded=True)

    assert recorded.status == SUSPECT


def no_inode_is_left(path: Path, body: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_recorded_night_is_recorded_though_nothing_new_can_be_written_beside_its_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that heard of an error would push once more into a tree that is on record already."""
    there = Taking(tmp_path)
    night = there.say_hello()
    monkeypatch.setattr(status, "write_whole", no_inode_is_left)

    recorded = there.report(night)

    assert recorded.status == COMPLETE
    assert there.keeper.find_report() == recorded
    assert read_status(there.paths.status("us0a")) == Status()


def gate_is_killed(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def killed_at(owner: object, name: str, by: Callable[..., object] = gate_is_killed) -> Iterator[None]:
    """The block comes so far, and no further."""
    with pytest.MonkeyPatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(owner, name, by)
        yield


def test_a_host_whose_report_is_on_record_pushes_no_more_though_its_gate_is_killed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tree would not be what its manifest says; and a receiver would wait for it until the deadline."""
    there = Taking(tmp_path)
    night = there.say_hello()
    monkeypatch.setattr(Ledger, "_write_status", gate_is_killed)

    with pytest.raises(KeyboardInterrupt):
        there.report(night)

    assert there.keeper.find_report() and there.paths.reported("us0a").exists()


def its_gate_is_killed_at_the_report(shelf: Shelf, key: str, body: "bytes | Path") -> bool:
    return put_once(shelf, key, body) if key.startswith("manifests/") else gate_is_killed()


put_once = Shelf.put_once


def keep_only(tree: Path, files: int) -> None:
    for number in range(files, 1000):
        (tree / f"{number}").unlink(missing_ok=True)


@pytest.mark.fault("H14")
def test_losses_of_pushes_that_were_never_recorded_add_up(tmp_path: Path) -> None:
    """Each alone is none, beside what the push before it has left."""
    there = Taking(tmp_path)
    tree = there.paths.tree("us0a")
    for number in range(1000):
        (tree / f"{number}").touch()
    there.night()
    there.days_pass()
    night = there.say_hello()
    for files in (510, 260, 140, 80):
        keep_only(tree, files)
        with killed_at(Shelf, "put_once", its_gate_is_killed_at_the_report):
            there.report(night, guarded=True)

    keep_only(tree, 50)
    recorded = there.report(night, guarded=True)

    assert recorded.status == SUSPECT
    assert recorded.problems[0].startswith("of 1002 entries of the last complete night 52 are left")


def a_night_with(there: Taking, files: int, guarded: bool = True) -> Report:
    there.keeper.keep()
    there.days_pass()
    night = there.say_hello()
    keep_only(there.paths.tree("us0a"), files)
    return there.report(night, guarded=guarded)


def with_a_thousand(tmp_path: Path) -> Taking:
    there = Taking(tmp_path)
    for number in range(1000):
        (there.paths.tree("us0a") / f"{number}").touch()
    return there


@pytest.mark.fault("H14")
def test_what_is_lost_bit_by_bit_is_suspect_every_night_until_the_operator_says_that_it_is_meant(
    tmp_path: Path,
) -> None:
    """Each night has more than half of what the one before had; from the one that was meant the history goes on."""
    there = with_a_thousand(tmp_path)

    lost = [a_night_with(there, files) for files in (1000, 600, 400, 400)]
    meant = [a_night_with(there, 400, guarded=False)]
    after = [a_night_with(there, files) for files in (400, 300, 250, 190)]

    assert [night.status for night in lost] == [COMPLETE, COMPLETE, SUSPECT, SUSPECT]
    assert lost[-1].problems[0].startswith(f"of 1001 entries of {lost[0].run}, the most of 2 complete nights, 401 are")
    assert [night.status for night in (*meant, *after)] == [COMPLETE, COMPLETE, COMPLETE, COMPLETE, SUSPECT]


@pytest.mark.fault("H14")
def test_a_host_that_has_its_gate_killed_right_after_each_record_loses_no_more_than_another(tmp_path: Path) -> None:
    """It may fill its share of the memory until the kernel ends its sessions, and the gate among them."""
    there = with_a_thousand(tmp_path)
    for files in (1000, 600):
        with killed_at(Ledger, "_write_status"):
            a_night_with(there, files)

    assert a_night_with(there, 400).status == SUSPECT


def test_a_loss_that_was_meant_is_meant_though_the_gate_was_killed_when_it_was_on_record(tmp_path: Path) -> None:
    there = with_a_thousand(tmp_path)
    for files in (1000, 600):
        a_night_with(there, files)
    with killed_at(Ledger, "_write_status"):
        a_night_with(there, 400, guarded=False)

    assert a_night_with(there, 400).status == COMPLETE


def test_what_the_nights_held_is_known_though_nothing_is_known_of_the_tree(tmp_path: Path) -> None:
    there = with_a_thousand(tmp_path)
    for files in (1000, 600):
        a_night_with(there, files)

    forget_tree(there.paths.status("us0a"))

    assert a_night_with(there, 400).status == SUSPECT


def test_a_status_of_an_agent_that_knew_the_last_night_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    known = Status(5, settled=True, run="main/2026-11-23/1", complete=True)
    write_status(path, replace(known, nights=(Held("main/2026-11-22/1", 7, 70),)))
    written = json.loads(path.read_bytes())

    del written["nights"]
    path.write_text(json.dumps(written))

    assert read_status(path) == known


def test_a_night_is_partial_where_what_the_nights_held_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = with_a_thousand(tmp_path)
    a_night_with(there, 1000)
    there.paths.status("us0a").unlink()
    monkeypatch.setattr(status, "write_whole", no_inode_is_left)

    assert a_night_with(there, 1000).status == PARTIAL


def keeps(there: Taking, _: Night) -> None:
    there.keeper.keep()


@pytest.mark.parametrize("whoever_finds_it", [Taking.report, Taking.cut_off, keeps])
def test_a_night_is_what_the_next_ones_are_compared_with_though_its_gate_was_killed_when_it_was_on_record(
    tmp_path: Path, whoever_finds_it: Callable[[Taking, Night], object]
) -> None:
    there = Taking(tmp_path)
    there.night()
    there.days_pass()
    night = there.say_hello()
    (there.paths.tree("us0a") / "another").touch()
    with killed_at(Ledger, "_take_no_more"):
        there.report(night)

    whoever_finds_it(there, night)

    recorded = there.keeper.find_report()
    assert recorded and recorded.receiver and recorded.receiver.manifest
    assert sha256_of(there.paths.manifest("us0a")) == recorded.receiver.manifest.sha256
    assert not there.paths.next_manifest("us0a").exists()


def test_a_host_is_waited_for_until_what_its_next_nights_are_compared_with_is_in_its_place(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()
    with killed_at(ledger, "keep_manifest"):
        there.report(night)

    is_waited_for = not there.paths.reported("us0a").exists()
    there.cut_off(night)

    assert is_waited_for and there.paths.reported("us0a").exists()
    assert there.paths.manifest("us0a").exists() and not there.paths.next_manifest("us0a").exists()


@pytest.mark.fault("R7")
@pytest.mark.parametrize("nights", [0, 1])
def test_the_next_machine_puts_in_its_place_what_the_next_nights_are_compared_with(tmp_path: Path, nights: int) -> None:
    """One of the same run waits no more for that host; one of a later run does."""
    there = Taking(tmp_path)
    night = there.say_hello()
    with killed_at(Ledger, "_take_no_more"):
        there.report(night)
    recorded = there.keeper.find_report()
    assert recorded and recorded.receiver and recorded.receiver.manifest

    boot._recall(*a_successor(there, f"main/{nights}" if nights else night.run))

    assert sha256_of(there.paths.manifest("us0a")) == recorded.receiver.manifest.sha256
    assert there.paths.reported("us0a").exists() == (nights == 0)


def never_recorded(there: Taking, key: str) -> None:
    (there.paths.archive("us0a") / key).unlink()


def of_another_manifest(there: Taking, key: str) -> None:
    path = there.paths.archive("us0a") / key
    path.write_bytes(path.read_bytes().replace(sha256_of(there.paths.next_manifest("us0a")).encode(), b"another"))


def no_report(there: Taking, key: str) -> None:
    (there.paths.archive("us0a") / key).write_bytes(b"nothing")


def damaged(there: Taking, _: str) -> None:
    path = there.paths.next_manifest("us0a")
    path.write_bytes(path.read_bytes()[:11])


@pytest.mark.parametrize("becomes", [never_recorded, of_another_manifest, no_report, damaged])
def test_no_manifest_is_taken_but_the_one_that_is_on_record(
    tmp_path: Path, becomes: Callable[[Taking, str], None]
) -> None:
    there = Taking(tmp_path)
    there.night()
    there.days_pass()
    before, night = there.paths.manifest("us0a").read_bytes(), there.say_hello()
    (there.paths.tree("us0a") / "another").touch()
    with killed_at(Ledger, "_take_no_more"):
        there.report(night)
    becomes(there, report_key(night.run, "", "us0a"))

    boot._recall(*a_successor(there, "main/2026-11-28/1"))

    assert there.paths.manifest("us0a").read_bytes() == before


def test_a_report_that_says_nothing_is_one_all_the_same_to_the_second_machine_of_a_run(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()
    Shelf.of(there.paths, "us0a").put_once(report_key(night.run, "", "us0a"), b"nothing")

    boot._recall(*a_successor(there, night.run))

    assert there.paths.reported("us0a").exists()


def a_successor(there: Taking, run: str) -> tuple[Brief, Station]:
    """Another machine, with the same volume and the same archive: the brief of its run, and itself."""
    contract = parse_brief(Path("tests/contract/wire/brief-receiver.json").read_bytes())
    brief = replace(contract, run=run, nonce="", hosts=(there.guest.as_briefed("nonce"),))
    archive = Shelf.of(there.paths, "us0a")
    return brief, cast(Station, SimpleNamespace(paths=there.paths, cloud=archive))


def test_who_asks_again_because_its_gate_was_killed_at_once_has_its_answer_and_pushes_no_more(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()
    recorded = there.report(night)
    for note in (there.paths.reported("us0a"), there.paths.told):
        note.unlink()

    again = there.report(night)

    assert again == recorded
    assert there.paths.reported("us0a").exists() and there.paths.told.exists()


def test_a_night_that_is_on_record_is_begun_by_no_hello_though_nothing_else_is_left_of_it(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    first = there.say_hello()
    there.report(first, FAILED)
    # Killed before it could say so, and started anew because its disk has not kept what was pushed.
    for note in (there.paths.reported("us0a"), there.paths.session("us0a")):
        note.unlink()

    second = there.say_hello()

    assert (first.run, second.run) == ("peer/2026-11-26/1", "peer/2026-11-26/2")


def test_a_recorded_night_is_recorded_though_there_is_no_room_for_its_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()
    monkeypatch.setattr(Shelf, "send_event", lambda shelf, *_: no_inode_is_left(shelf.told, b""))

    recorded = there.report(night)

    assert recorded.status == COMPLETE
    assert there.keeper.find_report() == recorded


def test_who_has_pushed_and_not_reported_when_the_night_is_over_is_partial(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    night = there.say_hello("0123456789abcdef")
    there.now += timedelta(hours=5)
    write_session(there.paths, "us0a", Session(None, 2.0))

    there.cut_off(night)

    recorded = there.keeper.find_report()
    assert recorded and recorded.receiver
    assert (recorded.status, recorded.started, recorded.finished) == (PARTIAL, NOW, there.now)
    assert (recorded.receiver.exit_code, recorded.receiver.manifest) == (None, None)
    assert there.paths.told.exists()


@pytest.mark.parametrize(
    ("exit_code", "kills", "is_told"), [(None, 5, True), (12, 5, True), (None, 2, False), (0, 5, False)]
)
def test_who_was_ended_for_want_of_memory_during_its_last_push_is_on_record_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: "int | None", kills: int, is_told: bool
) -> None:
    """What had been ended before that push began says nothing of it."""
    there = Taking(tmp_path)
    night = there.say_hello()
    monkeypatch.setattr(cgroups, "kills", lambda host_id: kills if host_id == "us0a" else 0)
    write_session(there.paths, "us0a", Session(exit_code, 2.0, kills=2))

    there.cut_off(night)

    recorded = there.keeper.find_report()
    assert recorded and ("a larger instance" in recorded.problems[0]) == is_told


def test_who_has_never_pushed_is_not_spoken_for_and_who_has_reported_said_it_all(tmp_path: Path) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()

    there.cut_off(night)
    of_who_never_pushed = there.keeper.find_report()
    recorded = there.report(night)
    there.cut_off(night)

    assert of_who_never_pushed is None
    assert there.keeper.find_report() == recorded


def test_without_an_inode_for_a_new_file_a_status_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    write_status(path, Status(5, settled=True, run="main/2026-11-23/1", complete=True))
    monkeypatch.setattr(status, "write_whole", no_inode_is_left)

    write_status(path, Status(5, settled=False))

    assert read_status(path) == Status(5, settled=False)


def test_where_no_manifest_can_be_written_any_more_the_night_is_partial_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Taking(tmp_path)
    night = there.say_hello()
    monkeypatch.setattr(manifest, "write", lambda tree, kind, known, out, *_: no_inode_is_left(out, b""))

    recorded = there.report(night)

    assert recorded.status == PARTIAL
    assert recorded.problems[0].startswith("the volume that takes this backup is full")
    assert recorded.receiver and (recorded.receiver.manifest, recorded.receiver.exit_code) == (None, 0)
    assert there.keeper.find_report() == recorded
