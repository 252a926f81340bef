"""A host whose receiver is not there yet: the agent's command line, an empty port, and then a real receiver on it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ebbtide_agent.errors import TransientError
from ebbtide_agent.receiver import confine
from tests.local.receiver_machine import MISSING, PATIENCE_SECONDS, Receiver, a_receiver, an_aws

IS_ROOT = os.geteuid() == 0

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def an_agent_at_work(receiver: Receiver, tree: Path, etc: Path, minutes: str) -> "subprocess.Popen[str]":
    """An agent that waits so many minutes for its receiver, and says so."""
    paths = receiver.configure("us0", tree, etc, WAIT_MINUTES=minutes)
    words = [sys.executable, str(receiver.agent), "run", "--etc", str(paths.etc), "--state", str(paths.state)]
    words += ["--progress", "lines", "--log", str(etc / "no-log")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.fault("N2")
def test_whoever_finds_no_receiver_tries_again_until_one_comes_up_and_gives_up_at_its_cut_off(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "srv").mkdir(parents=True)
    (tree / "srv/file").write_bytes(b"here")
    with an_aws() as aws, a_receiver(aws, confine.SEPARATE if IS_ROOT else confine.OWN, ("us0", "eu0")) as receiver:
        receiver.process.send_signal(signal.SIGTERM)
        receiver.process.wait(PATIENCE_SECONDS)

        with an_agent_at_work(receiver, tree, tmp_path / "impatient", "1") as impatient:
            said, told = impatient.communicate(timeout=120)
        with an_agent_at_work(receiver, tree, tmp_path / "patient", "10") as patient:
            assert patient.stdout
            first = next(line for line in patient.stdout if "trying again" in line)
            receiver.next_night("main/2026-11-24/1")
            rest, troubles = patient.communicate(timeout=180)

        assert impatient.returncode == TransientError.exit_code == 75, said + told
        assert "trying again" in said and "Connection refused" in told and "Traceback" not in told
        assert "Connection refused" in first
        assert patient.returncode == 0, rest + troubles
        report = receiver.report("us0")
        assert report and report["status"] == "complete", rest + troubles
        assert (receiver.tree("us0") / "srv/file").read_bytes() == b"here"
