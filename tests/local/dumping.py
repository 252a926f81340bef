"""Running the ready-made dump scripts for tests: as the agent does, here or in a machine that has the databases."""

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ebbtide_agent.host import scripts
from ebbtide_agent.report import ScriptResult
from ebbtide_console.sandbox.enclosure import enter_argv
from tests.debian import a_database_server
from tests.local.enclosed import verdict

EXAMPLES = Path(__file__).parents[2] / "agent/examples"
DUMPS = Path("/var/lib/ebbtide/dumps")
FAKES = "/srv/fakes"
# Never reached, but by a machine that has a lot else to do.
LIMIT_SECONDS = 300.0

# A layer over the tree that is gone with the machine; only the dumps are kept, as a backup would keep them.
SET_UP = """
set -eu
tree=$1 place=$2 dumps=$3
mount -t tmpfs -o mode=755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
cd "$place/root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev/shm
mkdir -p "./$4" etc/backupscripts srv/fakes
mount --bind "$dumps" "./$4"
echo ready
exec cat
"""


@dataclass(frozen=True)
class Machine:
    """Debian with the databases, in namespaces of its own, without a network."""

    enter: tuple[str, ...]
    dumps: Path

    def run(self, *argv: str, feed: str = "") -> str:
        """What a command prints, which must succeed."""
        ended = subprocess.run([*self.enter, *argv], input=feed, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        assert ended.returncode == 0, f"{shlex.join(argv)}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        return ended.stdout

    def works(self, *argv: str) -> bool:
        return subprocess.run([*self.enter, *argv], capture_output=True, timeout=LIMIT_SECONDS).returncode == 0

    def put(self, path: str, text: str) -> None:
        """Write an executable."""
        self.run("sh", "-c", 'cat >"$1" && chmod 755 "$1"', "sh", path, feed=text)


@contextmanager
def a_machine(place: Path, dumps: Path) -> Iterator[Machine]:
    """Start one with nothing running in it; whatever was started in it ends with it."""
    tree = a_database_server()
    if tree is None:
        pytest.skip("no tree with the databases; `make databases` makes it and runs these tests")
    if verdict().why:
        pytest.skip(f"no namespaces for a machine with the databases: {verdict().why}")
    place.mkdir()
    dumps.mkdir(exist_ok=True, mode=0o700)
    argv = ["sh", "-c", SET_UP, "sh", str(tree), str(place), str(dumps), str(DUMPS)]
    with subprocess.Popen(
        ["unshare", "--net", "--", *enter_argv(argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as unshare:
        try:
            assert unshare.stdout and unshare.stdout.readline() == b"ready\n"
            init = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().strip()
            enter = ("nsenter", f"--target={init}", "--mount", "--pid", "--net", "--", "chroot", str(place / "root"))
            yield Machine(enter, dumps)
        finally:
            unshare.kill()


def given(dumps: Path, path: str = scripts.PATH) -> dict[str, str]:
    """What the agent gives a script; another PATH lets it find another program first."""
    return {**scripts.environment_of("us0", datetime(2026, 11, 23, 2, 10, tzinfo=UTC), dumps), "PATH": path}


def run_script(
    script: Path, environment: Mapping[str, str], within: Sequence[str] = (), limit: float = LIMIT_SECONDS
) -> ScriptResult:
    """Run a script as the agent does; `within` is the command that runs it elsewhere."""
    if not within:
        return scripts.run_one(script, limit, environment)
    with tempfile.TemporaryDirectory() as place:
        entry = Path(place) / script.name
        entry.write_text(f"#!/bin/sh\nexec {shlex.join([*within, str(script)])}\n")
        entry.chmod(0o755)
        return scripts.run_one(entry, limit, environment)


def edited(name: str, place: Path, **settings: str) -> Path:
    """An operator's copy of an example, with other settings at its top; a value is as bash reads it."""
    text = (EXAMPLES / name).read_text()
    for setting, value in settings.items():
        found = re.search(rf"^{setting}=(\([^)]*\)|\S+)", text, re.MULTILINE)
        assert found, setting
        text = f"{text[: found.start(1)]}{value}{text[found.end(1) :]}"
    place.mkdir(exist_ok=True)
    copy = place / name
    copy.write_text(text)
    copy.chmod(0o755)
    return copy


def contents(dumps: Path) -> Mapping[str, tuple[int, int, bytes]]:
    """Every dump there is: its inode, its time, what is in it. What is hidden at the top is the script's own."""
    found = {}
    for path in dumps.glob("*/**/*"):
        if path.is_file() and not (path.parent.parent == dumps and path.name == ".lock"):
            about = path.stat()
            found[str(path.relative_to(dumps))] = (about.st_ino, about.st_mtime_ns, path.read_bytes())
    return found


def which(name: str) -> str:
    """Where a program is; a test that needs it is skipped without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
