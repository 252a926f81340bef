"""A backup gives way to its host's own work, and says nothing to cron unless something is wrong."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebbtide_agent.host.identity import Installed, encode_installed
from tests.local.own_nights import Host, agent
from tools.build_agent import build_for_hosts

CRONS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file, as it is installed."""
    program = tmp_path_factory.mktemp("program") / "ebbtide-agent"
    build_for_hosts(program)
    return program


def as_cron_starts_it(host: Host, program: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """By a shell, with cron's environment and nothing of ours, without a terminal."""
    places = ("--etc", str(host.paths.etc), "--state", str(host.paths.state), "--log", str(host.place / "no-log"))
    line = shlex.join([sys.executable, str(program), "run", "--progress", "none", *places, *words])
    environment = {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": CRONS_PATH}
    return subprocess.run(
        ["/bin/sh", "-c", line],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )


def test_cron_has_nothing_to_mail_while_all_is_well(host: Host, program: Path) -> None:
    host.configure(WAIT_MINUTES="1")

    ended = as_cron_starts_it(host, program)

    said = [line for line in (ended.stdout + ended.stderr).splitlines() if "disk warning" not in line]
    assert (ended.returncode, said) == (0, [])
    assert place(host) == ["10", "best-effort: prio 7"]


def test_of_a_night_with_warnings_cron_mails_one_line_and_of_a_bad_one_all(host: Host, program: Path) -> None:
    for name in ("20-first", "21-second"):
        script = host.paths.scripts / name
        script.write_text("#!/bin/sh\n# ebbtide: optional\necho no luck\nexit 1\n")
        script.chmod(0o755)
    host.configure()

    with_warnings = as_cron_starts_it(host, program)
    for name in ("20-first", "21-second"):
        (host.paths.scripts / name).write_text("#!/bin/sh\necho no luck\nexit 1\n")
    bad = as_cron_starts_it(host, program)

    (line,) = with_warnings.stderr.splitlines()
    assert (with_warnings.returncode, with_warnings.stdout) == (0, "")
    assert line.startswith("ebbtide: complete-with-warnings: ") and "20-first" in line and " more, which" in line
    assert (bad.returncode, bad.stdout) == (3, "")
    assert all(name in bad.stderr for name in ("20-first", "21-second"))


def test_cron_asks_every_hour_and_hears_nothing_while_no_night_is_due(host: Host, program: Path) -> None:
    host.configure()
    installed = Installed({}, "02:00-06:00", 150)
    host.paths.state.mkdir(exist_ok=True)
    host.paths.installed.write_bytes(encode_installed(installed))
    of_today = as_cron_starts_it(host, program, "--catch-up")
    nights = [len(host.snapshots())]
    os.utime(host.paths.installed, (0, 0))

    asked = [as_cron_starts_it(host, program, "--catch-up") for _ in range(2)]
    nights.append(len(host.snapshots()))

    assert [ended.returncode for ended in (of_today, *asked)] == [0, 0, 0]
    assert of_today.stdout + of_today.stderr + asked[1].stdout + asked[1].stderr == ""
    assert nights == [0, 1]
