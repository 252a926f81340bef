"""What is booted, where it can be."""

import os
import platform
import shutil
from pathlib import Path

import pytest

from tests.debian import a_whole_machine
from tests.machine.virtual import QEMU


@pytest.fixture(scope="session")
def tree() -> Path:
    """A Debian with a kernel, made once."""
    if os.geteuid() != 0:
        pytest.skip("a Debian tree with its own owners needs root")
    if platform.machine() != "x86_64":
        pytest.skip(f"an emulated {platform.machine()} is not known here")
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed")
    return a_whole_machine()
