"""The operator's scripts: each can run, and nobody else can change what root will run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.host.checks.finding import FAULT, WARNING, Finding, Scene, fault, ok
from ebbtide_agent.host.scripts import find, find_obstacle, is_optional

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def can_run(scene: Scene) -> Iterator[Finding]:
    directory = scene.paths.scripts
    found = find(directory)
    if not found:
        yield ok(f"no scripts in {directory}")
        return
    problems = [problem for path in (directory, *found) for problem in _problems_with(path)]
    yield from problems or [ok(f"{len(found)} script{'s' if len(found) > 1 else ''} in {directory} can run")]


def _problems_with(path: Path) -> Iterator[Finding]:
    try:
        status = path.stat()
    except OSError as error:
        yield fault(f"{path}: {error.strerror}", f"rm {path}, or mend the link")
        return
    if status.st_uid not in (0, os.geteuid()):
        yield fault(f"{path} belongs to the user {status.st_uid}, and root would run it", f"chown root {path}")
    if status.st_mode & _OTHERS_WRITE:
        yield fault(f"{path} can be written by others, and root would run it", f"chmod go-w {path}")
    obstacle = None if stat.S_ISDIR(status.st_mode) else find_obstacle(path)
    if obstacle:
        what, to_do = obstacle
        yield Finding(WARNING if is_optional(path) else FAULT, f"{path} {what}", to_do)
