"""The host's own disks, arrays and file systems: they may fail any night, this one too."""

from __future__ import annotations

from collections.abc import Iterator

from ebbtide_agent.host import health
from ebbtide_agent.host.checks.finding import Finding, Scene, ok, warning
from ebbtide_agent.report import WARNING


def are_well(scene: Scene) -> Iterator[Finding]:
    bad = [each for each in health.read_health(scene.disks) if each.state == WARNING]
    for each in bad:
        yield warning(f"{each.what}: {each.said}", "see to it while there is a backup")
    if not bad:
        yield ok("disks, arrays and file systems warn of nothing")
