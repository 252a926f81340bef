"""What ssh needs of this host's own: a private key that it takes without a question, and the far side's host key."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ebbtide_agent import procs

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_SIGNER = re.compile(rb"^@cert-authority ", re.MULTILINE)
_FOUND_AT = re.compile(rb"^# Host .* found: line ([0-9]+)", re.MULTILINE)

# What is wrong, and what to do about it.
Problem = tuple[str, str]


def find_obstacle(key: Path) -> Problem | None:
    """Why ssh cannot use a private key, however often it is tried; None if nothing shows."""
    try:
        found = key.stat()
        if not stat.S_ISREG(found.st_mode):
            return f"KEY {key} is no file", "let KEY name a private key"
        text = key.read_bytes()
    except FileNotFoundError as error:
        return f"KEY {key}: {error.strerror}", "ebbtide-agent install makes it, and prints what to tell the far side"
    except OSError as error:
        return f"KEY {key}: {error.strerror}", "run as whoever may read it"
    # Of a key that is somebody else's ssh does not mind that.
    if found.st_uid == os.geteuid() and (is_open := find_opening(key, found)):
        return is_open
    ended = procs.run(("ssh-keygen", "-y", "-P", "", "-f", str(key)))
    if ended.exit_code == 0:
        return None
    of_windows = f"sed -i 's/\\r$//' {key}, since its lines end as on Windows"
    locked = f"ssh-keygen -p -N '' -f {key}, if it has a passphrase"
    what = f"KEY {key} is no private key that can be used unattended: {ended.why}"
    return what, of_windows if b"\r\n" in text else locked


def find_opening(key: Path, found: os.stat_result) -> Problem | None:
    if not found.st_mode & _OTHERS:
        return None
    return f"KEY {key} is open to others ({stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {key}"


def find_lack(known_hosts: Path, name: str, port: int) -> Problem | None:
    """Why ssh sends nothing to a far side, whoever answers; None if its host key, or who signs it, is pinned."""
    to_do = 'ebbtide-agent install --host-key "ssh-ed25519 AAAA…", as whoever runs the far side tells it'
    try:
        known_hosts.stat()
    except OSError as error:
        return f"KNOWN_HOSTS {known_hosts}: {error.strerror}", to_do
    if pinned_keys(known_hosts, name) or _SIGNER.search(_lines_of(known_hosts, name)):
        return None
    lacks, with_port = f"KNOWN_HOSTS {known_hosts} has no key of {name}", f"[{name}]:{port}"
    if line := _FOUND_AT.search(_lines_of(known_hosts, with_port)):
        what = f"{lacks}, but one of {with_port} in line {int(line[1])}"
        return what, f"write {name} there instead, without the port"
    return lacks, to_do


def pinned_keys(known_hosts: Path, name: str) -> frozenset[tuple[str, str]]:
    """Each as (type, key)."""
    return keys_in(_lines_of(known_hosts, name))


def keys_in(lines: bytes) -> frozenset[tuple[str, str]]:
    """The keys in lines of known_hosts. Those that are revoked, or sign others, are none."""
    words = [line.split() for line in lines.decode("utf-8", "replace").splitlines()]
    return frozenset((each[1], each[2]) for each in words if len(each) >= 3 and each[0][:1] not in ("#", "@"))


def _lines_of(known_hosts: Path, name: str) -> bytes:
    """Those of a name, which may be hashed; before each, as a comment, its number."""
    return procs.run(("ssh-keygen", "-F", name, "-f", str(known_hosts))).out
