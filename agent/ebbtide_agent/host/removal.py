"""What uninstall takes off this host. Never a backup, and nothing that the operator or anybody else has made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent import keys
from ebbtide_agent.errors import AgentError
from ebbtide_agent.host import config as configuration
from ebbtide_agent.host.starting import no_longer_starting
from ebbtide_agent.host.target import Receiver, Volume
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
        yield from _emptied(paths.secrets, *(() if site.is_the_systems else (paths.etc,)))


def staying(site: Site, purge: bool) -> Iterator[str]:
    """What is not removed, for nobody to look for it, or to believe it gone."""
    paths = site.paths
    if not purge:
        yield from (f"{path}; --purge removes it, too" for path in written(paths) if path.exists())
    yield from (
        f"{path}, which is the operator's" for path in (paths.include, paths.exclude, paths.scripts) if path.exists()
    )
    yield from (f"{path}, which is not the agent's" for path in _of_others(paths))
    yield f"the program, {site.program}"
    yield from _backups(paths)


def _of_others(paths: HostPaths) -> Iterator[Path]:
    """A directory that was lent is somebody's as soon as there is something in it."""
    if paths.state.is_dir():
        ours = {*paths.kept, *(path for path in paths.lent if path.is_dir() and not any(path.iterdir()))}
        yield from sorted(set(paths.state.iterdir()) - ours)


def _backups(paths: HostPaths) -> Iterator[str]:
    try:
        config = configuration.load(paths)
    except AgentError:
        return
    what = f"the backups of {config.host} at {config.target}"
    in_a_policy = isinstance(config.target, (Receiver, Volume))
    yield f"{what}, and its place in the policy, which is the operator's to end" if in_a_policy else what


def written(paths: HostPaths) -> tuple[Path, ...]:
    """What install wrote for good, below `etc`."""
    key = paths.secrets / "key"
    following = keys.next_of(key)
    pairs = (key, keys.public_of(key), following, keys.public_of(following))
    return (paths.config, *pairs, paths.secrets / "known_hosts")


def _emptied(*directories: Path) -> Iterator[Step]:
    return (RemoveIfEmpty(place) for place in directories if place.is_dir())
