"""The one file on the oldest Python that it promises to run on: two nights and the way back, as a host has them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local.own_nights import Host, differing, entries
from tools.build_agent import build_for_hosts

VERSION = "3.9"


def found() -> str | None:
    """An interpreter of that version which runs: of pyenv's, or the system's."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{VERSION}.*/bin/python{VERSION}"))
    candidates = [*map(str, of_pyenv), shutil.which(f"python{VERSION}")]
    return next((each for each in candidates if each and runs(each)), None)


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


OLDEST = found()
pytestmark = [
    pytest.mark.skipif(OLDEST is None, reason=f"there is no Python {VERSION} on this machine"),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "etc").mkdir()
    (host.tree / "etc/hostname").write_text("us0")
    (host.tree / "etc/link").symlink_to("hostname")
    host.configure()
    build_for_hosts(tmp_path / "ebbtide-agent")
    return host


def ask(host: Host, *words: str) -> str:
    """What the agent says to it, with the standard library alone."""
    places = ("--etc", str(host.paths.etc), "--state", str(host.paths.state))
    argv = [str(OLDEST), "-I", "-S", str(host.place / "ebbtide-agent"), *words, *places]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=host.place, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_nights_are_played_and_a_file_comes_back(host: Host) -> None:
    ask(host, "run")
    (host.tree / "etc/new").write_text("new")
    ask(host, "run")
    etc = host.tree / "etc"
    ask(host, "restore", str(etc), "--into", str(host.place / "back"))

    assert len(host.snapshots()) == 2
    assert differing(entries(host.newest()), entries(host.tree)) == {}
    assert differing(entries(next((host.place / "back").rglob("etc"))), entries(etc)) == {}


def test_it_says_what_is_backed_up_and_what_there_is(host: Host) -> None:
    ask(host, "run")

    assert "backed up" in ask(host, "explain", str(host.tree / "etc/hostname"))
    assert host.snapshots()[0] in ask(host, "list", "--json")
    assert "complete" in ask(host, "status")
