"""The passes of a push: what each rsync is told, and what becomes of the others when one ends badly."""

import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.fakesuper import kernel_acl
from ebbtide_agent.host.bring import RestoreRequest, compared
from ebbtide_agent.host.changes import Changes
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.course import Course
from ebbtide_agent.host.index import STAT, Entry
from ebbtide_agent.host.link import World
from ebbtide_agent.host.past import Source
from ebbtide_agent.host.push import Pass, Watch, by_index, in_full, passes_of, push, rsync
from ebbtide_agent.host.resume import cleared, into_nothing, resumable
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.target import Directory, Receiver, Target
from ebbtide_agent.host.to_receiver import ToReceiver
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import FAKE_SUPER, Hello
from tests.unit.agent.test_course import A_CONFIG

NOW = datetime(2026, 11, 23, 2, 10, tzinfo=UTC)
NOTHING = Path("/var/lib/ebbtide/nothing")
ROUTE = ("-e", "ssh", "192.0.2.1::tree/")
A_MAIL_WENT, A_FILE_WENT = (
    f"echo 'file has vanished: \"{path}\"' >&2; exit 24" for path in ("/var/mail/ada", "/srv/shop/orders")
)

# A user beside the owner.
AN_ACL = kernel_acl(struct.pack("<6I", *4 * [0x80], 1000, 0x80000004), 0o750)
ASKED_TOO_LATE = "echo 'Invalid packet at end of run (6) [sender]' >&2; exit 2"


def passes(gone: tuple[bytes, ...] = (), changed: tuple[bytes, ...] = (), large: tuple[bytes, ...] = ()) -> list[Pass]:
    return list(by_index(A_CONFIG, Changes(gone, changed, large), NOTHING))


def test_what_must_go_goes_first_what_changed_is_written_anew_and_large_files_come_last() -> None:
    first, second, third = passes((b"old",), (b"", b"new"), (b"log",))

    assert (first.source, first.listed) == (NOTHING, b"./old\0")
    assert (second.source, second.listed) == (Path("/"), b"./new\0")
    assert "--ignore-times" in second.words and "--inplace" not in second.words
    assert third.listed == b"./log\0" and {"--ignore-times", "--inplace"} <= {*third.words}


@pytest.mark.parametrize("changed", [(), (b"",)])
def test_when_nothing_but_the_root_changed_nothing_in_it_is_pushed(changed: tuple[bytes, ...]) -> None:
    (only,) = passes(changed=changed)

    assert only.listed == b"" and "--filter=- *" in only.words and "--files-from=-" not in only.words


def extra_passes(root: Path, regrouped: "Sequence[bytes] | None", target: Target = A_CONFIG.target) -> list[Pass]:
    """Those after the one that mends the root."""
    taken = Survey(Course(True, False), changes=Changes((), (), ()), regrouped=regrouped)
    paths = HostPaths(root, root)
    return list(passes_of(replace(A_CONFIG, root=root, target=target), taken, paths, into_empty=False))[1:]


def test_what_has_an_acl_and_another_group_is_compared_once_more_and_written_only_if_it_differs(tmp_path: Path) -> None:
    for name in ("plain", "with an acl"):
        (tmp_path / name).mkdir()
    os.setxattr(tmp_path / "with an acl", "system.posix_acl_access", AN_ACL)

    (only,) = extra_passes(tmp_path, (b"plain", b"with an acl", b"gone"))

    assert only.listed == b"./with an acl\0" and "--ignore-times" not in only.words
    assert extra_passes(tmp_path, (b"plain",)) == []
    assert extra_passes(tmp_path, (b"with an acl",), Directory(tmp_path)) == []


@pytest.mark.parametrize(("into_empty", "known", "passes"), [(True, False, 1), (False, True, 1), (False, False, 3)])
def test_what_may_be_linked_over_there_is_looked_for_only_where_it_may_be(
    tmp_path: Path, into_empty: bool, known: bool, passes: int
) -> None:
    alike = [
        Entry(name, STAT.pack(stat.S_IFLNK, 0, 0, 1, 5, 5, 5, number), 1) for number, name in enumerate((b"a", b"b"))
    ]
    taken = Survey(Course(False, True), may_be_linked=not known, read=lambda: alike)

    first, *others = passes_of(A_CONFIG, taken, HostPaths(tmp_path, tmp_path), into_empty)

    assert first.heals
    assert [each.listed for each in others] == [b"./a\0./b\0"] * (passes - 1)


