"""A stolen key and rsync: every way that rsync has of naming a place, to write elsewhere or to read what is there."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ebbtide_agent.points import parse_offer
from tests.attack.canaries import PLANTED
from tests.attack.marks import tried
from tests.attack.scene import Scene
from tests.local.receiver_machine import MAY_MOUNT, MISSING

IS_ROOT = os.geteuid() == 0
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(IS_ROOT and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
]
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root has devices to send")

# {eu0} is the other host's tree, {planted} a name that must not appear anywhere but in one's own.
PLACES = [
    tried("push to a module and `..`", "tree/../../eu0a/tree/", row="X1", outcome="refused"),
    tried("push to a module and an absolute path", "tree{eu0}/", row="X1", outcome="refused"),
    tried("push to a module of another name", "eu0a/", row="X1", outcome="refused"),
    tried("push to a module named by a path", "../eu0a/tree/", row="X1", outcome="refused"),
    tried("push to a module without a name", "/", row="X1", outcome="refused"),
]
OPTIONS = [
    tried("--log-file outside", ["-M--log-file=/{planted}"], row="X1", outcome="refused"),
    tried("--partial-dir outside", ["--partial", "-M--partial-dir=/{planted}"], row="X1", outcome="its own tree"),
    tried("--backup-dir in another's tree", ["-b", "-I", "-M--backup-dir={eu0}"], row="X1", outcome="refused"),
    tried("--temp-dir in another's tree", ["-M--temp-dir={eu0}"], row="X1", outcome="refused"),
    tried("--link-dest: another's file as a link", ["-M--link-dest={eu0}", "-I"], row="X1", outcome="refused"),
    tried("--copy-dest: a copy of another's file", ["-M--copy-dest=../../eu0a/tree"], row="X1", outcome="refused"),
    tried("--files-from a file of the receiver's", ["--files-from=:/etc/passwd"], row="X1", outcome="refused"),
    tried("-s: options and paths that no shell sees", ["-s", "-M--log-file=/{planted}"], row="X1", outcome="refused"),
    tried("--config: a daemon configured otherwise", ["-M--config=/{planted}"], row="X1", outcome="refused"),
    tried("--dparam: a module elsewhere", ["-M--dparam=path=/"], row="X1", outcome="refused"),
    tried("--super: owners and setuid as themselves", ["-M--super", "--chmod=u+s"], row="X1", outcome="its own tree"),
    tried("--write-devices", ["-M--write-devices", "--inplace"], row="X1", outcome="refused"),
]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / PLANTED).write_text("by us0")
    (tmp_path / "source/secret").write_text("overwritten")
    return tmp_path / "source"


@pytest.fixture
def tree(scene: Scene) -> Path:
    """The attacker's own, with nothing in it."""
    subprocess.run(["find", str(scene.tree), "-mindepth", "1", "-delete"], check=True)
    return scene.tree


def spelled(word: str, scene: Scene) -> str:
    return word.format(eu0=scene.receiver.tree("eu0"), planted=PLANTED)


def planted(tree: Path) -> list[Path]:
    return list(tree.rglob(PLANTED))


@pytest.mark.fault("X1")
@pytest.mark.parametrize("place", PLACES)
def test_a_push_to_another_place_ends_in_its_own_tree_or_nowhere(
    scene: Scene, tree: Path, source: Path, place: str, is_refused: bool
) -> None:
    ended = scene.push(source, to=spelled(place, scene))

    assert (ended.returncode != 0, not planted(tree)) == (is_refused, is_refused), ended.stderr


@pytest.mark.fault("X1")
@pytest.mark.parametrize("words", OPTIONS)
def test_no_option_of_rsyncs_leads_out_of_the_tree(
    scene: Scene, tree: Path, source: Path, words: list[str], is_refused: bool
) -> None:
    ended = scene.push(source, *(spelled(word, scene) for word in words))

    assert (ended.returncode != 0, not planted(tree)) == (is_refused, is_refused), ended.stderr
    assert all(is_harmless(path) for path in tree.rglob("*"))


BATCHES = [
    tried("--write-batch outside", "write-batch", row="X1", outcome="refused"),
    tried("--only-write-batch: a batch in the place of a push", "only-write-batch", row="X1", outcome="refused"),
    tried("--read-batch: a batch of the receiver's", "read-batch", row="X1", outcome="refused"),
]


@pytest.mark.fault("X1")
@pytest.mark.parametrize("option", BATCHES)
def test_what_asks_for_a_batch_is_told_that_it_is_refused(scene: Scene, tree: Path, source: Path, option: str) -> None:
    ended = scene.push(source, f"-M--{option}=/{PLANTED}")

    assert f"configured to refuse --{option}\n".encode() in ended.stderr
    assert (ended.returncode != 0, planted(tree)) == (True, [])


READS = [
    tried("read one's own tree", "tree/", row="X1", outcome="refused"),
    tried("read another's tree by `..`", "tree/../../eu0a/tree/", row="X1", outcome="refused"),
    tried("read another's tree by its path", "tree{eu0}/", row="X1", outcome="refused"),
    tried("read the receiver's own record of a tree", "tree/../status.json", row="X1", outcome="refused"),
    tried("read the receiver's record of another host", "tree/../../eu0a/status.json", row="X1", outcome="refused"),
    tried("list the modules", "", row="X1", outcome="there is no list"),
]


