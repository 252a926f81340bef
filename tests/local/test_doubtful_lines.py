"""Nights whose configuration is doubtful: they back up as ever, and say what is doubtful; a check calls it a fault."""

import json
import shutil
from pathlib import Path

import pytest

from ebbtide_agent.host_main import main
from ebbtide_agent.report import COMPLETE, WITH_WARNINGS
from tests.local.own_nights import Host

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def test_an_exclude_that_excludes_nothing_ends_no_night_and_is_remarked_on(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path / "target")
    (host.tree / "etc").mkdir()
    (host.tree / "etc/passwd").touch()
    host.paths.exclude.write_text("; ours\n./etc\n/\n*.o\n")

    doubtful = host.back_up()
    host.paths.exclude.write_text("/\n")
    of_one = host.back_up()
    host.paths.exclude.write_text("*.o\n")
    certain = host.back_up()

    said = f"{host.paths.exclude}:1: '; ours' probably excludes nothing; expected '# ours'"
    assert (doubtful.status, doubtful.entries) == (WITH_WARNINGS, 3)
    assert doubtful.problems == (f"{said} (and 2 more lines are doubtful, see ebbtide-agent check)",)
    assert of_one.problems == (f"{host.paths.exclude}:1: '/' probably excludes nothing; take the line out",)
    assert (certain.status, certain.problems) == (COMPLETE, ())


def test_a_check_calls_every_such_line_a_fault_and_looks_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, tmp_path / "target")
    host.configure()
    host.paths.exclude.write_text("./etc\n//\n")

    code = main(["check", "--json", "--etc", str(host.paths.etc), "--state", str(host.paths.state)])

    told = json.loads(capsys.readouterr().out)
    ours = [each for each in told if "probably excludes nothing" in each["what"]]
    assert code == 78
    assert [(each["level"], each["what"].partition("; ")[2]) for each in ours] == [
        ("fault", "expected '/etc'"),
        ("fault", "take the line out"),
    ]
    assert len(told) > len(ours) + 1
