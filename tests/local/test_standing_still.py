"""What stands still, for whatever reason, holds up one night for a while, and none for ever."""

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ebbtide_agent.commands import run
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host import due, scan
from ebbtide_agent.host.index import Block
from ebbtide_agent.host.scan import ALL, Share, Tree
from tests.local.own_nights import Host, as_agent, differing, entries, give_up_soon

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")


def an_rsync_that_stops(host: Host, word: str = "--stats") -> Path:
    """The first that is told this word stands where it is, and does not hear that it shall end."""
    program = host.place / "stopping-rsync"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *"{word}"*) mkdir {host.place}/stopped 2>/dev/null && kill -STOP $$ ;; esac\n'
        'exec rsync "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    give_up_soon(monkeypatch)
    host = Host(tmp_path, tmp_path / "backup")
    (host.tree / "file").write_text("content")
    return host


@pytest.mark.fault("N3")
def test_an_rsync_that_stands_still_is_ended_and_the_next_night_goes_on(host: Host) -> None:
    stopping = str(an_rsync_that_stops(host))

    first, second = (host.back_up(RSYNC=stopping) for _ in range(2))

    assert (first.status, ["stood still" in each for each in first.problems]) == ("partial", [True])
    assert (second.status, second.problems) == ("complete", ())
    assert differing(entries(host.newest()), entries(host.tree)) == {}


def test_a_question_to_rsync_that_stands_still_ends_the_night_and_the_next_one_goes_on(host: Host) -> None:
    stopping = str(an_rsync_that_stops(host, "--debug=FILTER"))

    with pytest.raises(PermanentError, match="stood still"):
        host.back_up(RSYNC=stopping)
    report = host.back_up(RSYNC=stopping)

    assert (report.status, report.problems) == ("complete", ())


def test_a_count_by_rsync_that_stands_still_ends_the_night_and_the_next_one_goes_on(host: Host) -> None:
    # Only rsync knows what it means.
    host.paths.exclude.write_text("[x]y\n")
    host.back_up()
    stopping = str(an_rsync_that_stops(host, "--stats --no-human-readable --filter"))

    with pytest.raises(PermanentError, match="stood still"):
        host.back_up(RSYNC=stopping)
    report = host.back_up(RSYNC=stopping)

    assert (report.status, report.problems) == ("complete", ())


def test_a_restores_rsync_that_stands_still_is_ended_and_tried_again_while_there_is_time(host: Host) -> None:
    host.back_up()
    host.configure(RSYNC=str(an_rsync_that_stops(host)))

    restored = as_agent(host, "restore", str(host.tree / "file"), cwd=host.place)

    assert "rsync stood still" in restored.stderr
    assert (restored.returncode, "complete: 1 files" in restored.stderr) == (0, True), restored.stderr


def test_a_scan_that_stands_still_is_ended_and_everything_is_pushed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand(tree: Tree, share: Share = ALL) -> Iterator[Block]:
        os.kill(os.getpid(), signal.SIGSTOP)
        yield from ()

    monkeypatch.setattr(scan, "scan", stand)
    report = host.back_up()
    monkeypatch.undo()

    assert (report.status, report.problems) == ("complete", ())
    assert "a full push: there can be no index: the scan was not done within 2 s" in host.said
    assert differing(entries(host.newest()), entries(host.tree)) == {}


# As long as nobody has said that this night goes on and on, for so many looks of its own.
UNTIL_IT_IS_TOLD = """#!/bin/sh
looks={looks}
until [ $looks -eq 0 ] || grep -q "has not come to its end" /proc/$PPID/fd/2
do
    sleep 0.05
    looks=$((looks - 1))
done
"""


@pytest.mark.parametrize(
    ("variables", "looks", "times"), [({"INVOCATION_ID": "1"}, 400, 1), ({}, 20, 0)], ids=["systemd", "cron"]
)
def test_what_systemd_runs_looks_itself_whether_it_goes_on_and_on_as_nobody_else_does_then(
    host: Host, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], looks: int, times: int
) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(due, "LONG", timedelta(0))
    monkeypatch.setattr(run, "LOOK_EVERY_SECONDS", 0.01)
    host.configure()
    script = host.paths.scripts / "10-goes-on"
    script.parent.mkdir()
    script.write_text(UNTIL_IT_IS_TOLD.format(looks=looks))
    script.chmod(0o755)

    ended = as_agent(host, "run", "--progress", "none", "--log", str(host.place / "no-log"))

    told = [line for line in ended.stderr.splitlines() if "has not come to its end after 0 hours" in line]
    assert (ended.returncode, min(len(told), 1)) == (0, times), ended.stderr