def a_directory(path: bytes, device: int) -> Entry:
    return Entry(path, STAT.pack(stat.S_IFDIR | 0o755, 0, 0, 2, 4096, 5, 5, 5), device)


def test_what_is_mounted_is_told_by_the_root_as_it_was_scanned_and_not_as_it_is_mounted_by_now(tmp_path: Path) -> None:
    """By now it may have another device, or none: all of the tree would be deleted over there."""
    tree = [a_directory(path, device=-1 % 2**64) for path in (b"", b"home", b"srv")]
    taken = Survey(Course(False, True), read=lambda: [*tree, a_directory(b"srv/nas", device=7)])
    config = replace(A_CONFIG, one_file_system=True)

    _, gone, made = passes_of(config, taken, HostPaths(tmp_path, tmp_path), into_empty=False)

    assert (gone.listed, made.listed) == (b"./srv/nas\0", b"./srv\0./srv/nas\0")


def test_what_is_mounted_by_a_look_into_it_and_travels_stays(tmp_path: Path) -> None:
    tree = [a_directory(path, device) for path, device in ((b"", 1), (b"home", 7), (b"home/ada", 7))]
    taken = Survey(Course(False, True), read=lambda: tree)
    config = replace(A_CONFIG, one_file_system=True)

    _, gone, _ = passes_of(config, taken, HostPaths(tmp_path, tmp_path), into_empty=False)

    assert gone.listed == b"./home/ada\0"


def a_reader_that_fails() -> list[Entry]:
    raise PermanentError("is the disk full?")


def test_where_nobody_can_look_for_what_may_be_linked_a_push_in_full_has_lacks_and_does_not_end(tmp_path: Path) -> None:
    taken = Survey(Course(False, True), may_be_linked=True, read=a_reader_that_fails)
    config: Config = replace(A_CONFIG, rsync=an_rsync(tmp_path, ("exit 0",)))
    watch = Watch(NOW, World(lambda: NOW), {"PATH": "/usr/bin:/bin"}, lambda _: None)

    outcome = push(config, lambda _: ROUTE, passes_of(config, taken, HostPaths(tmp_path, tmp_path), False), watch)

    assert outcome.status == "partial"
    assert outcome.problems == (
        "some files may have the owner and mode of others that look the same: is the disk full?",
    )


def test_where_nobody_knows_whose_group_is_another_everything_is_compared_once_more(tmp_path: Path) -> None:
    (only,) = extra_passes(tmp_path, None)

    assert only.heals and "--delete" in only.words


def test_of_the_passes_into_an_empty_tree_only_the_first_writes_in_place(tmp_path: Path) -> None:
    """There are more where a new store takes the place of one that this host's index knows of."""
    target = Receiver("backup.example.org")
    way = ToReceiver(target, A_CONFIG, HostPaths(tmp_path, tmp_path), World.around(lambda: NOW))
    hello = Hello("run", "us0", "us0a", "nonce", None, NOW, FAKE_SUPER, empty=True)

    first, second, last = way.passes(hello, Survey(Course(False, True), regrouped=None))

    assert "--inplace" in first.words and "--delete" in first.words
    assert "--inplace" not in (*second.words, *last.words) and "--delete" in second.words
    assert first.again and "--inplace" not in first.again.words


def test_every_pass_keeps_what_a_full_one_keeps() -> None:
    plain = rsync(A_CONFIG, ROUTE, in_full(A_CONFIG))
    always = ("-aHAXS", "--numeric", "--modify", "--timeout", "--filter=-xs", "-M--filter=-x_")
    kept = {word for word in plain if word.startswith(always)}

    for each in passes((b"old",), (b"new",), (b"log",)):
        assert kept < {*rsync(A_CONFIG, ROUTE, each)}


def test_a_full_pass_may_compare_contents_and_leaves_the_far_side_time_to_read() -> None:
    words = rsync(A_CONFIG, ROUTE, in_full(A_CONFIG, in_content=True))

    assert "--checksum" in words and "--checksum" not in rsync(A_CONFIG, ROUTE, in_full(A_CONFIG))
    assert [word for word in words if word.startswith("--timeout")] == ["--timeout=600", "--timeout=21600"]


