"""The directions that imports may take, and the doors that effects go through."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ["app.py", "chalicelib", "agent/ebbtide_agent", "ebbtide_console"]

# A room, and what nothing in it may import.
FORBIDDEN = {
    "chalicelib/core": ["chalicelib.flows", "chalicelib.aws", "chalicelib.ports", "chalicelib.wiring",
                        "chalicelib.wire", "boto3", "logging", "aws_lambda_powertools", "os", "random", "secrets"],
    "chalicelib/flows": ["chalicelib.aws", "chalicelib.wiring", "boto3", "chalice", "os"],
    "chalicelib/aws": ["chalicelib.flows", "chalicelib.wiring"],
    "chalicelib": ["ebbtide_agent", "ebbtide_console", "app"],
    "agent/ebbtide_agent": ["chalicelib", "ebbtide_console", "app"],
    "agent/ebbtide_agent/host": ["ebbtide_agent.receiver", "ebbtide_agent.restore", "ebbtide_agent.peer"],
    "agent/ebbtide_agent/receiver": ["ebbtide_agent.host", "ebbtide_agent.restore", "ebbtide_agent.peer"],
    "agent/ebbtide_agent/peer": ["ebbtide_agent.host", "ebbtide_agent.restore", "ebbtide_agent.cloud", "boto3"],
    "agent/ebbtide_agent/restore": ["ebbtide_agent.host", "ebbtide_agent.receiver"],
}  # fmt: skip

# An effect, and the only files that may import it.
DOORS = {
    "boto3": ["chalicelib/aws/", "chalicelib/wiring.py", "agent/ebbtide_agent/cloud.py", "ebbtide_console/session.py"],
    "botocore": [
        "chalicelib/aws/",
        "chalicelib/wiring.py",
        "agent/ebbtide_agent/cloud.py",
        "ebbtide_console/session.py",
    ],
    "urllib.request": ["chalicelib/web.py"],
    "subprocess": ["agent/ebbtide_agent/procs.py", "ebbtide_console/procs.py"],
}


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@cache
def imported_by(path: Path) -> set[str]:
    """The absolute names of every module a file imports, lazily or not."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def is_or_is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_lies_in_its_direction(room: str) -> None:
    files = python_files(room)

    strays = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in sorted(imported_by(path))
        for module in FORBIDDEN[room]
        if is_or_is_within(name, module)
    ]

    assert files, f"{room} is gone: mend this test"
    assert strays == []


def test_a_file_system_is_synced_through_one_door() -> None:
    doors = [path.name for path in python_files("agent/ebbtide_agent") if '"sync", "-f"' in path.read_text()]

    assert doors == ["disk.py"]


@pytest.mark.parametrize("effect", DOORS)
def test_an_effect_has_one_door(effect: str) -> None:
    files = [path for place in CODE for path in python_files(place)]

    strays = [
        str(path.relative_to(ROOT))
        for path in files
        if any(is_or_is_within(name, effect) for name in imported_by(path))
        and not any(str(path.relative_to(ROOT)).startswith(door) for door in DOORS[effect])
    ]

    assert strays == []
