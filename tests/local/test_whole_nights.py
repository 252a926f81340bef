"""Whole nights, by the operator's own command: full with Debian servers, degraded without the right to mount."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from enclosed import POWERLESS

from ebbtide_console.sandbox import awkward, probe
from tests.copies import a_copy
from tests.debian import a_server
from tests.local.following import CHANGES_EVERY_NIGHT, File, Reader, follow, seen
from tests.patience import for_make_long

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'agent'}"}
HERE = probe.probe()
LONGEST_SECONDS = 240


def night(state: Path, *words: str, through: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        a_nights_command(state, *words, through=through),
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False,
    )  # fmt: skip


def a_nights_command(state: Path, *words: str, through: Sequence[str]) -> list[str]:
    return [*through, sys.executable, "-m", "ebbtide_console", "sandbox", "--state", str(state), "night", *words]


def verdicts(said: str) -> list[str]:
    """The drill column of the table's rows."""
    return re.findall(r"^(?:us0|eu0) .* \d\d:\d\d:\d\d  (\S.*?)  +\d", said, re.MULTILINE)


def traces_of(state: Path) -> list[str]:
    """Mounts, loop devices, processes and control groups of a sandbox."""
    name = sha256(bytes(state / "full")).hexdigest()[:12]
    listed = [_output(argv) for argv in (("cat", "/proc/self/mounts"), ("ps", "axo", "args"))]
    # Of a loop device; losetup is not for everyone to find.
    listed += [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    lines = [line for text in listed for line in text.splitlines() if str(state) in line]
    return lines + [str(group) for group in Path("/sys/fs/cgroup").rglob(f"ebbtide-{name}-*")]


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class TwoNights:
    """Their sandbox, and a file as the first one saw it, which the second one saw changed."""

    state: Path
    first: subprocess.CompletedProcess[str]
    second: subprocess.CompletedProcess[str]
    then: File


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> TwoNights:
    if not HERE.full:
        pytest.skip(f"full nights do not work here: {HERE.why}")
    state = tmp_path_factory.mktemp("two-nights") / "state"
    servers = state / "full/trees"
    servers.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(a_server()), str(servers / "us0")], check=True)
    (servers / "us0/var/www/html/index.html").write_text("<h1>us0 is up</h1>\n")
    awkward.grow(servers / "us0/srv/awkward")

    first = night(state)
    then = seen(servers / "us0" / CHANGES_EVERY_NIGHT)
    return TwoNights(state, first, night(state), then)


def test_two_nights_of_real_servers_end_proven_and_leave_no_trace(two_nights: TwoNights) -> None:
    state, first, second = two_nights.state, two_nights.first, two_nights.second

    assert (first.returncode, second.returncode) == (0, 0), first.stdout + first.stderr + second.stdout + second.stderr
    assert verdicts(first.stdout) == verdicts(second.stdout) == ["proven, identical"] * 2
    assert "1 runs, 2 results, 2 points, 2 recoveries" in second.stdout
    assert "retention: 2 snapshots" in second.stdout
    assert open_to_others(state / "full") == []
    assert traces_of(state) == []


@for_make_long
def test_the_page_for_three_in_the_morning_is_followed_from_top_to_bottom(
    two_nights: TwoNights, tmp_path: Path
) -> None:
    state, home = two_nights.state, tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    shutil.copy(state / "full/operator/key", home / ".ssh/id_ed25519")
    repository = a_copy(tmp_path / "repository")
    (repository / ".venv").symlink_to(sys.prefix)
    reader = Reader(repository, state, home, two_nights.then)

    reader.sandbox("up")
    try:
        follow(reader)
    finally:
        reader.sandbox("down")

    assert traces_of(state) == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="takes capabilities away from root")
def test_a_night_without_the_right_to_mount_goes_on_after_an_interruption_and_is_identical_as_recorded(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    awkward.grow_plain(tree)
    for name in ("tmp/draft", "dev/null.txt", "home/u/.cache/x", "swapfile", "proc/notes", "a[1].txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)

    with tempfile.TemporaryDirectory(prefix="ebbtide-night-") as state:
        Path(state).chmod(0o755)  # each host's rsync has a user of its own, who must get through to its tree
        words = ("--tree", os.path.relpath(tree, ROOT))
        interrupted = a_night_until("push: complete", Path(state), *words)
        told = night(Path(state), *words, through=POWERLESS)
        (snapshot,) = Path(state).glob("degraded/disks/snap-*")
        landed = names_in(snapshot / "hosts/us0a/tree")
        kept_open = open_to_others(Path(state, "degraded"))

    assert interrupted == 130
    assert told.returncode == 0, told.stdout + told.stderr
    assert " degraded: " in told.stdout.splitlines()[0]
    assert verdicts(told.stdout) == ["as recorded, identical, not booted"] * 2
    assert landed == names_in(tree)
    assert kept_open == []


def a_night_until(moment: str, state: Path, *words: str) -> int:
    """Its exit code, when Ctrl-C comes as soon as it says this."""
    command = a_nights_command(state, *words, through=POWERLESS)
    begun = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert begun.stdout is not None
    next(line for line in begun.stdout if moment in line)
    os.killpg(begun.pid, signal.SIGINT)
    begun.communicate(timeout=LONGEST_SECONDS)
    return begun.returncode


def names_in(tree: Path) -> list[bytes]:
    """Every name below a directory: of one that is no system everything travels, whatever it is called."""
    return sorted(bytes(path.relative_to(tree)) for path in tree.rglob("*"))


def open_to_others(place: Path) -> list[str]:
    """What of a sandbox's own keeping other users could read."""
    kept = [place / name for name in ("s3", "records", "parameters", "store.img")]
    return [path.name for path in kept if path.exists() and path.stat().st_mode & 0o077]


def test_a_tree_that_does_not_exist_is_one_clear_line_and_nothing_is_made(tmp_path: Path) -> None:
    told = night(tmp_path / "state", "--tree", "/nowhere/at/all")

    assert told.returncode == 1
    assert told.stderr == (
        "ebbtide: tree /nowhere/at/all is not a directory; name one that exists: make night TREE=/some/path\n"
    )
    assert list((tmp_path / "state").rglob("*.img")) == []
