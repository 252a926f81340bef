"""A small file is written whole, or it is said which one could not be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ebbtide_agent
from ebbtide_agent.files import is_blank, write_whole


def test_a_file_that_there_is_no_room_for_is_named(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from ebbtide_agent.files import write_whole;"
        f"write_whole(Path('{tmp_path}/target.json'), b'much')"
    )
    package = {"PYTHONPATH": str(Path(ebbtide_agent.__file__).parents[1])}

    ended = subprocess.run(
        ["sh", "-c", f'ulimit -f 0; exec {sys.executable} -c "{program}"'], env=package, capture_output=True, text=True
    )

    assert ended.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path}/target.json'"
    assert list(tmp_path.iterdir()) == []


def test_what_a_first_write_has_left_that_was_killed_makes_no_file_system_somebodys(tmp_path: Path) -> None:
    mark = tmp_path / "receiver.json"
    (tmp_path / "lost+found").mkdir()

    write_and_be_killed(mark)

    assert not mark.exists()
    assert is_blank(tmp_path, mark)
    assert not is_blank(tmp_path, tmp_path / "ebbtide.json"), "of another one it is"


def write_and_be_killed(path: Path) -> None:
    """When all of it is written, and it has not got its name."""
    if (child := os.fork()) == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_whole(path, b"{}")
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("name", [".hidden", "receiver.json", ".receiver.json.new.old"])
def test_any_other_file_is_somebodys(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    assert not is_blank(tmp_path, tmp_path / "receiver.json")
