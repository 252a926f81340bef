"""The one file that goes onto hosts: the same bytes from the same sources, and it runs."""

import subprocess
import sys
from pathlib import Path

from tools.build_agent import build


def test_it_is_built_the_same_every_time(tmp_path: Path) -> None:
    build(tmp_path / "one.pyz")
    build(tmp_path / "two.pyz")

    assert (tmp_path / "one.pyz").read_bytes() == (tmp_path / "two.pyz").read_bytes()


def test_its_help_teaches_without_anything_installed(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")

    shown = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "agent.pyz"), "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout

    assert "/etc/backup_config" in shown
    assert "exit codes:" in shown
