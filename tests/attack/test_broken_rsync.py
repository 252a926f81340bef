"""A stolen key and a hole in rsync, through the receiver's own sshd and gate: a program of ours in rsync's place."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.attack.canaries import PLANTED
from tests.attack.scene import ATTACKER, NEIGHBOUR, Scene
from tests.attack.test_walls import ATTEMPTS, PYTHON, listening
from tests.local.receiver_machine import MAY_MOUNT, MISSING, PATIENCE_SECONDS, unpacked
from tools.build_agent import build

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="a receiver's walls need mount namespaces"),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: somebody has to try it within the walls"),
]
OF_ONE_ARCHITECTURE = {"i386", "x32"} if platform.machine() != "x86_64" else set[str]()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where every host's user may read."""
    with TemporaryDirectory(prefix="ebbtide-broken-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        yield place


@pytest.fixture(scope="module")
def program(place: Path) -> Sequence[str]:
    """An agent whose gate starts what is in `bin` once it is told to."""
    shutil.copy(HERE / "broken.py", place)
    (place / "agent").symlink_to(unpacked(build))
    for name in ("bin", "shown/python"):
        (place / name).mkdir(parents=True)
    shutil.copy(PYTHON, place / "shown/python/python3")
    if PYTHON.parents[1] != Path("/usr"):
        (place / "shown/prefix").symlink_to(PYTHON.parents[1])
    return (str(place / "broken.py"), "receiver", "boot")


def break_in(place: Path, outside: dict[str, object]) -> None:
    words = ["inside", "try", json.dumps(outside)]
    text = f"#!{place}/shown/python/python3 -IB\nimport sys\nsys.argv = {words!r}\n{(HERE / 'inside.py').read_text()}"
    (place / "bin/rsync").write_text(text)
    (place / "bin/rsync").chmod(0o755)
    (place / "broken").touch()


def what_is_outside(scene: Scene, port: int, abstract: str) -> dict[str, object]:
    neighbour = scene.receiver.tree(NEIGHBOUR)
    return {
        "planted": PLANTED,
        "secret": str(neighbour / "secret"),
        "another's record": str(neighbour.parent / "status.json"),
        "record": str(scene.tree.parent / "status.json"),
        "port": port,
        "abstract": abstract,
        "process": scene.receiver.process.pid,
        "bomb": False,
    }


@pytest.mark.attack("all of that by a host's key, through sshd and gate", row="X9", outcome="the same")
@pytest.mark.fault("X9")
def test_whoever_has_broken_into_the_rsync_of_a_real_session_gets_no_further(scene: Scene, place: Path) -> None:
    with listening() as (port, abstract):
        break_in(place, what_is_outside(scene, port, abstract))
        argv = [*scene.receiver.ssh_argv(ATTACKER), "127.0.0.1", "rsync --server --daemon ."]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as attacker:
            answers = dict(answers_of(attacker))
            neighbour = scene.neighbour_pushes()
            is_there = attacker.poll() is None
            _, said = attacker.communicate(timeout=PATIENCE_SECONDS)

    expected = {each.values[0]: each.values[1] for each in ATTEMPTS}
    assert {name: error for name, error in answers.items() if name not in OF_ONE_ARCHITECTURE} == {
        name: error for name, error in expected.items() if name not in OF_ONE_ARCHITECTURE
    }, said
    assert (neighbour.returncode, is_there, attacker.returncode) == (0, True, 0), neighbour.stderr + said


def answers_of(attacker: "subprocess.Popen[bytes]") -> Iterator[list[str]]:
    """What came of each attempt, until it says that these were all, and waits for us."""
    assert attacker.stdout
    for line in attacker.stdout:
        if line == b"all tried\n":
            return
        yield line.decode().rstrip("\n").split("\t", 1)
