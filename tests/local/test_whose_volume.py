"""What a receiver does to a volume before it knows whose it is: nothing, on file systems as they are left behind."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.paths import MachinePaths
from ebbtide_agent.receiver import projects
from ebbtide_agent.receiver.boot import claim_of, open_volume
from ebbtide_agent.receiver.brief import Brief, BriefedHost, parse_brief
from ebbtide_agent.whose import look_first
from tests.debian import its_programs
from tests.local.enclosed import in_an_enclosure
from tests.loops import a_loop_device

EXAMPLES = Path(__file__).parents[1] / "contract/wire"
MIB = 1 << 20
US0 = BriefedHost("us0", "us0a", 2435978, (), "n", quota=8 * MIB)
MISSING = [name for name in ("mkfs.ext4", "debugfs", "mkswap") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def a_machine(root: Path, device: Path) -> tuple[Brief, MachinePaths]:
    """Receiver main, with a volume that is to be its own."""
    brief = replace(parse_brief((EXAMPLES / "brief-receiver.json").read_bytes()), hosts=(US0,), is_distrusted=False)
    paths = MachinePaths(root)
    paths.device(brief.volume_id).parent.mkdir(parents=True)
    paths.device(brief.volume_id).symlink_to(device)
    return brief, paths


def a_blank(image: Path, mib: int = 32) -> Path:
    image.touch()
    os.truncate(image, mib * MIB)
    return image


def a_volume_of(receiver: str, image: Path, filesystem: str = "ext4", mib: int = 32) -> None:
    """With what a receiver has written on it; or with files of somebody who knows nothing of receivers."""
    place = image.with_suffix(".made")
    with a_loop_device(a_blank(image, mib)) as device:
        volume.mount(device, place, filesystem)
        if receiver:
            (place / "receiver.json").write_text(f'{{"schema": 1, "receiver": "{receiver}"}}')
        (place / "precious").touch()
        volume.let_go(device, place)


def with_files_on(image: Path, change: Callable[[Path], object]) -> None:
    """Let somebody change what is on a volume, who lets go of it as it should be."""
    place = image.with_suffix(".made")
    with a_loop_device(image) as device:
        volume.mount(device, place)
        change(place)
        volume.let_go(device, place)


def with_its_mark(image: Path, words: str) -> None:
    with_files_on(image, lambda files: (files / "receiver.json").write_text(words))


def let_go(_: Path) -> None:
    """As it should be."""


def cut_off(image: Path, late: str = "late") -> None:
    """In the middle of its last writes: what was written is in the journal, and not in its place yet."""
    place, left = image.with_suffix(".made"), image.with_suffix(".left")
    with a_loop_device(image) as device:
        volume.mount(device, place)
        with (place / late).open("w") as file:
            file.write('{"schema": 1, "receiver": "other"}')
            file.flush()
            os.fsync(file.fileno())
        shutil.copyfile(image, left)
        volume.let_go(device, place)
    left.replace(image)


def an_owner_cut_off(image: Path) -> Path:
    """A volume that had nothing on it before somebody wrote whose it is."""
    volume.make_ready(a_blank(image), image.with_suffix(".place"), "ext4")
    cut_off(image, late="receiver.json")
    return image


def is_in_no_directory(image: Path) -> bool:
    """Whether the journal alone has it: the kernel may have brought it to its place just before it was cut off."""
    shown = subprocess.run(["debugfs", "-R", "ls -p /", image], check=True, capture_output=True, text=True).stdout
    return "receiver.json" not in shown


def debugfs(image: Path, *requests: str) -> None:
    for request in requests:
        subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)


def with_an_error(image: Path) -> None:
    """It says of itself that it has one, and has one that a check mends."""
    debugfs(image, "set_inode_field /precious links_count 5", "set_super_value state 2")


def with_an_orphan(image: Path) -> None:
    """A file that was deleted, and still open when it was cut off."""
    debugfs(image, "write /dev/null orphan")
    found = subprocess.run(["debugfs", "-R", "stat orphan", image], check=True, capture_output=True, text=True).stdout
    number = found.split("Inode: ")[1].split()[0]
    debugfs(
        image, f"set_inode_field <{number}> links_count 0", "unlink orphan", f"set_super_value last_orphan {number}"
    )


def that_counts_by_project(image: Path) -> None:
    projects.enable(image)


def superblock(image: Path) -> dict[str, set[str]]:
    shown = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True).stdout
    return {name: set(words.split()) for name, _, words in (line.partition(":") for line in shown.splitlines())}


def block_size(image: Path) -> int:
    return int(next(iter(superblock(image)["Block size"])))


def first_block(image: Path, name: str) -> int:
    """Where on it what has this name begins."""
    told = subprocess.run(["debugfs", "-R", f"blocks {name}", image], check=True, capture_output=True, text=True)
    return int(told.stdout.split()[0])


def digest(image: Path) -> str:
    return sha256(image.read_bytes()).hexdigest()


def refused(image: Path, place: Path) -> str:
    """Why, when it is offered as receiver main's own."""
    with a_loop_device(image) as device:
        brief, paths = a_machine(place / "machine", device)
        with pytest.raises(Refused) as why:
            open_volume(brief, paths)
        assert not paths.volume.is_mount()
    return str(why.value)


