"""What is to be backed up is there, and so is the room that a night needs on the host itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ebbtide_agent.host import guards
from ebbtide_agent.host.asked_for import missing_places
from ebbtide_agent.host.checks.finding import Finding, Scene, fault, ok, warning
from ebbtide_agent.host.mounts import read_mounts
from ebbtide_agent.host.obstacles import find_obstacles
from ebbtide_agent.host.scripts import find
from ebbtide_agent.printable import size

# For a first index, and the reports.
_LEAST_ROOM = 64 << 20
# Of what is free, before a dump is likely to be cut short.
_LITTLE_ROOM = 1 << 30


def are_there(scene: Scene) -> Iterator[Finding]:
    """A place that is not there would be deleted from the backup, so the night refuses to begin."""
    missing = list(missing_places(scene.config, scene.paths))
    correct = f"mend what keeps it out, or take it out of {scene.paths.include}"
    if not scene.config.root.is_dir():
        correct = f"or correct ROOT in {scene.paths.config}"
    for each in missing:
        yield fault(each.replace("; nothing was pushed", ""), f"mount or restore it, {correct}")
    if not missing:
        what = ", ".join(scene.config.include) or "everything"
        yield ok(f"{what} below {scene.config.root} is there")


def are_mounted(scene: Scene) -> Iterator[Finding]:
    """As far as the last complete night knew what belongs there."""
    before = guards.find_baseline(scene.paths.baseline)
    if before is None:
        return
    for each in guards.find_losses(scene.config, before, before.settings, None, read_mounts()):
        what, _, to_do = each.partition("; nothing was pushed. ")
        yield fault(what, f"mount it. {to_do}")


def can_be_scanned(scene: Scene) -> Iterator[Finding]:
    """Where they cannot, there is no index: every push is a full one, before which rsync walks the tree to count it."""
    obstacles = list(find_obstacles(scene.config, scene.paths, read_mounts()))
    for each in obstacles:
        yield warning(
            f"{each}: there can be no index, every push is a full one, and neither REWRITE nor CHECK sees anything",
            "if you can, write the line without [, \\, ***, //, /./ and /../; or exclude the mount point itself",
        )
    if not obstacles:
        yield ok("the agent can scan what is to be backed up")


def have_room(scene: Scene) -> Iterator[Finding]:
    yield _room_for_the_index(scene)
    if find(scene.paths.scripts):
        yield _room_for_dumps(scene.paths.dumps)


def _room_for_the_index(scene: Scene) -> Finding:
    """The next index is written beside the last one."""
    state = scene.paths.state
    place = _nearest(state)
    if not os.access(place, os.W_OK | os.X_OK):
        return fault(f"{state} cannot be written", "run as root, and see that its file system is not read-only")
    needed = max(_LEAST_ROOM, 2 * _bytes_of(scene.paths.index))
    free = free_bytes(place)
    if free < needed:
        return fault(f"{state} has {size(free)} free, and the index may need {size(needed)}", "make room there")
    return ok(f"{state} can be written, {size(free)} are free")


def _room_for_dumps(dumps: Path) -> Finding:
    """A dump is written beside the one of yesterday, and takes its place only when it is whole."""
    held = sum(_bytes_of(path) for path in dumps.rglob("*")) if dumps.is_dir() else 0
    free = free_bytes(_nearest(dumps))
    if free < held:
        what = f"{dumps} has {size(free)} free, and the dumps there are {size(held)}, to be written anew beside them"
        return fault(what, "make room there")
    if free < _LITTLE_ROOM:
        return warning(f"{dumps} has only {size(free)} free", "make room there before a dump is cut short")
    return ok(f"{dumps} has {size(free)} free for dumps of {size(held)}")


def _nearest(place: Path) -> Path:
    """The place itself, or what it would be made in."""
    return next(each for each in (place, *place.parents) if each.exists())


def free_bytes(place: Path) -> int:
    """What whoever we are may still write."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def _bytes_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
