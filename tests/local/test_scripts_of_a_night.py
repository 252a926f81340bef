"""A script that hangs, and a dump that is cut short, in a whole night over ssh: told, no restore point, and pushed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ebbtide_agent.host import night
from ebbtide_agent.host.config import Config, load
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import COMPLETE, PARTIAL
from tests.local.dumping import contents, edited, which
from tests.local.enclosed import processes_with
from tests.local.rsync_only import FarSide
from tests.local.test_examples import CUT_SHORT, a_database, a_fake, dump_of
from tests.local.test_to_remote import MISSING, Pushing

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture
def host(far: FarSide, tmp_path: Path) -> Pushing:
    host = Pushing(tmp_path, tmp_path / "unused")
    host.reach(far)
    (host.tree / "file").write_text("file")
    host.paths.scripts.mkdir()
    return host


@pytest.mark.fault("H2")
def test_a_script_that_hangs_is_ended_and_the_night_is_no_restore_point(
    host: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(paths: HostPaths) -> Config:
        return replace(load(paths), script_seconds=1.0)

    monkeypatch.setattr(night.configuration, "load", impatient)
    sleep = f"sleep 8{os.getpid()}"
    (host.paths.scripts / "10-dump").write_text(f"#!/bin/sh\n{sleep} & wait\n")
    (host.paths.scripts / "10-dump").chmod(0o755)

    report = host.back_up()

    assert (report.status, host.report_there()["status"]) == (PARTIAL, PARTIAL)
    assert report.scripts[0].timed_out
    assert "script 10-dump was killed after 1 s" in report.problems[0]
    assert processes_with(sleep) == []
    assert (host.there / "tree/file").read_text() == "file"


@pytest.mark.fault("H3")
def test_a_dump_that_is_cut_short_is_no_restore_point_and_yesterdays_is_what_travels(host: Pushing) -> None:
    which("flock")
    database = a_database(host.tree / "srv/shop.db")
    dumps = host.tree / "dumps"
    script = edited("10-sqlite", host.paths.scripts, DATABASES=f"({database})", SMALLEST_PERCENT="0")
    script.write_text(script.read_text().replace("#!/bin/bash\n", f"#!/bin/bash\nEBBTIDE_DUMPS={dumps}\n", 1))
    dumps.mkdir()
    whole = host.back_up()
    yesterday = contents(dumps)
    a_database(database)
    fake = a_fake(host.place, "sqlite3", CUT_SHORT.format(real=which("sqlite3"), then=': >"$PWD/.part"'))
    script.write_text(script.read_text().replace("EBBTIDE_DUMPS=", f"PATH={fake}\nEBBTIDE_DUMPS=", 1))

    cut = host.back_up()

    there = host.there / "tree" / dump_of(database, dumps).relative_to(host.tree)
    assert (whole.status, cut.status, host.report_there()["status"]) == (COMPLETE, PARTIAL, PARTIAL)
    assert "not a whole dump" in cut.scripts[0].output and "script 10-sqlite ended" in cut.problems[0]
    assert contents(dumps) == yesterday
    assert there.read_bytes() == dump_of(database, dumps).read_bytes()