@pytest.mark.fault("R3")
@pytest.mark.parametrize("receiver", ["other", ""])
@in_an_enclosure
def test_of_a_volume_of_somebody_else_no_byte_changes_however_it_was_left(tmp_path: Path, receiver: str) -> None:
    for leave in (let_go, cut_off, with_an_error, with_an_orphan, that_counts_by_project):
        place = tmp_path / leave.__name__
        place.mkdir()
        image = place / "image"
        a_volume_of(receiver, image)
        leave(image)
        before = digest(image)

        why = refused(image, place)

        assert ("belongs to receiver 'other'" if receiver else "it is not a receiver's") in why
        assert digest(image) == before, f"changed, {leave.__name__}"


@pytest.mark.fault("R3")
@in_an_enclosure
def test_what_the_journal_alone_tells_is_seen_before_anything_is_changed_but_by_the_check(tmp_path: Path) -> None:
    image = next(filter(is_in_no_directory, (an_owner_cut_off(tmp_path / f"image{each}") for each in range(20))))
    before = superblock(image)

    assert "belongs to receiver 'other'" in refused(image, tmp_path)
    after = superblock(image)
    assert before["Filesystem features"] ^ after["Filesystem features"] == {"needs_recovery"}
    assert after["Mount count"] == before["Mount count"]


@pytest.mark.fault("R3")
@in_an_enclosure
def test_of_a_btrfs_of_somebody_else_that_was_cut_off_no_byte_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{its_programs(('mkfs.btrfs', 'btrfs'), tmp_path / 'its')}:{os.environ['PATH']}")
    image = tmp_path / "image"
    a_volume_of("other", image, "btrfs", mib=160)
    cut_off(image)
    before = digest(image)

    assert "belongs to receiver 'other'" in refused(image, tmp_path)
    assert digest(image) == before


@pytest.mark.fault("R14")
@in_an_enclosure
def test_its_own_btrfs_whose_mark_is_garbage_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{its_programs(('mkfs.btrfs', 'btrfs'), tmp_path / 'its')}:{os.environ['PATH']}")
    a_volume_of("main", image := tmp_path / "image", "btrfs", mib=160)
    with_files_on(image, lambda files: (files / "receiver.json").write_bytes(b"\xa5" * 40))

    assert "receiver.json needs a person" in damaged(image, tmp_path)


@pytest.mark.fault("R3")
@in_an_enclosure
def test_what_no_receiver_makes_a_volume_of_is_refused_by_its_name_and_left_as_it_was(tmp_path: Path) -> None:
    image = a_blank(tmp_path / "image")
    subprocess.run(["mkswap", image], check=True, capture_output=True)
    before = digest(image)

    assert "has swap on it: it is not a receiver's" in refused(image, tmp_path)
    assert digest(image) == before


@pytest.mark.fault("R3")
@pytest.mark.parametrize("leave", [cut_off, with_an_error])
@in_an_enclosure
def test_its_own_volume_is_checked_and_taken_however_it_was_left(tmp_path: Path, leave: Callable[[Path], None]) -> None:
    image = tmp_path / "image"
    a_volume_of("main", image)
    leave(image)

    with a_loop_device(image) as device:
        brief, paths = a_machine(tmp_path / "machine", device)
        open_volume(brief, paths)
        found = {path.name for path in paths.volume.iterdir()}
        volume.let_go(device, paths.volume)
    looked = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True)

    assert found >= ({"precious", "late"} if leave is cut_off else {"precious"})
    assert looked.returncode == 0, looked.stdout


def damaged(image: Path, place: Path) -> str:
    """Why, when it is offered as receiver main's own."""
    with a_loop_device(image) as device:
        brief, paths = a_machine(place / "machine", device)
        with pytest.raises(volume.Damaged) as why:
            open_volume(brief, paths)
        assert not paths.volume.is_mount()
    return str(why.value)


@pytest.mark.fault("R14")
@in_an_enclosure
def test_its_own_volume_that_has_lost_whose_it_is_by_damage_is_damaged_and_not_somebody_elses(tmp_path: Path) -> None:
    image = tmp_path / "image"
    a_volume_of("main", image)
    debugfs(image, "mkdir hosts", "unlink receiver.json", "set_super_value state 2")

    assert "Unattached inode" in damaged(image, tmp_path)


def in_its_place(mark: Path, make: Callable[[Path], object]) -> None:
    mark.unlink()
    make(mark)


# What a mark may have become, torn first and gone last.
GARBAGE: tuple[Callable[[Path], object], ...] = (
    lambda mark: os.truncate(mark, 20),
    lambda mark: os.truncate(mark, 0),
    lambda mark: mark.write_bytes(b"\xa5" * 40),
    lambda mark: mark.write_text("[" * 4000),
    lambda mark: mark.write_text(mark.read_text() + " " * 4096),
    lambda mark: mark.write_text('{"schema": 1, "receiver": null}'),
    lambda mark: mark.write_text('{"schema": "2", "receiver": "main"}'),
    lambda mark: in_its_place(mark, Path.mkdir),
    lambda mark: in_its_place(mark, os.mkfifo),
    lambda mark: mark.rename(mark.with_name("good")) and mark.symlink_to("good"),
    lambda mark: in_its_place(mark, lambda _: (mark.parent / "hosts").mkdir()),
)