def an_rsync(tmp_path: Path, does: Sequence[str]) -> str:
    """One that does something else each time, and counts how often it ran."""
    program = tmp_path / "rsync"
    ends = "".join(f"  {number}) {each} ;;\n" for number, each in enumerate(does, 1))
    program.write_text(f"#!/bin/sh\necho >> {tmp_path}/ran\ncase $(wc -l < {tmp_path}/ran) in\n{ends}esac\nexit 99\n")
    program.chmod(0o755)
    return str(program)


def outcome_of(
    codes: Sequence[int | str], what: list[Pass], tmp_path: Path, until: datetime = NOW
) -> tuple[str, int, int]:
    """Status, exit code and the number of rsyncs, when these end with those codes.

    At first the deadline has come: a connection that fails is not tried again.
    """
    words = [code if isinstance(code, str) else f"exit {code}" for code in codes]
    config: Config = replace(A_CONFIG, rsync=an_rsync(tmp_path, words))
    watch = Watch(until, World(lambda: NOW, sleep=lambda _: None), {"PATH": "/usr/bin:/bin"}, lambda _: None)

    outcome = push(config, lambda _: ROUTE, iter(what), watch)

    return outcome.status, outcome.exit_code, len((tmp_path / "ran").read_text())


@pytest.mark.parametrize(
    ("codes", "status", "exit_code", "ran"),
    [
        ([0, 0, 0], "complete", 0, 3),
        ([24, 0, 0], "complete", 0, 3),
        ([0, A_MAIL_WENT, 0], "complete-with-warnings", 24, 3),
        ([0, A_FILE_WENT, 0], "partial", 24, 3),
        ([23, 0, 0], "partial", 23, 3),
        ([0, 12], "partial", 12, 2),
        ([0, 2], "partial", 2, 2),
        ([5], "failed", 5, 1),
        ([0, ASKED_TOO_LATE, ASKED_TOO_LATE, 0, 0], "complete", 0, 5),
        ([0, ASKED_TOO_LATE, A_MAIL_WENT, 0], "complete-with-warnings", 24, 4),
        ([0, ASKED_TOO_LATE, ASKED_TOO_LATE, ASKED_TOO_LATE, 0], "partial", 76, 5),
    ],
    ids=[
        "all well",
        "what leads to what must go was never there",
        "something vanished that comes and goes",
        "something vanished that does not",
        "something could not be deleted",
        "the connection broke",
        "the far side is of another version",
        "turned away",
        "all was sent, and more asked for",
        "so, and then what vanished was not there",
        "so again and again",
    ],
)
def test_a_push_goes_on_until_a_pass_cannot_get_through(
    codes: list[int | str], status: str, exit_code: int, ran: int, tmp_path: Path
) -> None:
    assert outcome_of(codes, passes((b"old",), (b"new",), (b"log",)), tmp_path) == (status, exit_code, ran)


@pytest.mark.parametrize(
    ("codes", "what", "ran"),
    [
        ([12, 0, 0, 0, 0], passes((b"old",), (b"new",), (b"log",)), 5),
        ([10, 0, 0, 0, 0], passes((b"old",), (b"new",), (b"log",)), 5),
        ([5, 0, 0, 0], passes((b"old",), (b"new",), (b"log",)), 4),
        ([255, 0], [in_full(A_CONFIG)], 2),
        ([30, 0], [in_full(A_CONFIG)], 2),
        ([35, 0], [in_full(A_CONFIG)], 2),
    ],
    ids=[
        "a connection broke",
        "it broke while rsync wrote",
        "another session was still there",
        "it was a full push itself",
        "the far side fell silent",
        "the far side's daemon did not answer",
    ],
)
def test_after_a_connection_that_broke_everything_is_compared_once_more(
    codes: list[int], what: list[Pass], ran: int, tmp_path: Path
) -> None:
    later = NOW + timedelta(hours=1)

    assert outcome_of(codes, what, tmp_path, later) == ("complete", 0, ran)


