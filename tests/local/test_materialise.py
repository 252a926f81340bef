"""A fake-super store made by the real rsync becomes the tree it was made from; rsync's own way back is the judge."""

import contextlib
import errno
import os
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebbtide_agent.entry import Entry, read_real
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.fakesuper import ACCESS_ACL, STAT, read_fake
from ebbtide_agent.manifest_file import sha256_of
from ebbtide_agent.restore.compare import compare
from ebbtide_agent.restore.materialise import materialise
from ebbtide_console.sandbox import awkward as trees
from tests.local.edits import sink
from tests.loops import a_loop_device
from tests.patience import for_make_long

UNPRIVILEGED = 61001
# Without the modify window rsync takes two times within one second for equal, and keeps the wrong nanoseconds.
RSYNC = ["rsync", "-aHAXS", "--numeric-ids", "--modify-window=-1", "--delete"]

# Who may mount in the machine's own namespaces may also set every kind of attribute.
MAY_MOUNT = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not MAY_MOUNT, reason="making owners, devices, ACLs and trusted attributes needs all of root"),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]

Push = Callable[[], None]
AS_ROOT, THROUGH_A_DAEMON = "as root", "as another user, through a daemon"
# Where it makes no difference which of them it was.
however_it_was_pushed = pytest.mark.parametrize(
    "push", [THROUGH_A_DAEMON, pytest.param(AS_ROOT, marks=for_make_long)], indirect=True
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that another user may enter, on a real file system."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-test-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def source(place: Path) -> Path:
    trees.grow(place / "source")
    return place / "source"


@pytest.fixture(params=[AS_ROOT, THROUGH_A_DAEMON])
def push(request: pytest.FixtureRequest, place: Path, source: Path) -> Push:
    """Push the source into `place/store/tree` with fake super."""
    tree = place / "store" / "tree"
    tree.mkdir(parents=True)
    if request.param == AS_ROOT:
        return lambda: run([*RSYNC, "-M--fake-super", f"{source}/", f"{tree}/"])
    os.chown(tree, UNPRIVILEGED, UNPRIVILEGED)
    (place / "rsyncd.conf").write_text(
        f"use chroot = no\nmunge symlinks = yes\nnumeric ids = yes\nlog file = /dev/null\n"
        f"[tree]\npath = {tree}\nread only = no\nfake super = yes\nreverse lookup = no\n"
    )
    shell = place / "shell"
    user = f"setpriv --reuid {UNPRIVILEGED} --regid {UNPRIVILEGED} --clear-groups --inh-caps=-all"
    shell.write_text(f"#!/bin/sh\nexec {user} rsync --server --daemon --config={place}/rsyncd.conf .\n")
    shell.chmod(0o755)
    return lambda: run([*RSYNC, "-e", str(shell), f"{source}/", "receiver::tree/"])


@pytest.fixture
def store(place: Path, push: Push) -> Path:
    push()
    return place / "store" / "tree"


def run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, timeout=120)


def is_munged(store: Path) -> bool:
    return store.stat().st_uid == UNPRIVILEGED


def real(tree: Path) -> list[Entry]:
    return list(read_real(tree, lambda where, _: sha256_of(where)))


def fake(tree: Path) -> list[Entry]:
    return list(read_fake(tree, is_munged(tree), lambda where, _: sha256_of(where)))


def test_the_store_reads_as_the_source(source: Path, store: Path) -> None:
    comparison = compare(real(source), fake(store))

    assert comparison.findings == ()
    assert comparison.entries > 50
    assert comparison.unhashed == 0


def test_the_store_becomes_the_source(source: Path, store: Path) -> None:
    materialise(store, munged=is_munged(store))

    assert compare(real(source), real(store)).findings == ()


def test_rsyncs_own_way_back_gives_the_same_tree(place: Path, store: Path) -> None:
    munged = is_munged(store)
    judge = place / "judge"
    run([*RSYNC, *(["--munge-links"] if munged else []), "--fake-super", "-M--super", f"{store}/", f"{judge}/"])

    materialise(store, munged=munged)

    assert compare(real(judge), real(store)).findings == ()


@however_it_was_pushed
def test_names_of_one_inode_stay_so_wherever_they_lie(source: Path, store: Path, push: Push) -> None:
    names = [source / f"part-{number}" for number in range(10)]
    for part in names:
        (part / "within").mkdir(parents=True)
        for name in ("setuid", "fifo", "link-outward", "dev/n0"):
            os.link(source / name, part / "within" / Path(name).name, follow_symlinks=False)
        os.utime(part / "within", ns=(0, 1234567890987654321))
    push()

    materialise(store, munged=is_munged(store))

    assert compare(real(source), real(store)).findings == ()


