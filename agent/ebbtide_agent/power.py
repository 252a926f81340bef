"""Powering this machine off: nothing keeps running."""

from __future__ import annotations

from pathlib import Path

from ebbtide_agent import procs

_REAL_ROOT = Path("/")


def off(root: Path) -> None:
    """Power the machine off. Below another root, only that root's own button is pressed, never the machine's."""
    if root == _REAL_ROOT:
        procs.check(["poweroff"])
        return
    button = root / "usr/local/sbin/poweroff"
    if button.exists():
        procs.check([str(button)])
