"""What uninstall takes off this host. Never a backup, and nothing that the operator or anybody else has made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import keys
from ebbtide_agent.host.starting import no_longer_starting
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.site import Site
from ebbtide_agent.steps import RemoveIfEmpty, Step, removals


def removal(site: Site, purge: bool) -> Iterator[Step]:
    """The schedule, and what the agent kept; with `purge` also what install wrote: configuration, key, pinned keys."""
    paths = site.paths
    yield from no_longer_starting(site)
    yield from removals(paths.kept)
    yield from _emptied(*paths.lent, paths.state)
    if purge:
        yield from removals(written(paths))
        yield from _emptied(paths.secrets)


def written(paths: HostPaths) -> tuple[Path, ...]:
    """What install wrote for good, below `etc`."""
    key = paths.secrets / "key"
    following = keys.next_of(key)
    pairs = (key, keys.public_of(key), following, keys.public_of(following))
    return (paths.config, *pairs, paths.secrets / "known_hosts")


def _emptied(*directories: Path) -> Iterator[Step]:
    return (RemoveIfEmpty(place) for place in directories if place.is_dir())
