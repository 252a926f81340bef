"""The host's private key, and the far side's host key that is pinned."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok
from ebbtide_agent.host.ssh_files import Problem, find_obstacle, find_opening
from ebbtide_agent.host.target import BY_SSH

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_ours_alone(scene: Scene) -> Iterator[Finding]:
    """A key that others may read is refused by ssh; one with a passphrase waits for somebody who is asleep."""
    if not isinstance(scene.config.target, BY_SSH):
        return
    key = scene.config.key
    problem = _find_risk(key) or find_obstacle(key)
    yield fault(*problem) if problem else ok(f"KEY {key} is a private key, and ours alone")


def _find_risk(key: Path) -> Problem | None:
    """What ssh puts up with, and nobody else should."""
    if not key.is_file():
        return None
    found = key.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"KEY {key} belongs to the user {found.st_uid}", f"chown {os.geteuid()} {key}"
    return find_opening(key, found)


def is_pinned(scene: Scene) -> Iterator[Finding]:
    """Without the far side's host key ssh sends nothing."""
    target, known = scene.config.target, scene.config.known_hosts
    if not isinstance(target, BY_SSH):
        return
    to_do = 'ebbtide-agent install --host-key "ssh-ed25519 AAAA…", as whoever runs the far side tells it'
    try:
        mode = known.stat().st_mode
    except OSError as error:
        yield fault(f"KNOWN_HOSTS {known}: {error.strerror}", to_do)
        return
    if mode & _OTHERS_WRITE:
        yield fault(f"KNOWN_HOSTS {known} can be written by others", f"chmod 644 {known}, and see who is in it")
    elif not pinned_keys(known, target.name):
        yield fault(f"KNOWN_HOSTS {known} has no key of {target.name}", to_do)
    else:
        yield ok(f"KNOWN_HOSTS {known} has the host key of {target.name}")


def pinned_keys(known_hosts: Path, name: str) -> frozenset[tuple[str, str]]:
    """Each as (type, key)."""
    ended = procs.run(("ssh-keygen", "-F", name, "-f", str(known_hosts)))
    return keys_in(ended.out)


def keys_in(lines: bytes) -> frozenset[tuple[str, str]]:
    """The keys in lines of known_hosts. Those that are revoked, or sign others, are none."""
    words = [line.split() for line in lines.decode("utf-8", "replace").splitlines()]
    return frozenset((each[1], each[2]) for each in words if len(each) >= 3 and each[0][:1] not in ("#", "@"))