@however_it_was_pushed
def test_what_lies_as_deep_as_a_server_may_have_it_becomes_real_as_well(source: Path, store: Path, push: Push) -> None:
    within = source / "part" / ("w" * 20)
    within.mkdir(parents=True)
    os.mkfifo(within / "pipe")
    (within / "file").write_text("deep down")
    for name in ("setuid", "fifo", "link-outward", "dev/n0"):
        os.link(source / name, within / Path(name).name, follow_symlinks=False)
    push()
    for tree in (source, store):
        sink(tree, "part")

    materialise(store, munged=is_munged(store))

    assert compare(real(source), real(store)).findings == ()


@however_it_was_pushed
def test_a_setuid_bit_that_lies_in_the_store_itself_outlives_the_change_of_its_owner(source: Path, store: Path) -> None:
    (store / "setuid").chmod(0o6755)

    materialise(store, munged=is_munged(store))

    assert compare(real(source), real(store)).findings == ()


@however_it_was_pushed
def test_a_tree_may_be_named_from_where_we_are(source: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)

    materialise(Path("tree"), munged=is_munged(store))

    assert Path.cwd() == store.parent
    assert compare(real(source), real(store)).findings == ()


@however_it_was_pushed
def test_a_mask_that_rsync_left_stale_is_not_believed(source: Path, store: Path, push: Push) -> None:
    (source / "acl").chmod(0o600)
    push()

    materialise(store, munged=is_munged(store))

    assert compare(real(source), real(store)).findings == ()


@however_it_was_pushed
def test_an_acl_that_was_taken_away_is_none_in_the_store_and_none_when_it_is_real(
    source: Path, store: Path, push: Push
) -> None:
    os.removexattr(source / "acl", "system.posix_acl_access")
    push()
    stored = compare(real(source), fake(store))

    materialise(store, munged=is_munged(store))

    assert (stored.findings, compare(real(source), real(store)).findings) == ((), ())


@however_it_was_pushed
def test_sparse_files_stay_sparse(store: Path) -> None:
    materialise(store, munged=is_munged(store))

    sparse = (store / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size / 10


@however_it_was_pushed
def test_nothing_is_left_beside_the_tree(store: Path) -> None:
    materialise(store, munged=is_munged(store))

    assert [path.name for path in store.parent.iterdir()] == ["tree"]


def test_a_symlink_planted_in_the_store_is_not_followed(place: Path, store: Path) -> None:
    canary = place / "canary"
    canary.write_text("untouched")
    canary.chmod(0o600)
    (store / "planted").symlink_to(canary)
    (store / "planted-dir").symlink_to(place)
    before = canary.stat()

    materialise(store, munged=is_munged(store))

    assert canary.stat() == before
    assert stat.S_ISLNK((store / "planted").lstat().st_mode)


@pytest.fixture
def volume(place: Path) -> Iterator[Path]:
    """A file system as a receiver makes it: all that is small of an entry's attributes shares one block."""
    image, mounted = place / "image", place / "volume"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(1 << 30)
    run(["mkfs.ext4", "-q", "-b", "4096", "-I", "256", "-O", "ea_inode", str(image)])
    with a_loop_device(image) as device:
        run(["mount", str(device), str(mounted)])
        try:
            yield mounted
        finally:
            run(["umount", str(mounted)])


def test_what_fills_its_attributes_to_the_brim_in_the_store_does_not_keep_the_tree_from_being_made_real(
    volume: Path,
) -> None:
    tree = volume / "tree"
    tree.mkdir()
    full = tree / "full"
    full.touch()
    os.setxattr(full, STAT, b"100640 0,0 1234:4321")
    os.setxattr(full, ACCESS_ACL, struct.pack("<6I", *4 * [0x80], 1000, 0x80000004))
    fill(full)

    materialise(tree)

    (_, entry) = real(tree)
    assert (entry.mode, entry.uid, entry.gid) == (0o640, 1234, 4321)
    assert "system.posix_acl_access" in entry.xattrs and len(entry.xattrs) > 10


def fill(path: Path) -> None:
    for number, length in enumerate((*15 * [232], *range(250, 3, -1))):
        with contextlib.suppress(OSError):
            os.setxattr(path, f"user.{number:03}".ljust(5 + length, "a"), b"")


@however_it_was_pushed
def test_a_tree_that_was_half_made_real_is_not_gone_on_with(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setxattr", no_room)
    with pytest.raises(OSError, match="No space"):
        materialise(store, munged=is_munged(store))
    monkeypatch.undo()

    with pytest.raises(PermanentError, match="did not come to its end"):
        materialise(store, munged=is_munged(store))


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
