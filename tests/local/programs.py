"""Programs that tests give to their machines instead of this machine's own."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@cache
def a_place() -> tempfile.TemporaryDirectory[str]:
    """For programs: everybody may read it, and it is there until the last test has ended."""
    place = tempfile.TemporaryDirectory(prefix="ebbtide-programs-")
    Path(place.name).chmod(0o755)
    return place


@cache
def a_quick_sshd() -> Path:
    """This machine's, with an older key exchange: the one that OpenSSH prefers keeps a processor busy for 0.1 s."""
    quick = Path(a_place().name) / "sshd"
    quick.write_text(f'#!/bin/sh\nexec {SSHD} -o KexAlgorithms=curve25519-sha256 "$@"\n')
    quick.chmod(0o755)
    return quick
