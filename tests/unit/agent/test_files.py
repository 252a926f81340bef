"""A small file is written whole, or it is said which one could not be."""

import subprocess
import sys
from pathlib import Path

import ebbtide_agent


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
