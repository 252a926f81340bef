"""The agent as a program: whoever does not know it yet is taught, and an error is a line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.host_main import main

NOBODY = 65534


def test_without_a_word_it_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "First `install`, then `check`" in err and "    uninstall " in err


@pytest.mark.parametrize("words", [["run"], ["peer", "gate"]], ids=" ".join)
def test_what_is_started_by_itself_imports_no_command_but_its_own(words: list[str]) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(ebbtide_agent.__file__).parents[1])!r})"
    program += f"; from ebbtide_agent.host_main import commands_for; commands_for({words}); print(*sys.modules)"

    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert f"ebbtide_agent.commands.{words[0]}" in imported
    assert not {"ebbtide_agent.commands.restore", "ebbtide_agent.commands.check"} & {*imported}


def test_what_the_system_refuses_is_told_without_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").write_text("no directory\n")

    code = main(["run", "--etc", str(tmp_path), "--state", str(tmp_path / "state/below")])

    assert (code, capsys.readouterr().err) == (1, f"ebbtide: {tmp_path}/state/below: Not a directory\n")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can be somebody else")
def test_whoever_is_not_root_is_told_how_to_do_without(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    program = f"import sys; sys.path.insert(0, {str(Path(ebbtide_agent.__file__).parents[1])!r})"
    program += "; from ebbtide_agent.host_main import main; sys.exit(main())"
    nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    words = ("status", "--etc", str(tmp_path), "--state", str(tmp_path / "state"))

    ended = subprocess.run([*nobody, sys.executable, "-c", program, *words], capture_output=True, text=True)

    assert ended.returncode == 1
    assert "history.jsonl: Permission denied; that takes root, or places of your own: --etc ~/" in ended.stderr


def test_whom_nobody_reads_any_more_ends_as_other_programs_do(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(ebbtide_agent.__file__).parents[1])!r})"
    program += "; from ebbtide_agent.host_main import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)

    words = ("status", "--etc", str(tmp_path), "--state", str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", program, *words], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (141, b"")