@pytest.mark.parametrize(
    ("was_empty", "codes", "ran"),
    [
        (True, [0], 1),
        (True, [12, 0, 0], 3),
        (True, [A_MAIL_WENT, 0], 2),
        (False, [0, 0], 2),
    ],
    ids=["into nothing", "a connection broke", "a file went meanwhile", "an earlier night may have left something"],
)
def test_what_was_kept_aside_is_cleared_away_where_anything_can_have_been(
    was_empty: bool, codes: list[int | str], ran: int, tmp_path: Path
) -> None:
    what = [resumable(in_full(A_CONFIG)), cleared(A_CONFIG, was_empty)]

    assert outcome_of(codes, what, tmp_path, NOW + timedelta(hours=1))[2] == ran


def test_an_address_that_nobody_knew_at_first_is_no_connection_that_broke(tmp_path: Path) -> None:
    config = replace(A_CONFIG, rsync=an_rsync(tmp_path, ["exit 0", "exit 0"]))
    world = World(lambda: NOW, sleep=lambda _: None)
    watch = Watch(NOW + timedelta(hours=1), world, {"PATH": "/usr/bin:/bin"}, lambda _: None)
    found = iter([TransientError("nobody knows backup.example.org"), ROUTE])

    def route(_: int) -> tuple[str, ...]:
        if isinstance(way := next(found), TransientError):
            raise way
        return way

    outcome = push(config, route, iter(passes(changed=(b"new",))), watch)

    assert (outcome.status, len((tmp_path / "ran").read_text())) == ("complete", 1)


def test_a_push_that_a_gate_refuses_is_not_tried_again_whatever_rsync_makes_of_it(tmp_path: Path) -> None:
    codes = ["echo 'ebbtide: refused: us0a has reported in main/2026-11-23/1 already' >&2; exit 12", "exit 0"]

    assert outcome_of(codes, [in_full(A_CONFIG)], tmp_path, NOW + timedelta(hours=1)) == ("failed", 77, 1)


def test_nor_is_a_restore_that_a_gate_refuses(tmp_path: Path) -> None:
    program = an_rsync(tmp_path, ["echo 'ebbtide: refused: it was closed' >&2; exit 5", "exit 0"])
    world = World(lambda: NOW, sleep=lambda _: None)

    ended = Source(program, lambda _: ROUTE, NOW + timedelta(hours=1), world).run((), [b"etc"], tmp_path / "into")

    assert (ended.exit_code, len((tmp_path / "ran").read_text())) == (77, 1)


def test_what_is_kept_aside_is_protected_from_a_full_push_and_of_no_use_to_one_in_place() -> None:
    full, in_place = resumable(in_full(A_CONFIG)), passes(large=(b"log",))[-1]

    assert full.words[:2] == ("--partial-dir=/.ebbtide-partial", "--filter=P /.ebbtide-partial")
    assert resumable(in_place) == in_place


def test_only_the_first_attempt_to_fill_an_empty_tree_writes_in_place(tmp_path: Path) -> None:
    codes = [f'echo "$@" > {tmp_path}/words-{number}; exit {code}' for number, code in enumerate((12, 12, 0))]

    assert outcome_of(codes, [into_nothing(in_full(A_CONFIG))], tmp_path, NOW + timedelta(hours=1)) == (
        "complete",
        0,
        3,
    )
    words = [(tmp_path / f"words-{number}").read_text().split() for number in range(3)]
    assert [("--inplace" in said, "--partial-dir=/.ebbtide-partial" in said) for said in words] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_what_is_brought_back_by_its_content_has_all_the_time_that_reading_takes(tmp_path: Path) -> None:
    """Of two that rsync is given the last one counts."""
    (tmp_path / "etc").touch()
    world = World(lambda: NOW, sleep=lambda _: None)
    source = Source(an_rsync(tmp_path, ['echo "$@"; exit 0'] * 2), lambda _: ROUTE, NOW, world)
    over, beside = (RestoreRequest((path,), tmp_path, as_root=True) for path in (b"etc", b"new"))

    told = [source.run(compared(each).words, each.paths, each.into).out.decode().split() for each in (over, beside)]

    assert ["--checksum" in words for words in told] == [True, False]
    limits = [[word for word in words if word.startswith("--timeout")] for words in told]
    assert limits == [["--timeout=600", "--timeout=0"], ["--timeout=600"]]
