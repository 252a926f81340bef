"""A mount that does not answer: of FUSE, by a program that takes every question and leaves it at that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# So the kernel ends nobody who waits for an answer, whatever they are told. Only to its first question, which version
# it is to speak, one is given (fuse(4): fuse_in_header, fuse_out_header, fuse_init_out of protocol 7.12).
_DEAF = """
import os, struct, sys
fuse = int(sys.argv[1])
first = os.read(fuse, 1 << 18)
about = struct.pack("<IIIIHHI", 7, 12, 0, 0, 0, 0, 1 << 12)
os.write(fuse, struct.pack("<IiQ", 16 + len(about), 0, *struct.unpack_from("<Q", first, 8)) + about)
while os.read(fuse, 1 << 18):
    pass
"""


@contextmanager
def a_dead_mount(place: Path) -> Iterator[None]:
    """Over a directory, until the end of the block. Skips where none can be had."""
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"this machine has no FUSE: {error}")
    try:
        options = f"fd={fuse},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
        made = subprocess.run(
            ["mount", "-i", "-t", "fuse", "-o", options, "dead", str(place)],
            pass_fds=(fuse,), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            pytest.skip(f"this machine may not mount: {made.stderr.strip()}")
        deaf = subprocess.Popen([sys.executable, "-S", "-c", _DEAF, str(fuse)], pass_fds=(fuse,))
    finally:
        os.close(fuse)
    try:
        yield
    finally:
        # Whoever waits hears then that nobody is there.
        deaf.kill()
        deaf.wait()
        subprocess.run(["umount", "--lazy", str(place)], check=True)