@pytest.mark.fault("R14")
@in_an_enclosure
def test_its_own_volume_whose_mark_is_garbage_is_damaged_and_nothing_on_it_is_destroyed(tmp_path: Path) -> None:
    for number, spoil in enumerate(GARBAGE):
        place = tmp_path / f"{number}"
        place.mkdir()
        a_volume_of("main", image := place / "image")
        before = spoilt(image, spoil)

        why = damaged(image, place)

        assert "receiver.json" in why and "needs a person" in why
        assert its_files(image) == before, f"the {number}. garbage"


def spoilt(image: Path, spoil: Callable[[Path], object]) -> list[tuple[str, int, bytes]]:
    with_files_on(image, lambda files: spoil(files / "receiver.json"))
    return its_files(image)


def its_files(image: Path) -> list[tuple[str, int, bytes]]:
    """Their names, kinds, and what is in those that are files."""
    found: list[tuple[str, int, bytes]] = []

    def look(top: Path) -> None:
        for path in sorted(top.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path.relative_to(top)), path.lstat().st_mode, content))

    with_files_on(image, look)
    return found


@pytest.mark.fault("R3")
@in_an_enclosure
def test_a_volume_that_says_it_is_anothers_in_another_versions_words_is_refused_and_not_called_damaged(
    tmp_path: Path,
) -> None:
    a_volume_of("other", image := tmp_path / "image")
    for schema in (0, 2):
        with_its_mark(image, f'{{"schema": {schema}, "receiver": "other"}}')
        before = digest(image)

        assert "belongs to receiver 'other'" in refused(image, tmp_path / f"{schema}")
        assert digest(image) == before


@pytest.mark.fault("R3")
@pytest.mark.parametrize("words", ['{"schema": 2, "receiver": "main"}', '{"schema": 2, "of": "main"}'])
@in_an_enclosure
def test_its_own_volume_that_a_later_version_has_marked_is_refused_and_not_set_aside(
    tmp_path: Path, words: str
) -> None:
    a_volume_of("main", image := tmp_path / "image")
    with_its_mark(image, words)
    before = digest(image)

    assert "of schema 2, and this version knows 1: use a later one" in refused(image, tmp_path)
    assert digest(image) == before


def with_its_mark_at_the_end(image: Path) -> int:
    """Beyond which byte of the image its mark is, and nothing else."""
    size = block_size(image)
    last = image.stat().st_size // size - 1
    frees = f"freeb {first_block(image, 'receiver.json')}"
    debugfs(image, f"set_inode_field receiver.json block[5] {last}", f"setb {last}", frees)
    subprocess.run(["e2fsck", "-f", "-p", image], capture_output=True)
    return last * size


@pytest.mark.fault("R14")
@in_an_enclosure
def test_of_its_own_volume_whose_mark_the_disk_does_not_give_it_is_not_said_that_it_is_damaged(tmp_path: Path) -> None:
    a_volume_of("main", image := tmp_path / "image")
    end = with_its_mark_at_the_end(image)
    with a_loop_device(image) as device:
        brief, paths = a_machine(tmp_path / "machine", device)
        os.truncate(image, end)

        with pytest.raises(PermanentError, match=r"cannot be seen: .*Input/output error") as why:
            look_first(device, paths.volume, "ext4", claim_of(brief, paths))

    assert not isinstance(why.value, volume.Damaged)


@pytest.mark.fault("R3")
@in_an_enclosure
def test_a_hosts_own_volume_is_refused_and_not_called_damaged(tmp_path: Path) -> None:
    a_volume_of("", image := tmp_path / "image")
    with_files_on(image, lambda files: ((files / "hosts").mkdir(), (files / "ebbtide.json").touch()))
    before = digest(image)

    assert "it is not a receiver's" in refused(image, tmp_path)
    assert digest(image) == before


def without_its_journal(image: Path) -> None:
    """What a check would mend, in a file system that is not mounted until it has."""
    debugfs(image, "clri <8>")


def whose_top_is_garbage(image: Path) -> None:
    """It is mounted, and nobody can read a name in it."""
    size = block_size(image)
    with image.open("r+b") as file:
        file.seek(first_block(image, "/") * size)
        file.write(b"\xa5" * size)


@pytest.mark.fault("R3")
@in_an_enclosure
def test_a_volume_of_which_nobody_can_see_whose_it_is_is_damaged_and_no_byte_of_it_changes(tmp_path: Path) -> None:
    for spoil in (without_its_journal, whose_top_is_garbage):
        place = tmp_path / spoil.__name__
        place.mkdir()
        a_volume_of("other", image := place / "image")
        spoil(image)
        before = digest(image)

        assert "its file system is damaged" in damaged(image, place)
        assert digest(image) == before, f"changed, {spoil.__name__}"
