"""What ssh encrypts with: AES in Galois/Counter mode where the processor knows AES by itself.

Unasked, OpenSSH takes ChaCha20, which costs such a processor twice as much for every byte.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ebbtide_agent import procs

CPUINFO = Path("/proc/cpuinfo")

# All that OpenSSH offers unasked, the quickest first: an sshd may have been left with any one of them.
IN_ORDER = (
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,chacha20-poly1305@openssh.com"
)
_KNOWS_AES = re.compile(rb"^(flags|Features)\s*:.*\baes\b", re.MULTILINE)


@cache
def options(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """What ssh is told; nothing where it is not known what the processor can do, or ssh would not take it."""
    told = f"Ciphers={IN_ORDER}"
    return (told,) if _knows_aes(cpuinfo) and _is_taken(told) else ()


def _knows_aes(cpuinfo: Path) -> bool:
    try:
        return bool(_KNOWS_AES.search(cpuinfo.read_bytes()))
    except OSError:
        return False


def _is_taken(told: str) -> bool:
    """One that was built, or is bound, to know fewer ciphers (FIPS 140) refuses all of a list with another in it."""
    return procs.run(("ssh", "-F", "none", "-G", "-o", told, "whoever")).exit_code == 0
