"""Whoever has broken into a host's rsync fills what memory its control group lets it, while another host pushes."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ebbtide_agent.receiver import confine
from tests.attack.scene import ATTACKER, NEIGHBOUR
from tests.groups import a_group_in
from tests.local.processes import below, name_of
from tests.local.receiver_machine import (
    MISSING,
    PATIENCE_SECONDS,
    Receiver,
    a_receiver,
    a_report,
    an_aws,
    unpacked,
    wait_until,
)
from tools.build_agent import build

HIERARCHY = Path("/sys/fs/cgroup")
DIVIDED = HIERARCHY / "cgroup.subtree_control"
HAS_MEMORY = DIVIDED.exists() and "memory" in DIVIDED.read_text().split()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not HAS_MEMORY, reason=f"no memory controller of cgroup v2 in {HIERARCHY}; `make machine`"),
]
# The whole machine's, so to speak: the receiver, its gates, and what an attacker can fill.
MEMORY = 384 << 20
# For a minute: an emulated processor is busy with so much memory for half of it.
PUSHED = 6 << 20
JOIN = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); "
# As within the walls, but for the filter: what a kernel may count for nobody tomorrow is not known today.
FILL = """
file = os.memfd_create("us0")
while os.fstat(file).st_size < int(sys.argv[2]):
    os.write(file, bytes(1 << 20))
"""


def pushing(receiver: Receiver, host: str, source: Path) -> "subprocess.Popen[bytes]":
    """So slowly that much can happen meanwhile; it is under way."""
    before, shell = rsyncs(receiver), shlex.join(receiver.ssh_argv(host))
    argv = ["rsync", "-a", "--bwlimit=100", "-e", shell, f"{source}/", "127.0.0.1::tree/"]
    push = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(rsyncs(receiver)) > len(before), f"{host}'s rsync")
    return push


def rsyncs(receiver: Receiver) -> list[int]:
    return [process for process in below(receiver.process.pid) if name_of(process) == "rsync"]


def group_of(process: int) -> Path:
    return HIERARCHY / Path(f"/proc/{process}/cgroup").read_text().strip().removeprefix("0::/")


def filled_beside(process: int) -> int:
    """How a program ends that fills memory as one of the same session; no more than twice of all there is."""
    words = [sys.executable, "-c", JOIN + FILL, f"{group_of(process)}/cgroup.procs", str(2 * MEMORY)]
    return subprocess.run(["choom", "--adjust", "1000", "--", *words], timeout=PATIENCE_SECONDS).returncode


@pytest.mark.attack("fill the receiver's memory", row="X9", outcome="its own sessions end, and no others")
@pytest.mark.fault("X9")
def test_who_fills_the_memory_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(PUSHED))
    with a_group_in(HIERARCHY) as group, an_aws() as aws:
        (group / "memory.max").write_text(str(MEMORY))
        begin = ("-c", f"{JOIN} os.execv(sys.executable, [sys.executable, *sys.argv[2:]])", f"{group}/cgroup.procs")
        program = (*begin, str(unpacked(build)), "receiver", "boot")
        with a_receiver(aws, confine.SEPARATE, (ATTACKER, NEIGHBOUR), program=program) as receiver:
            with pushing(receiver, ATTACKER, tmp_path) as attacker:
                (its_rsync, *_) = rsyncs(receiver)
                with pushing(receiver, NEIGHBOUR, tmp_path) as neighbour:
                    code = filled_beside(its_rsync)
                    codes = [push.wait(PATIENCE_SECONDS) for push in (attacker, neighbour)]
            receiver.ssh(ATTACKER, "report", feed=a_report(receiver, ATTACKER, status="partial"))
            said = receiver.report(ATTACKER)
            is_there, log = receiver.process.poll() is None, receiver.log()

    assert code == -signal.SIGKILL
    assert codes[0] != 0 and codes[1] == 0, (codes, log)
    assert is_there and "they alone end" in log, log
    assert said and "a larger instance" in said["problems"][0], said
