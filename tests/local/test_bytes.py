"""Names, depths, sizes and numbers as file systems allow them, and a tree that is never still, through a real push."""

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from ebbtide_agent.host.config import load
from ebbtide_agent.host.explain import Explainer
from ebbtide_agent.receiver import confine
from ebbtide_agent.report import COMPLETE, PARTIAL, WITH_WARNINGS
from ebbtide_agent.walk import LONGEST_PATH, walk
from tests.local.edits import a_file_whose_names_vanish
from tests.local.receiver_machine import MISSING, Receiver, a_receiver, an_aws
from tests.local.test_index_push import IS_ROOT, Host, a_host, assert_same, stored

# A million entries, and a sparse file of a terabyte, take longer than a run of all tests has.
ENTRIES = int(os.environ.get("EBBTIDE_ENTRIES", "10000"))
A_TERABYTE = 10**12
SPARSE_GIB = float(os.environ.get("EBBTIDE_SPARSE_GIB", "0.125"))

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, minutes=600) as receiver:
        yield receiver


@pytest.fixture
def host(receiver: Receiver, tmp_path: Path) -> Iterator[Host]:
    host = a_host(receiver, tmp_path)
    yield host
    shutil.rmtree(host.tree)


ODD = [
    b"new\nline", b"\n", b"\r", b"tab\t", b"\x1b[2J", b"\xff\xfe", b"caf\xe9", "é".encode(), "e\u0301".encode(), b" ",
    b" lead", b"trail ", b"-n", b"--delete", b"*", b"?", b"[a]", b"\\", b"\\#012", b"#", b"+ a", b"- b", b"!", b";",
    b"'", b'"', b"$(touch x)", b"%s", b"%41", b"~", b"...", b"a:b", b"x" * 255, "ü".encode() * 127,
]  # fmt: skip
# The first three leave out a name each, the rest says nothing of any.
EXCLUDED = [b"\xff\xfe", b"trail ", b"x" * 255, b"caf\xe8", b"$HOME"]


@pytest.mark.fault("H13")
def test_names_are_bytes_from_the_configuration_to_the_store(host: Host) -> None:
    base = os.fsencode(host.tree)
    for directory in (b"", b"d/", b"-dir\n\xff/"):
        Path(os.fsdecode(base + b"/" + directory)).mkdir(exist_ok=True)
        for name in ODD:
            write(base + b"/" + directory + name, name)
    host.paths.exclude.write_bytes(b"\n".join(EXCLUDED) + b"\n")
    host.config = load(host.paths)
    explainer = Explainer(host.config, host.paths)

    full, _ = host.back_up()
    for found in walk(host.tree):
        if found.path.endswith(b"line"):
            write(found.where, b"changed")
    os.rename(base + b"/-n", base + b"/--inplace")  # noqa: PTH104
    by_index, taken = host.back_up()

    assert (full.status, by_index.status) == (COMPLETE, COMPLETE)
    assert not taken.course.in_full
    kept = stored(host.receiver.tree("us0"))
    explained = {found.path for found in walk(host.tree) if explainer.explain(found.where).verdict.is_backed_up}
    assert explained == set(kept)
    assert len([path for path in kept if path.rpartition(b"/")[2] in EXCLUDED]) == 0
    assert b"d/\x1b[2J" in kept and b"--inplace" in kept and b"-n" not in kept


@pytest.mark.fault("H13")
def test_what_lies_deeper_than_a_path_can_say_is_told_and_costs_the_rest_nothing(host: Host) -> None:
    host.have_a_first_night()
    room = LONGEST_PATH - len(os.fsencode(host.tree))
    # Clear of the edge, where a directory can be named and what is in it cannot: rsync takes that from inside.
    name = b"d" * next(length for length in range(200, 180, -1) if 10 < room % (length + 1) < length - 10)
    with inside(host.tree):
        for _ in range(25):
            os.mkdir(name)  # noqa: PTH102
            os.chdir(name)
            write(b"file", b"deep down")
    explainer = Explainer(host.config, host.paths)

    outcome, _ = host.back_up()

    kept = {found.path for found in walk(host.receiver.tree("us0"))}
    paths = [b"/".join([name] * depth) + b"/file" for depth in range(1, 26)]
    assert outcome.status == PARTIAL
    assert any("ddd" in problem for problem in outcome.problems)
    for path in paths:
        place = os.fsencode(host.tree) + b"/" + path
        assert (path in kept) == (len(place) <= LONGEST_PATH)
        assert (path in kept) == explainer.explain(place).verdict.is_backed_up


