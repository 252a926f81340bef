"""What a push would do if it began now: from the index and a scan, without a word to the receiver. Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ebbtide_agent.host import guards, survey
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.contents import Sample
from ebbtide_agent.host.course import Course
from ebbtide_agent.host.index import ROOT, find_index
from ebbtide_agent.host.mounts import read_mounts
from ebbtide_agent.host.outcome import Counts
from ebbtide_agent.host.rsync_walk import count
from ebbtide_agent.host.scratch import scratch
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.paths import HostPaths


@dataclass(frozen=True)
class PushPreview:
    """What would be pushed, at most so many bytes, and what would be deleted over there; the tops of what goes.

    `whole` is what the tree amounts to. Paths are not known without an index: then everything is compared. `lost` is
    what a guard would hold the push back for, `rewritten` what it would let through and tell.
    """

    course: Course
    whole: Counts
    push: tuple[bytes, ...] | None
    push_bytes: int
    delete: tuple[bytes, ...] | None
    lost: tuple[str, ...] = ()
    rewritten: str | None = None


def preview_push(config: Config, paths: HostPaths, now: datetime) -> PushPreview:
    """The receiver's tree is taken to be the one that the index describes. Raises PermanentError without an rsync."""
    index = find_index(paths.index)
    with scratch(paths) as place:
        taken = survey.take(config, index, place / "index", now, Sample())
    counted = taken.counted or count(config)
    whole = Counts(counted.files, counted.entries, counted.size)
    found = _of_changes(config, taken, whole)
    before = guards.find_baseline(paths.baseline)
    if before is None:
        return found
    lost = guards.find_losses(config, before, taken.choice, counted, read_mounts())
    return replace(found, lost=lost, rewritten=guards.find_rewriting(config, before, taken.choice, taken.rewritten))


def _of_changes(config: Config, taken: Survey, whole: Counts) -> PushPreview:
    if taken.changes is None:
        return PushPreview(taken.course, whole, None, whole.bytes_total, None)
    pushed = tuple(path for path in (*taken.changes.changed, *taken.changes.in_place) if path != ROOT)
    known = frozenset(pushed)
    deleted = tuple(path for path in taken.changes.gone if path not in known)
    return PushPreview(taken.course, whole, pushed, _bytes_of(config, pushed), deleted)


def _bytes_of(config: Config, paths: Iterable[bytes]) -> int:
    return sum(_size(config.top + b"/" + path) for path in paths)


def _size(where: bytes) -> int:
    try:
        found = os.lstat(where)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
