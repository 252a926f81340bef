"""The agent's two files: the same bytes from the same sources, for any Python from 3.9 with nothing installed."""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.test_imports import imported_by, python_files
from tools.build_agent import AGENT, build, build_for_hosts

# What is there when someone who uses AWS has installed it, and is imported late, in the one door to AWS.
OPTIONAL = {"boto3", "botocore"}
OF_MACHINES = ("/receiver/boot.py", "/receiver/opened", "/restore/", "/commands/machine.py", "/commands/gate.py")
both = pytest.mark.parametrize("make", [build, build_for_hosts])


def said_by(agent: Path, *words: str) -> str:
    argv = [sys.executable, "-I", "-S", str(agent), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=agent.parent).stdout


@both
def test_it_is_built_the_same_every_time(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@both
def test_its_help_teaches_without_anything_installed(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "agent")

    shown = said_by(tmp_path / "agent", "run", "--help")

    assert "/etc/backup_config" in shown
    assert "exit codes:" in shown


def test_a_hosts_file_has_nothing_of_what_machines_run(tmp_path: Path) -> None:
    build_for_hosts(tmp_path / "agent")

    names = zipfile.ZipFile(tmp_path / "agent").namelist()
    offered = said_by(tmp_path / "agent", "--help")

    assert {"ebbtide_agent/host/night.py", "ebbtide_agent/receiver/gate.py"} <= {*names}
    assert [name for name in names if any(part in f"/{name}" for part in OF_MACHINES)] == []
    assert "back this host up" in offered
    assert "gate" not in offered


def test_a_machines_file_has_the_hosts_commands_too(tmp_path: Path) -> None:
    build(tmp_path / "agent")

    offered = said_by(tmp_path / "agent", "--help")

    assert all(command in offered for command in ("run", "receiver", "gate", "recovery"))


def test_every_file_is_in_the_syntax_of_python_3_9() -> None:
    for path in python_files("agent/ebbtide_agent"):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def test_the_agent_imports_the_standard_library_alone() -> None:
    known = {*sys.stdlib_module_names, *OPTIONAL, "ebbtide_agent"}

    strays = [
        f"{path.relative_to(AGENT)} imports {name}"
        for path in python_files("agent/ebbtide_agent")
        for name in sorted(imported_by(path))
        if name.partition(".")[0] not in known
    ]

    assert strays == []