@pytest.mark.fault("X1")
@pytest.mark.parametrize("place", READS)
def test_nothing_can_be_read(scene: Scene, tmp_path: Path, place: str) -> None:
    ended = scene.pull(spelled(place, scene), tmp_path / "back")

    assert not (tmp_path / "back").exists() or [*(tmp_path / "back").iterdir()] == [], ended.stderr
    assert ended.stdout == b""


@pytest.mark.attack(
    "the names in one's own tree, by a push in show", row="X1", outcome="told: they are rsync's to compare"
)
@pytest.mark.fault("X1")
def test_a_push_in_show_tells_the_names_of_what_it_would_delete(scene: Scene, tree: Path, tmp_path: Path) -> None:
    (tree / "pin").write_text("4711")
    (tmp_path / "nothing").mkdir()

    ended = scene.push(tmp_path / "nothing", "-n", "-i", "--delete")

    assert b"deleting   pin" in ended.stdout and b"4711" not in ended.stdout
    assert (tree / "pin").exists()


@pytest.mark.attack("what is in a file, by guesses of it", row="X1", outcome="told: which guess is right")
@pytest.mark.fault("X1")
def test_a_push_in_show_tells_a_right_guess_from_a_wrong_one(scene: Scene, tree: Path, tmp_path: Path) -> None:
    (tree / "pin").write_text("4711")
    told = {}
    for guess in ("4710", "4711"):
        (tmp_path / guess).mkdir()
        (tmp_path / guess / "pin").write_text(guess)
        told[guess] = scene.push(tmp_path / guess, "-n", "-i", "-c").stdout

    assert b"<fc" in told["4710"] and b"<fc" not in told["4711"], told


@pytest.mark.attack("list one's own restore points by night", row="X1", outcome="none is offered")
@pytest.mark.fault("X1")
def test_by_night_no_restore_point_is_offered(scene: Scene) -> None:
    ended = scene.ask("list")

    offer = parse_offer(ended.stdout)
    assert (offer.id, offer.points) == ("us0a", ())


def is_harmless(path: Path) -> bool:
    """As fake super keeps everything: a file or a directory, and nobody's rights in it."""
    mode = path.lstat().st_mode
    return (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and not mode & (stat.S_ISUID | stat.S_ISGID)


def a_symlink(place: Path, scene: Scene) -> None:
    (place / "out").symlink_to(scene.receiver.tree("eu0"))
    (place / "up").symlink_to("../../eu0a/tree")
    (place / "file").symlink_to(scene.receiver.tree("eu0") / "secret")


def a_hard_link(place: Path, _: Scene) -> None:
    (place / "secret").write_text("of us0")
    os.link(place / "secret", place / "again")


def a_device(place: Path, _: Scene) -> None:
    os.mknod(place / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_setuid_program(place: Path, _: Scene) -> None:
    (place / "sh").write_text("#!/bin/sh\n")
    (place / "sh").chmod(0o6755)


PLANTS = [
    tried("plant a symlink, then push through it", a_symlink, row="X1", outcome="its own tree"),
    tried("plant a hard link", a_hard_link, row="X1", outcome="its own tree"),
    tried("plant devices", a_device, row="X1", outcome="kept as plain files", marks=(needs_root,)),
    tried("plant a setuid program", a_setuid_program, row="X1", outcome="kept without its rights"),
]


@pytest.mark.fault("X1")
@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_is_kept_as_a_plain_file_and_nothing_goes_through_it(
    scene: Scene, tree: Path, tmp_path: Path, plant: Callable[[Path, Scene], None]
) -> None:
    prepared, second = tmp_path / "prepared", tmp_path / "second"
    for place in (prepared, second, second / "out", second / "up"):
        place.mkdir()
        (place / PLANTED).write_text("by us0")
    plant(prepared, scene)
    (second / "file").write_text("overwritten")

    first = scene.push(prepared, "-HD", "--numeric-ids")
    through = scene.push(second, "-K", "--inplace", "-I")

    assert (first.returncode, through.returncode) in ((0, 0), (0, 23)), first.stderr + through.stderr
    assert all(is_harmless(path) for path in tree.rglob("*"))


@pytest.mark.attack("delete all there is, to lose its own history too", row="X1", outcome="its own tree alone is empty")
@pytest.mark.fault("X1")
def test_what_deletes_all_of_its_tree_deletes_none_of_its_history(scene: Scene, tree: Path, tmp_path: Path) -> None:
    (tree / "old").write_text("of an earlier night")
    (tmp_path / "nothing").mkdir()
    status = (tree.parent / "status.json").read_bytes()

    ended = scene.push(tmp_path / "nothing", "--delete", "--force", "--ignore-errors")

    assert ended.returncode == 0, ended.stderr
    assert [*tree.iterdir()] == []
    assert (tree.parent / "status.json").read_bytes() == status
