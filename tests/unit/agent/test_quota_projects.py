"""Quotas on ext4 are switched on in the file system itself, each tree is a project; the kernel has to know of them."""

import os
import resource
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebbtide_agent import volume
from ebbtide_agent.errors import PermanentError, TransientError
from ebbtide_agent.receiver import projects, quotas
from ebbtide_agent.receiver.brief import BriefedHost
from ebbtide_agent.report import Quota
from tests.loops import a_loop_device

WIRE = Path(__file__).parents[2] / "contract/wire"
MIB = 1 << 20
HOST = BriefedHost("us0", "us0a", 2435978, (), "n", quota=8 * MIB)
MISSING = [name for name in ("mkfs.ext4", "tune2fs", "dumpe2fs") if shutil.which(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file system as a receiver makes one."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    assert volume.make_ready(image, tmp_path / "place", "ext4").filesystem == "ext4"
    return image


def superblock(image: Path) -> dict[str, str]:
    shown = subprocess.run(["dumpe2fs", "-h", str(image)], capture_output=True, text=True, check=True).stdout
    return {name: value.strip() for name, _, value in (line.partition(":") for line in shown.splitlines())}


def features(image: Path) -> set[str]:
    return {"project", "quota"} & set(superblock(image)["Filesystem features"].split())


def test_a_file_system_counts_by_project_once_it_was_told_so_and_however_often(image: Path) -> None:
    before = features(image)

    told = [projects.enable(image) for _ in range(2)]

    assert (before, told, features(image)) == (set(), [None, None], {"project", "quota"})
    subprocess.run(["e2fsck", "-f", "-n", str(image)], check=True, capture_output=True)


def test_a_file_system_that_is_not_to_count_is_one_that_any_kernel_mounts(image: Path) -> None:
    projects.enable(image)

    projects.disable(image)

    assert features(image) == set()
    subprocess.run(["e2fsck", "-f", "-n", str(image)], check=True, capture_output=True)


def test_what_cannot_count_says_why(tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(b"no file system")

    assert projects.enable(tmp_path / "none")


def test_one_that_counts_already_is_not_read_as_a_whole_for_that_each_night(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    # As a kernel has it that knows quotas, and as it says that it has not been told of them yet.
    (programs / "mount").write_text(f"#!/bin/sh\ndumpe2fs -h {image} 2>&1 | grep -q 'features:.* project'\n")
    (programs / "tune2fs").write_text(f'#!/bin/sh\necho >>{tmp_path}/read\nexec {shutil.which("tune2fs")} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    found = [quotas.attach(image, tmp_path / "place", "ext4", [HOST]) for _ in range(3)]

    assert [each.kind for each in found] == [quotas.PROJECTS] * 3
    assert (tmp_path / "read").read_text() == "\n"


def test_a_hundredth_of_the_blocks_is_in_reserve_for_root(image: Path) -> None:
    said = superblock(image)

    assert int(said["Reserved block count"]) == int(said["Block count"]) // 100


@pytest.fixture
def attached(image: Path, tmp_path: Path) -> Iterator[tuple[quotas.Quotas, Path]]:
    """The file system in its place, as a receiver has it there for hosts that have quotas."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with a_loop_device(image) as device:
        try:
            yield quotas.attach(device, tmp_path / "place", "ext4", [HOST]), tmp_path / "place"
        finally:
            subprocess.run(["umount", str(tmp_path / "place")], check=False)


@pytest.mark.root
def test_a_kernel_without_quotas_gets_a_file_system_without_and_the_night_goes_on(
    attached: tuple[quotas.Quotas, Path], image: Path
) -> None:
    found, place = attached
    if found.kind == quotas.PROJECTS:
        pytest.skip("this kernel has project quotas: nothing is refused")

    (place / "written").write_text("all the same")

    assert found.why.startswith("this kernel does not mount ext4 with quotas: ")
    assert list(quotas.sentences(found, [HOST])) == [f"no quota holds tonight: {found.why}"]
    assert features(image) == set()


@pytest.mark.root
def test_a_file_system_that_cannot_be_told_to_count_is_mounted_all_the_same(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, place = tmp_path / "programs", tmp_path / "place"
    programs.mkdir()
    (programs / "tune2fs").write_text("#!/bin/sh\necho of no use >&2\nexit 1\n")
    (programs / "tune2fs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with a_loop_device(image) as device:
        try:
            found = quotas.attach(device, place, "ext4", [HOST])

            assert place.is_mount()
            assert found == quotas.Quotas(why="of no use")
        finally:
            subprocess.run(["umount", str(place)], check=False)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Path]:
    """A place where files have projects, whether this kernel has quotas or not: on XFS."""
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("an XFS is made and mounted by root, with xfsprogs")
    image, place = tmp_path / "xfs", tmp_path / "counting"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    place.mkdir()
    with a_loop_device(image) as device:
        if (mounted := subprocess.run(["mount", str(device), str(place)], capture_output=True, text=True)).returncode:
            pytest.skip(f"no XFS can be mounted here: {mounted.stderr.strip()}")
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def files_of_a_service() -> Iterator[None]:
    """No more at once than systemd lets one have."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@contextmanager
def a_deep_directory(tree: Path, depth: int, name: str) -> Iterator[int]:
    """A directory in a directory, each of this name, and for a block the deepest of them, open."""
    above = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=above)
        below = os.open(name, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    try:
        yield above
    finally:
        os.close(above)


@pytest.mark.fault("X4")
@pytest.mark.attack("lie deeper than a path can say, for no quota to count", row="X4", outcome="counted all the same")
@pytest.mark.root
def test_a_tree_of_any_depth_becomes_a_project_in_as_many_nights_as_that_takes(
    counting: Path, files_of_a_service: None
) -> None:
    tree = counting / "tree"
    done = tree / "done"
    done.mkdir(parents=True)
    (tree / "link").symlink_to("/etc/passwd")
    an_hour, no_time = time.monotonic() + 3600, time.monotonic()
    projects.mark(done, HOST.uid, an_hour)
    (done / "new").mkdir()
    projects.mark(done / "new", 0, an_hour)

    with a_deep_directory(tree, 1200, "longer than a path may be") as deepest:
        os.close(os.open("file", os.O_CREAT, dir_fd=deepest))
        with pytest.raises(TransientError, match="the next night goes on with the rest"):
            projects.mark(tree, HOST.uid, no_time)
        before = projects_of(tree)
        projects.mark(tree, HOST.uid, an_hour)
        # What has so long a name nobody can be asked about.
        os.rename("file", counting / "file", src_dir_fd=deepest)

    assert before == {0}
    assert projects_of(tree, next(tree.glob("longer*")), counting / "file", done) == {HOST.uid}
    assert projects_of(done / "new") == {0}, "what is below a directory that is marked is not looked at again"


@pytest.mark.fault("X4")
@pytest.mark.root
def test_of_what_is_deeper_than_rsync_makes_a_tree_it_is_said_so(counting: Path, files_of_a_service: None) -> None:
    tree = counting / "tree"
    tree.mkdir()

    with (
        a_deep_directory(tree, 2050, "d"),
        pytest.raises(PermanentError, match="tree is not counted: it is deeper than rsync makes a tree"),
    ):
        projects.mark(tree, HOST.uid, time.monotonic() + 3600)

    assert projects_of(tree) == {0}, "it is marked as a whole, or not"


@pytest.mark.root
def test_however_many_directories_lie_beside_each_other_marking_them_takes_no_more_memory(counting: Path) -> None:
    tree = counting / "tree"
    for number in range(10_000):
        (tree / f"{number}").mkdir(parents=True)

    tracemalloc.start()
    projects.mark(tree, HOST.uid, time.monotonic() + 3600)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert projects_of(tree, tree / "0", tree / "9999") == {HOST.uid}
    assert most < MIB // 4


@pytest.mark.root
def test_what_there_is_to_be_looked_at_takes_no_longer_than_there_is_time(
    counting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, looked = counting / "tree", list[str]()
    for number in range(10):
        (tree / f"{number}").mkdir(parents=True)
        projects.mark(tree / f"{number}", HOST.uid, time.monotonic() + 3600)
    project_of = projects._project_of

    def project_of_one_more(descriptor: int) -> int:
        looked.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return project_of(descriptor)

    monkeypatch.setattr(projects, "_project_of", project_of_one_more)

    with pytest.raises(TransientError, match="the next night goes on with the rest"):
        projects.mark(tree, HOST.uid, time.monotonic())

    assert looked == [str(tree)]


def projects_of(*paths: Path) -> set[int]:
    """What these belong to, as e2fsprogs says."""
    said = subprocess.run(["lsattr", "-dp", *paths], check=True, capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in said.splitlines()}


@pytest.mark.root
def test_a_project_holds_no_more_than_its_quota_and_its_neighbour_does_not_notice(
    attached: tuple[quotas.Quotas, Path],
) -> None:
    found, place = attached
    if found.kind != quotas.PROJECTS:
        pytest.skip(f"ext4's project quotas cannot be shown here: {found.why}")
    tree, other = place / "us0", place / "eu0"
    for each in (tree, other):
        each.mkdir()
    (tree / "from-before").write_bytes(b"x" * MIB)

    found.keep(HOST, tree, time.monotonic() + 3600)
    words = ["setpriv", f"--reuid={HOST.uid}", "--clear-groups", "dd", "if=/dev/zero", "bs=1M", "count=9"]
    with (tree / "new").open("wb") as new:  # the way to here is root's alone
        wrote = subprocess.run(words, stdout=new, stderr=subprocess.PIPE, text=True, check=False)

    assert "Disk quota exceeded" in wrote.stderr
    assert 7 * MIB < projects.used(tree, HOST.uid) <= 8 * MIB
    assert found.of(HOST, tree) == Quota(8 * MIB, projects.used(tree, HOST.uid))
    with (other / "new").open("wb") as new:
        subprocess.run(words, stdout=new, stderr=subprocess.PIPE, check=True)


# What somebody does who wants more of a volume than the sum of his files, again and again, each time with another name.
FLOODS = {
    "room that nothing was written to": "os.posix_fallocate(os.open(name, os.O_CREAT | os.O_RDWR), 0, 1 << 19)",
    "files whose names are gone": "held.append(written(name)); os.unlink(name)",
    "attributes": "written(name, size=0); os.setxattr(name, 'user.us0', os.urandom(60_000))",
    "attributes that are all the same": "written(name, size=0); os.setxattr(name, 'user.us0', bytes(60_000))",
    "names": "os.path.exists('file') or written('file', size=0); os.link('file', name)",
    "links": "os.symlink('x' * 1000, name)",
    "directories": "os.mkdir(name)",
}
FLOOD = """
import os, sys
def written(name, size=1 << 19):
    file = open(name, 'wb', buffering=0)
    file.write(os.urandom(size))
    return file
held = []
try:
    for number in range(100_000):
        name = f'{number:0>250}'
        exec(sys.argv[1])
except OSError as full:
    print(full.strerror, flush=True)
sys.stdin.read()
"""


@pytest.mark.attack("fill an ext4 with what no file's length says", row="X4", outcome="all of it counts")
@pytest.mark.fault("X4")
@pytest.mark.root
def test_whatever_a_host_fills_a_volume_with_counts(attached: tuple[quotas.Quotas, Path]) -> None:
    found, place = attached
    if found.kind != quotas.PROJECTS:
        pytest.skip(f"ext4's project quotas cannot be shown here: {found.why}")

    for what, step in FLOODS.items():
        tree = place / what
        tree.mkdir()
        os.chown(tree, HOST.uid, HOST.uid)
        found.keep(HOST, tree, time.monotonic() + 3600)
        before = taken(place)
        words = ["setpriv", f"--reuid={HOST.uid}", "--clear-groups", sys.executable, "-c", FLOOD, step]
        with subprocess.Popen(words, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
            said = host.stdout.readline() if host.stdout else ""
            after, counted = taken(place), projects.used(place, HOST.uid)
            host.communicate()

        # A directory of names alone ends before the quota does: the file system lets none grow further.
        assert said in ("Disk quota exceeded\n", "No space left on device\n", "Too many links\n"), what
        assert after[0] - before[0] <= counted <= 8 * MIB, what
        assert after[1] - before[1] <= 8 * MIB // projects.BYTES_FOR_AN_INODE, what
        shutil.rmtree(tree)


def taken(place: Path) -> tuple[int, int]:
    """The bytes and the inodes of a whole volume that are not free."""
    os.sync()
    seen = os.statvfs(place)
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize, seen.f_files - seen.f_ffree


def test_a_quota_that_the_kernel_does_not_take_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"the quota of project 2435978 on .*: "):
        projects.limit(tmp_path, HOST.uid, MIB)
