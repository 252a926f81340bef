"""The law of the index-driven push: it leaves the receiver's tree as a full push into an empty one would leave it.

Real sshd, gate and confined rsync. Needs the programs of a receiver, and a mount namespace where it is run as root.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from ebbtide_agent.fakesuper import ACCESS_ACL, DEFAULT_ACL, STAT, real_xattrs, recorded_stat
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.host import changes, night, survey
from ebbtide_agent.host.config import load
from ebbtide_agent.host.link import World
from ebbtide_agent.host.outcome import Outcome
from ebbtide_agent.host.push import Watch, in_full, push
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.host.way import way_to
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.receiver import confine
from ebbtide_agent.receiver.status import Status, write_status
from ebbtide_agent.report import COMPLETE, FAKE_SUPER, PARTIAL, WITH_WARNINGS, Hello, Received, Report, parse_report
from ebbtide_agent.walk import walk
from ebbtide_console.sandbox import awkward
from tests.local.edits import EDITS, LARGE_BYTES, NIGHTS, Edit, Editor, plant, take_the_place
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws, wait_until
from tests.patience import for_make_long

# So many trees in each run of the tests; EBBTIDE_EXAMPLES asks for more, as `make long` does.
EXAMPLES = int(os.environ.get("EBBTIDE_EXAMPLES", "1"))
# Each push takes a second: a failing example is told as it was found.
PHASES = [Phase.explicit, Phase.generate]
IS_ROOT = os.geteuid() == 0
A_REPORT = (Path(__file__).parents[1] / "contract/wire/report.json").read_bytes()

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN) as receiver:
        yield receiver


@dataclass
class Host:
    """us0, whose nights go by the index, and eu0, into whose place the same tree is put in full for comparison."""

    receiver: Receiver
    tree: Path
    etc: Path

    def __post_init__(self) -> None:
        self.generation: int | None = None
        # By then nothing that a test has made is too young to be trusted, and the index has to prove itself.
        self.ahead = timedelta(hours=1)
        self.said: list[str] = []
        (self.etc / "us0").mkdir(parents=True)
        self.config = load(self.receiver.configure("us0", self.tree, self.etc / "us0", WHOLE_SYSTEM="no"))
        self.paths = HostPaths(self.etc / "us0", self.etc / "state")

    @property
    def watch(self) -> Watch:
        world = World(lambda: datetime.now(UTC) + self.ahead, say=self.said.append)
        return Watch(datetime.now(UTC) + timedelta(hours=2), world, os.environ, lambda _: None)

    @property
    def hello(self) -> Hello:
        return Hello("", "us0", "us0a", "", self.generation, self.watch.until)

    def back_up(self) -> tuple[Outcome, Survey]:
        """A night without hello and report: the receiver takes one a run."""
        watch = self.watch
        a_night = night.Night(self.paths, watch.world, os.environ)
        way = way_to(self.config, self.paths, watch.world)
        outcome, taken = night.push_all_there_is(a_night, self.config, way, self.hello, self._scan())
        self._keep(taken, outcome)
        return outcome, taken

    def have_a_first_night(self) -> None:
        """As `back_up` is the first time, at a tenth of what it costs: its tree is there, and the index is kept.

        The receiver has seen nothing of it, and would have all compared that a lost machine may have written.
        """
        taken = self._scan()
        self._keep(taken, self._put("us0"))
        write_status(self.receiver.tree("us0").with_name("status.json"), Status(boot=""))

    def _scan(self) -> Survey:
        found = survey.scanned(self.config, self.paths, self.watch.world.clock())
        return survey.in_view_of(self.generation, found, self.config, self.paths, self.said.append)

    def _keep(self, taken: Survey, outcome: Outcome) -> None:
        self.generation = (self.generation or 0) + 1
        survey.keep(taken, self.config, self.paths, self._recorded(outcome), self.said.append)

    def _put(self, name: str) -> Outcome:
        """Push the whole tree into a place over there with neither sshd nor gate between, as whom that belongs to."""
        place = self.receiver.tree(name)
        there = ("-M--fake-super", "-e", str(self._shell(place)), f"receiver:{place}/")
        config = load(self.paths)
        outcome = push(config, lambda _: there, iter([in_full(config)]), self.watch)
        assert outcome.status == COMPLETE, outcome.problems
        return outcome

    def _shell(self, place: Path) -> Path:
        owner = str(place.stat().st_uid)
        become = ("setpriv", "--reuid", owner, "--regid", owner, "--clear-groups", "--inh-caps=-all")
        shell = self.etc / "shell"
        shell.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(become) if IS_ROOT else ""} "$@"\n')
        shell.chmod(0o755)
        return shell

    def _recorded(self, outcome: Outcome) -> Report:
        links = digest_of(groups_of(self.receiver.tree("us0")))
        seen = Received(datetime.now(UTC), 0, 1.0, 1, 1, self.generation or 0, FAKE_SUPER, None, links)
        return replace(parse_report(A_REPORT), status=outcome.status, receiver=seen)

    def expected(self) -> dict[bytes, object]:
        """The tree as a full push into an empty place stores it."""
        empty(self.receiver.tree("eu0"))
        self._put("eu0")
        return stored(self.receiver.tree("eu0"))


@pytest.fixture
def host(receiver: Receiver, tmp_path: Path) -> Host:
    return a_host(receiver, tmp_path)


def a_host(receiver: Receiver, place: Path) -> Host:
    empty(receiver.tree("us0"))
    (place / "tree").mkdir()
    plant(place / "tree")
    return Host(receiver, place / "tree", place)


def empty(tree: Path) -> None:
    for path in tree.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in os.listxattr(tree):
        os.removexattr(tree, name)


def stored(tree: Path) -> dict[bytes, object]:
    """All that a store keeps of each name: kind, mode, mtime, every attribute, content, and whom it is linked to.

    But for access ACLs, of which it is what they stand for.
    """
    return {found.path: _stored(found.where, found.stat, found.group) for found in walk(tree)}


def _stored(where: bytes, found: os.stat_result, group: bytes | None) -> object:
    attributes = {name: os.getxattr(where, name) for name in sorted(os.listxattr(where))}
    # rsync leaves one that says the same in other words.
    said = {ACCESS_ACL: attributes.pop(ACCESS_ACL)} if ACCESS_ACL in attributes else {}
    attributes.update(real_xattrs(said, recorded_stat(found, attributes.get(STAT)).mode))
    content = b""
    if stat.S_ISREG(found.st_mode):
        with open(where, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    return oct(found.st_mode), found.st_mtime_ns, attributes, content, group


def groups_of(tree: Path) -> list[list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    for found in walk(tree):
        if found.group is not None:
            groups.setdefault(found.group, []).append(found.path)
    return list(groups.values())


def assert_same(got: dict[bytes, object], expected: dict[bytes, object]) -> None:
    different = {
        path: (got.get(path), expected.get(path))
        for path in got.keys() | expected.keys()
        if got.get(path) != expected.get(path)
    }
    assert different == {}


BY_INDEX, INDEX_LOST, TOO_MUCH = "by the index", "the index lost", "too much to list"
# Nights that were wrong once, and the way they were.
ONCE_WRONG: list[tuple[str, list[list[Edit]]]] = [
    (INDEX_LOST, [[("break_link", number, 0) for number in range(9)], [("set_back", n, n) for n in range(30)]]),
    (BY_INDEX, [[("set_acl", 75, 125), ("move_over", 489, 87)], [("set_acl", 56, 406)]]),
    (BY_INDEX, [[("set_acl", number, 3) for number in range(30)], [("change_mask", n, 5) for n in range(30)]]),
    (BY_INDEX, [[(name, number * 37, number * 11 + 1) for number, name in enumerate(sorted(EDITS))]]),
    (BY_INDEX, [
        [("break_link", number, 0) for number in range(0, 9, 2)], [("change_owner", n, n) for n in range(30)],
    ]),
]  # fmt: skip


@pytest.mark.parametrize("way", [BY_INDEX, INDEX_LOST])
@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(nights=NIGHTS)
def test_after_a_push_the_store_is_what_a_full_one_makes_of_an_empty_one(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory, way: str, nights: list[list[Edit]]
) -> None:
    place = tmp_path_factory.mktemp("law")

    try:
        assert_the_law(a_host(receiver, place), way, nights)
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("way", "nights"),
    [
        pytest.param(way, nights, marks=() if way == once else for_make_long)
        for once, nights in ONCE_WRONG
        for way in (BY_INDEX, INDEX_LOST)
    ],
)
def test_it_is_so_after_what_was_wrong_once(host: Host, way: str, nights: list[list[Edit]]) -> None:
    assert_the_law(host, way, nights)


def assert_the_law(host: Host, way: str, nights: list[list[Edit]]) -> None:
    host.have_a_first_night()
    editor = Editor(host.tree)

    for edits in nights:
        for edit in edits:
            editor.edit(*edit)
        if way == INDEX_LOST:
            host.paths.index.unlink()
        outcome, taken = host.back_up()

        assert (outcome.status, outcome.problems) == (COMPLETE, ())
        assert taken.course.in_full == (way == INDEX_LOST)
        assert_same(stored(host.receiver.tree("us0")), host.expected())


def test_after_a_first_night_the_store_is_what_a_push_without_a_gate_makes_of_an_empty_one(host: Host) -> None:
    outcome, taken = host.back_up()

    assert (outcome.status, outcome.problems, taken.course.in_full) == (COMPLETE, (), True)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


# Of an ACL with a named user: what its owning group has, and its mask, which is what a chmod changes. None: no ACL.
Acls = dict[str, "tuple[int, int] | None"]
PERMISSIONS = some.sampled_from((4, 5, 7))
ACLS = some.dictionaries(
    some.sampled_from(("", "d", "d/e/one", "large")), some.none() | some.tuples(PERMISSIONS, PERMISSIONS)
)


def set_acl(path: Path, permissions: tuple[int, int] | None) -> None:
    if permissions is None:
        with contextlib.suppress(OSError):
            os.removexattr(path, "system.posix_acl_access")
        return
    group, mask = permissions
    parts = (awkward.OWNER, 7, awkward.NO_ID), (awkward.USER, 4, 1000), (awkward.OWNING_GROUP, group, awkward.NO_ID)
    whole = awkward.acl(*parts, (awkward.MASK, mask, awkward.NO_ID), (awkward.OTHER, 0, awkward.NO_ID))
    os.setxattr(path, "system.posix_acl_access", whole)


FIRST: Acls = {"": (5, 5), "d": (5, 5), "large": (5, 5)}


@pytest.mark.parametrize(
    ("way", "nights"),
    [
        (BY_INDEX, [FIRST, {"d": (5, 7)}, {"large": (5, 7)}, {"": (5, 7)}]),
        (INDEX_LOST, [FIRST, dict.fromkeys(FIRST, (5, 7))]),
        (TOO_MUCH, [FIRST, dict.fromkeys(FIRST, (5, 7))]),
    ],
)
def test_a_stored_acl_gives_the_group_what_it_has_here(
    host: Host, monkeypatch: pytest.MonkeyPatch, way: str, nights: list[Acls]
) -> None:
    assert_acls_arrive(host, monkeypatch, way, nights)


@for_make_long
@pytest.mark.parametrize("way", [BY_INDEX, INDEX_LOST, TOO_MUCH])
@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(nights=some.lists(ACLS, min_size=2, max_size=3))
def test_it_does_so_whatever_the_acls(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory, way: str, nights: list[Acls]
) -> None:
    place = tmp_path_factory.mktemp("acls")

    try:
        with pytest.MonkeyPatch.context() as patched:
            assert_acls_arrive(a_host(receiver, place), patched, way, nights)
    finally:
        shutil.rmtree(place)


def assert_acls_arrive(host: Host, monkeypatch: pytest.MonkeyPatch, way: str, nights: list[Acls]) -> None:
    host.have_a_first_night()
    if way == TOO_MUCH:
        monkeypatch.setattr(changes, "MOST_CHANGES", 0)

    for acls in nights:
        for path, permissions in acls.items():
            set_acl(host.tree / path, permissions)
        if way == INDEX_LOST:
            host.paths.index.unlink()
        outcome, _ = host.back_up()

        assert (outcome.status, outcome.problems) == (COMPLETE, ())
        assert_same(stored(host.receiver.tree("us0")), host.expected())


def link_over_there(store: Path, name: str, to: str) -> None:
    (store / name).unlink()
    os.link(store / to, store / name)


def test_a_link_that_only_the_store_has_is_never_written_through(host: Host) -> None:
    tree, store = host.tree, host.receiver.tree("us0")
    os.link(tree / "large", tree / "twin")
    take_the_place(tree / "twin")
    host.have_a_first_night()
    link_over_there(store, "twin", "large")
    host.back_up()

    with open(tree / "large", "r+b") as file:
        file.write(b"changed")
    _, taken = host.back_up()

    assert taken.changes and not taken.changes.in_place
    assert_same(stored(store), host.expected())


def test_what_only_the_store_has_linked_and_nobody_touched_is_mended_by_the_weekly_push(host: Host) -> None:
    store, links = host.receiver.tree("us0"), {"linked": "d/one", "g/link": "d/link", "fifo": "g/fifo"}
    for name in links:
        take_the_place(host.tree / name)
    host.have_a_first_night()
    for name, to in links.items():
        link_over_there(store, name, to)
    host.back_up()
    assert groups_of(store) != groups_of(host.tree), "a night by the index mends it: nothing to show"

    host.ahead += timedelta(days=7)
    outcome, taken = host.back_up()

    assert (outcome.status, taken.course.in_full) == (COMPLETE, True)
    assert_same(stored(store), host.expected())


def test_what_no_attribute_may_be_named_does_not_travel_with_a_directory_on_the_way(host: Host) -> None:
    os.setxattr(host.tree / "d", "user.rsync.security.capability", awkward.capability(awkward.CAP_NET_RAW))
    host.have_a_first_night()
    (host.tree / "d/two").write_bytes(b"changed")

    host.back_up()

    assert not [name for name in os.listxattr(host.receiver.tree("us0") / "d") if "capability" in name]


def test_a_directorys_acls_arrive_beside_an_attribute_that_is_new_or_another(host: Host) -> None:
    acl = awkward.acl(*((kind, 7, awkward.NO_ID) for kind in (awkward.OWNER, awkward.OWNING_GROUP, awkward.OTHER)))
    named = awkward.acl(
        (awkward.OWNER, 7, awkward.NO_ID),
        (awkward.USER, 7, 1003),
        *((kind, 7, awkward.NO_ID) for kind in (awkward.OWNING_GROUP, awkward.MASK, awkward.OTHER)),
    )
    arrived = []

    for note in (b"new", b"another"):
        os.setxattr(host.tree / "d", "user.note", note)
        os.setxattr(host.tree / "d", "system.posix_acl_access", named)
        os.setxattr(host.tree / "d", "system.posix_acl_default", acl)
        host.back_up()
        names = os.listxattr(host.receiver.tree("us0") / "d")
        arrived.append({ACCESS_ACL, DEFAULT_ACL, "user.note"} <= set(names))

    assert arrived == [True, True]


@pytest.mark.fault("H9")
@pytest.mark.parametrize("place", ["d/two", "large"])
def test_a_change_that_kept_size_and_time_arrives_the_next_night(host: Host, place: str) -> None:
    host.have_a_first_night()
    path = host.tree / place
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    host.back_up()

    with (host.receiver.tree("us0") / place).open("rb") as file:
        assert file.read(1) == b"?"


def test_names_that_are_no_more_one_file_are_none_in_a_tree_that_the_index_does_not_describe(host: Host) -> None:
    host.have_a_first_night()
    for name in ("linked", "g/link", "fifo"):
        take_the_place(host.tree / name)
    (host.tree / "linked").chmod(0o600)
    host.generation = 1234567

    outcome, taken = host.back_up()

    assert (outcome.status, taken.course.in_full, taken.course.in_content) == (COMPLETE, True, False)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


def test_it_arrives_when_the_index_was_deleted_too(host: Host) -> None:
    host.have_a_first_night()
    path = host.tree / "d/two"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    host.paths.index.unlink()

    outcome, taken = host.back_up()

    assert (outcome.status, taken.course.in_content) == (COMPLETE, True)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


def test_a_large_file_is_changed_where_it_is(host: Host) -> None:
    host.have_a_first_night()
    before = (host.receiver.tree("us0") / "large").stat().st_ino
    with open(host.tree / "large", "r+b") as file:
        file.write(b"changed")

    outcome, _ = host.back_up()

    assert (host.receiver.tree("us0") / "large").stat().st_ino == before
    assert outcome.counts.bytes_sent < 200_000
    assert_same(stored(host.receiver.tree("us0")), host.expected())


@pytest.mark.fault("N3")
def test_a_change_in_place_that_was_cut_off_is_made_good_by_the_next_push(host: Host) -> None:
    host.have_a_first_night()
    with open(host.tree / "large", "r+b") as file:
        file.write(os.urandom(LARGE_BYTES))
    host.config = replace(host.config, bandwidth="100k")
    cut = Thread(target=kill_the_push_in_place, args=(host.receiver.tree("us0") / "large",))
    cut.start()

    outcome, _ = host.back_up()

    cut.join()
    assert outcome.status == PARTIAL
    assert (host.receiver.tree("us0") / "large").read_bytes() != (host.tree / "large").read_bytes()
    host.config, host.generation = replace(host.config, bandwidth=""), None
    outcome, _ = host.back_up()
    assert outcome.status == COMPLETE
    assert_same(stored(host.receiver.tree("us0")), host.expected())


def kill_the_push_in_place(stored_file: Path) -> None:
    """End our rsync as soon as it has written something over there."""
    before = stored_file.stat().st_mtime_ns
    wait_until(lambda: stored_file.stat().st_mtime_ns != before, "the first write in place")
    children = Path("/proc/self/task").glob("*/children")
    for child in {child for each in children for child in each.read_text().split()}:
        if b"--inplace" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.fault("H4")
@pytest.mark.parametrize("days", [0, 7], ids=["by the index", "and in full"])
def test_what_is_renamed_or_deleted_between_the_scan_and_the_push_is_so_in_a_complete_nights_tree(
    host: Host, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    host.have_a_first_night()
    tree, store = host.tree, host.receiver.tree("us0")
    (tree / "d/e/moved").mkdir()
    for name in ("d/e/f/one", "d/e/moved/one", "g/one", "d/e/one", "h\n\udcff/one"):
        (tree / name).write_text(name, errors="surrogateescape")
    host.ahead += timedelta(days=days)

    scan_once_and_then(monkeypatch, lambda: (
        shutil.rmtree(tree / "d/e/f"),
        (tree / "d/e/moved").rename(tree / "a place"),
        (tree / "g/one").unlink(),
        (tree / "h\n\udcff/one").rename(tree / "another \udcff name"),
        (tree / "d/e/one").rename(tree / "d/e/one.1"),
        (tree / "d/e/one").write_text("what came after it"),
    ))  # fmt: skip
    outcome, taken = host.back_up()

    assert (outcome.status, taken.course.by_index) == (WITH_WARNINGS, True), outcome.problems
    assert "what was renamed is there" in outcome.problems[0]
    assert any("d/e/f" in problem and "has vanished" in problem for problem in outcome.problems[1:])
    assert_same(stored(store), host.expected())
    outcome, taken = host.back_up()
    assert (outcome.status, taken.course.in_full) == (COMPLETE, False)
    assert_same(stored(store), host.expected())


def test_what_lies_where_another_file_has_come_is_looked_for_without_a_word(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.have_a_first_night()
    log = host.tree / "d/two"
    log.write_text("all that was logged")

    scan_once_and_then(monkeypatch, lambda: (log.rename(host.tree / "d/two.1"), log.write_text("begun anew")))
    outcome, _ = host.back_up()

    assert (outcome.status, outcome.problems) == (COMPLETE, ())
    assert (host.receiver.tree("us0") / "d/two.1").read_text() == "all that was logged"
    assert_same(stored(host.receiver.tree("us0")), host.expected())


def scan_once_and_then(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen between the next scan and its push."""
    scanned = survey.scanned

    def scan_and_then(*arguments: Any) -> Survey:
        monkeypatch.undo()
        taken = scanned(*arguments)
        happens()
        return taken

    monkeypatch.setattr(survey, "scanned", scan_and_then)


def test_the_counts_are_the_trees_and_not_the_lists(host: Host) -> None:
    full, _ = host.back_up()

    by_index, _ = host.back_up()

    assert replace(by_index.counts, bytes_sent=0) == replace(full.counts, bytes_sent=0)
    assert 0 < by_index.counts.bytes_sent < 1000


def test_what_is_compressed_on_its_way_arrives_as_it_was(host: Host) -> None:
    (host.tree / "log").write_bytes(b"the same line again and again\n" * 100_000)
    host.config = replace(host.config, compress="yes")

    outcome, _ = host.back_up()

    assert outcome.status == COMPLETE
    assert 0 < outcome.counts.bytes_sent < 300_000
    assert (host.receiver.tree("us0") / "log").read_bytes() == (host.tree / "log").read_bytes()
