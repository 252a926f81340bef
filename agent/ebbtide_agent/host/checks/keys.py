"""The host's private key, and the far side's host key that is pinned."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok
from ebbtide_agent.host.ssh_files import Problem, find_lack, find_obstacle, find_opening
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
    if lack := find_lack(known, target.name, target.port):
        yield fault(*lack)
    elif known.stat().st_mode & _OTHERS_WRITE:
        yield fault(f"KNOWN_HOSTS {known} can be written by others", f"chmod 644 {known}, and see who is in it")
    else:
        yield ok(f"KNOWN_HOSTS {known} has the host key of {target.name}")
