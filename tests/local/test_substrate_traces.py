"""Whatever ends a sandbox, nothing of it is left: no process, mount or loop device; anyone may run the degraded one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from enclosed import PATIENCE_SECONDS, processes_with, verdict, wait_until

from ebbtide_console.sandbox.enclosure import enter_argv

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = "65534"

# A sandbox with a machine that has processes and, in full, its volume mounted, and a host with a process of its own.
# It closes properly at the end of its input.
SANDBOX = """
import subprocess, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ebbtide_console.sandbox.substrate import choose
substrate = choose(Path(sys.argv[2]))
substrate.listen()
if not substrate.has_disk("vol-0a"):
    substrate.create_disk("vol-0a", 1, None)
gone = []
substrate.start_machine("i-0a", substrate.assign_address(), "eu-west-1", '''
    L=${EBBTIDE_ROOT:-}/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a
    until [ -e "$L" ]; do sleep 0.02; done
    if [ -b "$L" ]; then mkfs.ext4 -qF "$L"; mount "$L" /srv; fi
    (setsid sh -c "sleep 600; echo WORD" &)
    echo mounted
    sh -c "sleep 600; echo WORD"
'''.replace("WORD", sys.argv[3]), gone.append)
substrate.attach("i-0a", "vol-0a")
hosts = ["us0"] if substrate.kind == "full" else []
work = ["sh", "-c", "sleep 600; echo " + sys.argv[3]]
busy = [subprocess.Popen(substrate.host_command(host, work)) for host in hosts]
while "mounted" not in substrate.machine_log("i-0a").read_text():
    time.sleep(0.02)
print(substrate.kind, "is up", flush=True)
sys.stdin.read()
substrate.snapshot_disk("vol-0a", "snap-0a")
substrate.stop_machine("i-0a")
while not gone:
    time.sleep(0.02)
substrate.close()
"""


def loop_devices() -> str:
    return subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout


def traces_of(word: str, state: Path) -> list[str]:
    """Processes that hold the word, mounts and loop devices that lie under the state."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]
    loops = [line for line in loop_devices().splitlines() if str(state) in line]
    return processes_with(word) + mounts + loops


def a_sandbox_command(state: Path, word: str) -> list[str]:
    return [sys.executable, "-c", SANDBOX, str(REPOSITORY), str(state), word]


def a_running_sandbox(command: list[str], word: str, kind: str) -> subprocess.Popen[str]:
    """Start one and return it once its machine is busy."""
    sandbox = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd="/"
    )
    assert sandbox.stdout is not None
    assert sandbox.stdout.readline() == f"{kind} is up\n"
    wait_until(lambda: len(processes_with(word)) >= 3, "the sandbox, and two in its machine")
    return sandbox


def needs_the_full_substrate() -> None:
    if verdict().why:
        pytest.skip(f"no full substrate here: {verdict().why}")


def the_sandbox_itself(word: str) -> int:
    """The process id of the sandbox inside its enclosure: the Python that neither unshare nor init wraps."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
            if words[1:2] == [b"-c"] and words[2:3] == [SANDBOX.encode()] and word.encode() in words:
                return int(entry.name)
    raise AssertionError("the sandbox is not running")


def test_killing_the_enclosure_leaves_nothing(tmp_path: Path) -> None:
    needs_the_full_substrate()
    word = uuid.uuid4().hex
    sandbox = a_running_sandbox(enter_argv(a_sandbox_command(tmp_path, word)), word, "full")
    assert str(tmp_path) in loop_devices()

    sandbox.kill()
    sandbox.communicate()

    wait_until(lambda: not traces_of(word, tmp_path), "leaving nothing")


def test_killing_the_sandbox_in_its_enclosure_leaves_nothing(tmp_path: Path) -> None:
    needs_the_full_substrate()
    word = uuid.uuid4().hex
    sandbox = a_running_sandbox(enter_argv(a_sandbox_command(tmp_path, word)), word, "full")

    os.kill(the_sandbox_itself(word), signal.SIGKILL)
    sandbox.communicate()

    assert sandbox.returncode == 128 + signal.SIGKILL
    wait_until(lambda: not traces_of(word, tmp_path), "leaving nothing")


def test_a_sandbox_goes_on_with_the_disks_of_one_that_was_killed_and_closes_without_a_trace(tmp_path: Path) -> None:
    needs_the_full_substrate()
    word = uuid.uuid4().hex
    killed = a_running_sandbox(enter_argv(a_sandbox_command(tmp_path, word)), word, "full")
    killed.kill()
    killed.communicate()

    sandbox = a_running_sandbox(enter_argv(a_sandbox_command(tmp_path, word)), word, "full")
    sandbox.communicate(timeout=PATIENCE_SECONDS)

    assert sandbox.returncode == 0
    wait_until(lambda: not traces_of(word, tmp_path), "leaving nothing")
    assert list(Path("/sys/fs/cgroup").rglob(f"ebbtide-{sha256(bytes(tmp_path)).hexdigest()[:12]}-*")) == []


def test_killing_a_degraded_sandbox_leaves_no_process_of_its_machines(tmp_path: Path) -> None:
    word = uuid.uuid4().hex
    sandbox = a_running_sandbox(a_sandbox_command(tmp_path, word), word, "degraded")

    sandbox.kill()
    sandbox.communicate()

    wait_until(lambda: not processes_with(word), "leaving nothing")


def a_python_for(user: tuple[str, ...]) -> str:
    """A Python that this user can start, from itself as well, new enough for the console."""
    starts_itself = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    new_enough = ("-c", starts_itself, "import sys; sys.exit(sys.version_info < (3, 11))")
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        if candidate and subprocess.run([*user, candidate, *new_enough], capture_output=True).returncode == 0:
            return candidate
    pytest.skip("an unprivileged user finds no Python 3.11 on this machine")


@contextmanager
def a_place_for_everyone() -> Iterator[Path]:
    """A directory of nobody's with a copy of the console in it."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-everyone-") as directory:
        place = Path(directory)
        for package in ("ebbtide_console", "chalicelib"):
            shutil.copytree(REPOSITORY / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", directory], check=True)
        yield place


def test_an_unprivileged_user_gets_the_degraded_substrate(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: all the other tests of the degraded substrate show it")
    as_nobody = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--")
    python = a_python_for(as_nobody)
    word = uuid.uuid4().hex

    with a_place_for_everyone() as place:
        command = [*as_nobody, python, "-B", "-c", SANDBOX, str(place), str(place / "state"), word]
        sandbox = a_running_sandbox(command, word, "degraded")
        sandbox.communicate(timeout=PATIENCE_SECONDS)

        assert sandbox.returncode == 0
        assert (place / "state/disks/snap-0a").is_dir()
    wait_until(lambda: not processes_with(word), "leaving nothing")