@pytest.mark.fault("H13")
def test_a_directory_may_have_very_many_entries(host: Host) -> None:
    (host.tree / "many").mkdir()
    directory = os.open(host.tree / "many", os.O_RDONLY)
    for number in range(ENTRIES):
        os.close(os.open(f"entry {number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory))
    os.close(directory)
    full, _ = host.back_up()
    (host.tree / "many/entry 7").unlink()
    write(os.fsencode(host.tree) + b"/many/entry 8", b"changed")

    by_index, taken = host.back_up()

    store = host.receiver.tree("us0") / "many"
    assert (full.status, by_index.status) == (COMPLETE, COMPLETE)
    assert taken.changes and taken.changes.gone == (b"many/entry 7",)
    assert taken.changes.changed == (b"many", b"many/entry 8")
    assert set(os.listdir(store)) == {f"entry {number}" for number in range(ENTRIES) if number != 7}  # noqa: PTH208
    assert (store / "entry 8").read_text() == "changed"


@pytest.mark.fault("H13")
def test_a_sparse_file_arrives_with_its_holes(host: Host) -> None:
    host.config = replace(host.config, compress="yes")
    size = int(SPARSE_GIB * (1 << 30)) + 12345
    with (host.tree / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"in the middle of nothing")

    outcome, taken = host.back_up()

    kept = (host.receiver.tree("us0") / "sparse").stat()
    assert outcome.status == COMPLETE
    assert taken.tally and taken.tally.size > size
    assert (kept.st_size, kept.st_blocks * 512 < 1 << 20) == (size, True)
    with (host.receiver.tree("us0") / "sparse").open("rb") as file:
        file.seek(size // 2)
        assert file.read(40) == b"in the middle of nothing".ljust(40, b"\0")


@pytest.mark.fault("H13")
def test_a_terabyte_that_is_there_already_is_read_by_nobody_in_full_or_by_the_index(host: Host) -> None:
    sparse, kept = host.tree / "sparse", host.receiver.tree("us0") / "sparse"
    sparse.write_bytes(b"at the beginning of nothing")
    host.have_a_first_night()
    mtime = sparse.stat().st_mtime_ns
    for path in (sparse, kept):
        os.truncate(path, A_TERABYTE)
        os.utime(path, ns=(mtime, mtime))
    host.generation = None

    full, of_all = host.back_up()
    by_index, of_what_changed = host.back_up()

    assert (full.status, by_index.status) == (COMPLETE, COMPLETE)
    assert (of_all.course.in_full, of_what_changed.course.in_full) == (True, False)
    assert full.counts.bytes_sent + by_index.counts.bytes_sent < 1 << 16
    assert full.counts.bytes_total > A_TERABYTE
    assert kept.stat().st_size == A_TERABYTE and kept.stat().st_blocks * 512 < 1 << 20


def test_a_tree_that_is_never_still_is_told_and_made_good_the_next_night(host: Host) -> None:
    host.ahead = timedelta()
    back_up_slowly(host, seconds=1)

    with restless(host.tree):
        outcome, _ = host.back_up()

    assert outcome.status in (COMPLETE, WITH_WARNINGS)
    assert all("vanished" in problem for problem in outcome.problems)
    after, taken = host.back_up()
    assert (after.status, taken.course.in_full) == (COMPLETE, False)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


@pytest.mark.fault("H4")
def test_a_file_whose_names_all_vanish_while_it_is_pushed_is_waited_for_by_nobody(host: Host) -> None:
    back_up_slowly(host)

    with a_file_whose_names_vanish(host.tree, lambda: any(host.receiver.tree("us0").glob(".slow.*"))):
        outcome, _ = host.back_up()

    assert outcome.status == WITH_WARNINGS
    assert all("vanished" in problem for problem in outcome.problems)
    after, taken = host.back_up()
    assert (after.status, taken.course.in_full) == (COMPLETE, False)
    assert_same(stored(host.receiver.tree("us0")), host.expected())


def back_up_slowly(host: Host, seconds: int = 2) -> None:
    """Have a night behind you, and some time of the next one to do something in, while it sends what comes first."""
    for large in ("large", "g/large", "d/e/large"):
        (host.tree / large).unlink()
    host.have_a_first_night()
    host.config = replace(host.config, bandwidth="2m")
    (host.tree / "slow").write_bytes(os.urandom(seconds * 2_000_000))


@contextmanager
def restless(tree: Path) -> Iterator[None]:
    """Until the end of the block somebody writes, appends, moves and deletes without a pause."""
    stop = Event()
    busy = Thread(target=keep_changing, args=(tree, stop))
    busy.start()
    try:
        yield
    finally:
        stop.set()
        busy.join()


def keep_changing(tree: Path, stop: Event) -> None:
    chance = random.Random(7)
    while not stop.is_set():
        one, other = (tree / f"{chance.choice(['d', 'd/e', 'g'])}/{chance.randrange(40)}.lock" for _ in range(2))
        with contextlib.suppress(OSError):
            deed = chance.randrange(4)
            if deed == 0:
                one.unlink()
            elif deed == 1:
                one.rename(other)
            elif deed == 2:
                os.link(one, other)
            else:
                with one.open("ab") as file:
                    file.write(b"more\n")


def write(where: bytes, content: bytes) -> None:
    with open(where, "wb") as file:
        file.write(content)


@contextmanager
def inside(directory: Path) -> Iterator[None]:
    """There until the end of the block, however far the block goes down."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
        os.close(before)
