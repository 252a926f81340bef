"""Whatever starts the agent, and with whatever locale: it is the same night."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ebbtide_agent
from tests.local.own_nights import Host

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")

# The names of the C locale as earlier Pythons took them: ASCII.
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLOSED = {"all": "<&- >&- 2>&-", "the output": ">&-"}


def begun(host: Host, *words: str, closed: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The agent as a program, its `closed` streams as a shell says it."""
    program = host.paths.etc / "ebbtide-agent"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(ebbtide_agent.__file__).parents[1])!r})\n"
        "from ebbtide_agent.host_main import main\nsys.exit(main())\n"
    )
    places = ("--etc", str(host.paths.etc), "--state", str(host.paths.state))
    argv = ("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, str(program), *words, *places)
    return subprocess.run(argv, capture_output=True, env={**os.environ, **environment})


def names_in(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_a_night_needs_no_stream_of_whoever_starts_it(tmp_path: Path, closed: str) -> None:
    host = Host(tmp_path, tmp_path / "target")
    host.configure()
    (host.tree / "file").touch()

    ended = begun(host, "run", closed=closed)

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(host.paths.last_report.read_bytes())["status"] == "complete"


def test_lines_mean_the_same_names_in_every_locale(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "target")
    host.configure()
    host.paths.exclude.write_text("/übel\n/zürich/…\n")
    for name in ("übel", "zürich", "zürich/…", "zürich/gut"):
        (host.tree / name).mkdir()

    ended = begun(host, "run", **NOT_UTF8)
    explained = begun(host, "explain", f"{host.tree}/zürich/…", **NOT_UTF8)

    (tree,) = (tmp_path / "target").glob("2*/tree")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "übel" not in names_in(tree) and names_in(tree / "zürich") == {"gut"}
    assert explained.returncode == 1 and explained.stdout.decode().startswith(f"{host.tree}/zürich/…: not backed up")


def test_help_is_shown_in_every_locale(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "target")
    host.paths.etc.mkdir(parents=True, exist_ok=True)

    assert "AAAA…" in begun(host, "install", "--help", **NOT_UTF8).stdout.decode()
