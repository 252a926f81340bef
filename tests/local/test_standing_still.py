"""An rsync that stands still, for whatever reason, holds up one night for a while, and none for ever."""

import shutil
from pathlib import Path

import pytest

from ebbtide_agent import procs
from ebbtide_agent.host import push
from tests.local.own_nights import Host, differing, entries

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="not installed: rsync")


def an_rsync_that_stops(host: Host) -> Path:
    """The first that pushes stands where it is, and does not hear that it shall end."""
    program = host.place / "stopping-rsync"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *--stats*) mkdir {host.place}/stopped 2>/dev/null && kill -STOP $$ ;; esac\n'
        'exec rsync "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for module, name, seconds in (
        (procs, "LOOK_EVERY_SECONDS", 0.1), (procs, "KILL_AFTER_SECONDS", 0.5), (push, "STILL_SECONDS", 2.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)
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
