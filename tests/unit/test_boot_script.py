"""The boot script by itself, below a root of its own: what stands before anything that may hang."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from chalicelib.core.tags import Role
from chalicelib.core.userdata import render

PATIENCE_SECONDS = 20


@pytest.mark.parametrize("role", [Role.RECEIVER, Role.RECOVERY])
def test_the_power_off_timer_is_armed_before_anything_that_may_hang(role: Role, tmp_path: Path) -> None:
    script = tmp_path / "user-data"
    script.write_text(
        render(role, "main/2026-11-23/1", 1, "archive", "us-east-1", "brief", "agent", 0, 30, role is Role.RECEIVER)
    )
    off = tmp_path / "off"
    os.mkfifo(off)
    a_program(tmp_path / "root/usr/local/sbin/poweroff", f"echo off >{off}")
    for name in ("python3", "apt-get"):
        a_program(tmp_path / "programs" / name, "exec sleep 1000")
    environment = {"PATH": f"{tmp_path}/programs:{os.environ['PATH']}", "EBBTIDE_ROOT": f"{tmp_path}/root"}

    with subprocess.Popen(["sh", str(script)], env=environment, start_new_session=True) as hangs:
        try:
            went_off = subprocess.run(["cat", str(off)], capture_output=True, timeout=PATIENCE_SECONDS).stdout
            is_hanging = hangs.poll() is None
        finally:
            os.killpg(hangs.pid, signal.SIGKILL)

    assert (went_off, is_hanging) == (b"off\n", True)


def a_program(path: Path, does: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
