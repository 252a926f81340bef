"""A peer's copies of a tree: each is the tree as it was, none shares a file with it, and nothing changes an earlier."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from ebbtide_agent import manifest
from ebbtide_agent.entry import Entry, Header
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.fakesuper import read_fake
from ebbtide_agent.peer.copying import Copied, Copy, copy
from ebbtide_console.sandbox import awkward
from tests.local.edits import EDITS, NIGHTS, Edit, Editor, plant, sink
from tests.local.own_nights import differing, entries, hashed

EXAMPLES = int(os.environ.get("EBBTIDE_EXAMPLES", "2"))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="rsync keeps owners aside in the same way for root alone")
pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")
ONE_OF_EACH = [(name, number * 37, number * 11 + 1) for number, name in enumerate(sorted(EDITS))]


class Store:
    """A tree as a gate's rsync leaves it, its manifest, and the copies of it."""

    def __init__(self, place: Path) -> None:
        self.host, self.tree, self.manifest = place / "host", place / "tree", place / "manifest"
        self.copies: list[Copy] = []
        self.host.mkdir()

    def push(self) -> None:
        """In place, as large files are; and what has not changed by size and time is not looked at."""
        words = (
            "-aHAX",
            "--numeric-ids",
            "--delete",
            "--inplace",
            "--no-whole-file",
            "-M--fake-super",
            "--ignore-times",
        )
        subprocess.run(["rsync", *words, "-M--fake-super", f"{self.host}/", f"{self.tree}/"], check=True)
        self.describe()

    def describe(self) -> manifest.ManifestSummary:
        earlier = self.manifest if self.manifest.exists() else None
        return manifest.write(self.tree, "fake-super", earlier, self.manifest, Header("us0a", "run", "fake-super"))

    def copy(self) -> Copied:
        number = len(self.copies)
        made = Copy(self.tree.with_name(f"copy-{number}"), self.tree.with_name(f"manifest-{number}"))
        os.link(self.manifest, made.manifest)
        before = self.copies[-1] if self.copies else None
        copied = copy(Copy(self.tree, self.manifest), made.tree, before, lambda: False)
        self.copies.append(made)
        return copied


def as_the_host_was(tree: Path) -> dict[bytes, Entry]:
    return {entry.path: entry for entry in read_fake(tree, hasher=hashed)}


def inodes(tree: Path) -> set[int]:
    return {path.lstat().st_ino for path in tree.rglob("*") if not path.is_dir()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@needs_root
@settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(nights=NIGHTS)
@example(nights=[ONE_OF_EACH])
@example(nights=[[("break_link", n, 0) for n in range(0, 9, 2)], [("change_mode", n, n) for n in range(30)]])
@example(nights=[[("link", n, n * 7) for n in range(9)], [("change_and_hide_it", n, n) for n in range(30)]])
def test_whatever_happens_to_the_host_a_copy_is_its_tree_and_the_earlier_ones_stay_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, nights: list[list[Edit]]
) -> None:
    place = tmp_path_factory.mktemp("law")
    store = Store(place)
    plant(store.host)
    editor = Editor(store.host)
    kept = []

    try:
        for edits in ([], *nights):
            for edit in edits:
                editor.edit(*edit)
            store.push()
            store.copy()

            made = store.copies[-1].tree
            assert differing(as_the_host_was(made), as_the_host_was(store.tree)) == {}
            assert inodes(made) & inodes(store.tree) == set()
            kept.append((made, entries(made)))
            assert [differing(entries(tree), before) for tree, before in kept] == [{}] * len(kept)
    finally:
        shutil.rmtree(place)


@needs_root
def test_what_is_awkward_is_copied_as_it_is(store: Store) -> None:
    awkward.grow(store.host)
    store.push()

    store.copy()
    again = store.copy()

    for made in store.copies:
        assert differing(as_the_host_was(made.tree), as_the_host_was(store.tree)) == {}
    assert (again.written, again.bytes) == (0, 0)


def test_what_lies_as_deep_as_a_server_may_have_it_is_copied_and_linked_as_well(store: Store) -> None:
    plant(store.host)
    store.push()
    sink(store.tree, "d")
    store.describe()

    first, second = store.copy(), store.copy()

    assert first.written == second.linked > 0 == second.written
    for made in store.copies:
        assert differing(as_the_host_was(made.tree), as_the_host_was(store.tree)) == {}


def test_holes_stay_holes(store: Store) -> None:
    store.tree.mkdir()
    with (store.tree / "sparse").open("wb") as file:
        file.seek(20 << 20)
        file.write(b"data" * 5000)
        file.truncate(40 << 20)
    store.describe()

    store.copy()

    made = store.copies[0].tree / "sparse"
    assert made.stat().st_blocks == (store.tree / "sparse").stat().st_blocks
    assert made.read_bytes() == (store.tree / "sparse").read_bytes()


def test_only_what_changed_is_written(store: Store) -> None:
    for name in ("one", "two", "three"):
        (store.host / name).write_text(name)
    store.push()
    first = store.copy()
    (store.host / "two").write_text("changed")
    (store.host / "three").chmod(0o600)

    store.push()
    second = store.copy()

    assert (first.linked, first.written) == (0, 3)
    assert (second.linked, second.written, second.bytes) == (1, 2, len("changed") + len("three"))
    assert (store.copies[1].tree / "one").samefile(store.copies[0].tree / "one")


def test_a_file_that_kept_its_size_and_time_is_written_as_well(store: Store) -> None:
    file = store.host / "file"
    file.write_text("before")
    store.push()
    store.copy()
    before = file.stat()
    file.write_text("behind")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    store.push()
    store.copy()

    assert [(made.tree / "file").read_text() for made in store.copies] == ["before", "behind"]


def test_without_what_the_copy_before_says_of_itself_everything_is_written(store: Store) -> None:
    (store.host / "file").write_text("file")
    store.push()
    store.copy()
    store.copies[0].manifest.unlink()
    store.copies[0].manifest.write_bytes(b"\x1f\x8bnonsense")

    copied = store.copy()

    assert (copied.linked, copied.written) == (0, 1)


def test_what_somebody_took_out_of_the_copy_before_is_written(store: Store) -> None:
    (store.host / "file").write_text("file")
    store.push()
    store.copy()
    (store.copies[0].tree / "file").unlink()

    copied = store.copy()

    assert copied.written == 1
    assert (store.copies[1].tree / "file").read_text() == "file"


def test_what_no_rsync_with_fake_super_leaves_behind_is_not_copied_and_named(store: Store) -> None:
    store.tree.mkdir()
    (store.tree / "link").symlink_to("/etc/shadow")
    store.describe()

    with pytest.raises((PermanentError, OSError), match="link"):
        store.copy()


def test_who_is_told_to_stop_stops(store: Store, tmp_path: Path) -> None:
    (store.host / "file").write_text("file")
    store.push()

    with pytest.raises(TransientError, match="told to stop"):
        copy(Copy(store.tree, store.manifest), tmp_path / "copy", None, lambda: True)
