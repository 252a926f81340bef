"""The agent's one file, unpacked and compiled, is the same program, and starts without compiling anything again."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ebbtide_agent.compiled import compiled
from ebbtide_agent.errors import PermanentError
from tools.build_agent import PACKAGE, build


def shown_by(program: Path, *words: str) -> str:
    return subprocess.run(
        [sys.executable, *words, str(program), "--help"], capture_output=True, text=True, check=True
    ).stdout


def test_it_is_the_same_program(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")

    program = compiled(tmp_path / "agent.pyz", tmp_path / "agent")

    assert shown_by(program) == shown_by(tmp_path / "agent.pyz")


def test_nothing_of_it_is_compiled_again(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")
    program = compiled(tmp_path / "agent.pyz", tmp_path / "agent")
    before = {path: path.stat().st_mtime_ns for path in program.rglob("*.pyc")}

    shown_by(program)

    assert {path: path.stat().st_mtime_ns for path in program.rglob("*.pyc")} == before
    assert len(before) > len(list(PACKAGE.rglob("*.py"))) - 1


def test_a_newer_one_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")
    stale = compiled(tmp_path / "agent.pyz", tmp_path / "agent") / "ebbtide_agent/__main__.py"
    stale.write_text("raise SystemExit('an older one')\n")

    compiled(tmp_path / "agent.pyz", tmp_path / "agent")

    assert "COMMAND" in shown_by(tmp_path / "agent")


def test_what_an_older_one_had_besides_is_gone(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")
    module = compiled(tmp_path / "agent.pyz", tmp_path / "agent") / "ebbtide_agent/program/__init__.py"
    module.parent.mkdir()
    module.write_text("raise SystemExit('a package goes before a module')\n")

    compiled(tmp_path / "agent.pyz", tmp_path / "agent")

    assert "COMMAND" in shown_by(tmp_path / "agent")


def test_also_one_that_is_unpacked_within_the_same_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = zipfile.ZipFile.extractall

    def at_one_time(archive: zipfile.ZipFile, into: Path) -> None:
        unpack(archive, into)
        for path in into.rglob("*.py"):
            os.utime(path, (1_700_000_000, 1_700_000_000))

    monkeypatch.setattr(zipfile.ZipFile, "extractall", at_one_time)
    for word in ("older", "newer"):
        with zipfile.ZipFile(tmp_path / "agent.pyz", "w") as archive:
            archive.writestr("__main__.py", f"print({word!r})")
        program = compiled(tmp_path / "agent.pyz", tmp_path / "agent")

    assert shown_by(program) == "newer\n"


KILLED = """
import os, sys, zipfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ebbtide_agent.compiled import compiled
def cut_short(archive, into):
    archive.extract("ebbtide_agent/__main__.py", into)
    (into / "of-an-older-one.py").touch()
    os.kill(os.getpid(), 9)
zipfile.ZipFile.extractall = cut_short
compiled(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_one_that_was_killed_on_the_way_leaves_what_was_there_or_nothing(tmp_path: Path) -> None:
    program, place = tmp_path / "agent.pyz", tmp_path / "agent"
    for is_there in (False, True):
        build(program)
        killed = subprocess.run([sys.executable, "-c", KILLED, str(PACKAGE.parent), str(program), str(place)])

        assert killed.returncode == -signal.SIGKILL
        assert place.exists() == is_there
        (tmp_path / ".agent.before/left").mkdir(parents=True)
        assert not is_there or "COMMAND" in shown_by(place)
        compiled(program, place)
        assert {path.name for path in tmp_path.iterdir()} == {"agent.pyz", "agent"}
        assert not (place / "of-an-older-one.py").exists()


def test_a_file_that_is_damaged_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    program = tmp_path / "agent.pyz"
    build(program)
    place = compiled(program, tmp_path / "agent")
    body = bytearray(program.read_bytes())
    with zipfile.ZipFile(program) as archive:
        body[archive.getinfo("ebbtide_agent/procs.py").header_offset + 200] ^= 0xFF
    program.write_bytes(body)

    with pytest.raises(PermanentError, match="is damaged"):
        compiled(program, place)

    assert "COMMAND" in shown_by(place)


def test_a_package_is_started_as_it_is(tmp_path: Path) -> None:
    assert compiled(PACKAGE, tmp_path / "agent") == PACKAGE
    assert not (tmp_path / "agent").exists()
