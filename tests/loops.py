"""A file as a block device."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def has_loops() -> bool:
    """Whether a file can be one here, with an ext4 on it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("losetup", "mkfs.ext4"))):
        return False
    return subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode == 0


@contextmanager
def a_loop_device(image: Path) -> Iterator[Path]:
    """The device, for a block. Skips where none can be had."""
    made = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"this machine may not make loop devices: {made.stderr.strip()}")
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)
