"""What keeps the agent from scanning the tree by itself, as far as that can be told without a scan."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import Origin, rules
from ebbtide_agent.host.guards import decidable_of, is_decidable, is_reached, root_of
from ebbtide_agent.host.mounts import kind_at
from ebbtide_agent.host.scan import is_trusted
from ebbtide_agent.host.written import find_lines
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.printable import printable


def find_obstacles(config: Config, paths: HostPaths, mounts: Mapping[bytes, str]) -> Iterator[str]:
    """Each line that only rsync can decide, and each file system without change times to trust."""
    yield from dict.fromkeys(_lines(config, paths))
    for where, kind in _file_systems(config, mounts).items():
        if not is_trusted(kind):
            yield f"{printable(where)} is on {kind}, whose change times are not to be trusted"


def _lines(config: Config, paths: HostPaths) -> Iterator[str]:
    stand = {file: find_lines(file) for file in (paths.exclude, paths.include)}
    for rule in rules(config.include, config.hidden, config.whole_system):
        if not is_decidable(rule):
            file = paths.exclude if rule.origin is Origin.EXCLUDE else paths.include
            where = stand[file].get(rule.line, file)
            yield f"{where}: only rsync can decide {printable(os.fsencode(rule.line))}"


def _file_systems(config: Config, mounts: Mapping[bytes, str]) -> dict[bytes, str]:
    """The kinds that a scan meets, by where it meets them."""
    root, selection = root_of(config), decidable_of(config)
    top = root or b"/"
    met = {top: kind_at(top, mounts)}
    if not config.one_file_system:
        within = {point: kind for point, kind in mounts.items() if point.startswith(root + b"/")}
        met.update((point, kind) for point, kind in within.items() if is_reached(point[len(root) + 1 :], selection))
    return met
