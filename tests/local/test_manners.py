"""A backup gives way to its host's own work, and says nothing to cron unless something is wrong."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local.own_nights import Host, agent

MISSING = [name for name in ("rsync", "cp", "ionice", "nice") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "file").write_text("content")
    scripts = host.paths.scripts
    scripts.mkdir()
    (scripts / "10-place").write_text("#!/bin/sh\n(nice; ionice -p $$) >$EBBTIDE_DUMPS/place\n")
    (scripts / "10-place").chmod(0o755)
    return host


def run(host: Host, *before: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    host.configure(**settings)
    return subprocess.run([*before, *agent(host)], capture_output=True, text=True)


def place(host: Host) -> list[str]:
    """How far back in the queues what it started was."""
    return (host.paths.dumps / "place").read_text().splitlines()


def test_what_it_starts_comes_after_others_and_nothing_is_said_while_all_is_well(host: Host) -> None:
    ended = run(host)

    said = [line for line in (ended.stdout + ended.stderr).splitlines() if "disk warning" not in line]
    assert (ended.returncode, said) == (0, [])
    assert place(host) == ["10", "best-effort: prio 7"]


def test_how_far_back_it_is_can_be_chosen_and_who_is_further_back_stays_there(host: Host) -> None:
    run(host, "nice", "-n", "15", NICE="5", IONICE="idle")

    assert place(host) == ["15", "idle"]


def test_what_is_wrong_is_said(host: Host) -> None:
    (host.paths.scripts / "20-dump").write_text("#!/bin/sh\nexit 1\n")
    (host.paths.scripts / "20-dump").chmod(0o755)

    ended = run(host)

    assert ended.returncode == 3 and "20-dump" in ended.stderr
    assert ended.stdout == ""
