"""The guards: a night that looks like the end of the host's data is suspect until somebody says that it is meant.

What was lost (a file system that is not mounted, half of the tree gone) is not pushed: nothing is deleted over there.
What was rewritten is pushed, because the snapshots keep what was before; but it is no restore point.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from ebbtide_agent import shapes
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import Rule, rules
from ebbtide_agent.host.mounts import AUTOMOUNT, ON_A_DISK, ON_THE_NETWORK
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host.tally import Counted
from ebbtide_agent.walk import way_to

# A few files may all change in a night, or go; from here on it is a mass of them.
A_MASS = 1000
# In percent of the files: who means to leave out more than that is asked once.
MOST_CHOSEN_AWAY = 99
# Some name in a directory, to ask whether what is in it travels.
_SOMETHING = b"something"
_IF_MEANT = "; nothing was pushed. If it is meant: ebbtide-agent run --accept-shrink"


Known = TypeVar("Known")


@dataclass(frozen=True)
class Baseline:
    """What the last complete night was of. `settings` are what the operator had chosen for it (`course.choice_of`).

    `mounts` are the file systems that travelled: their kinds by mount point. `files_on` are the files on each, as far
    as somebody could count them, `identities` what tells each from any other, as far as it has that.
    """

    settings: str
    entries: int
    files: int
    size: int
    mounts: Mapping[str, str]
    files_on: Mapping[str, int] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)


def find_baseline(path: Path) -> Baseline | None:
    """The last complete night's, or None when there is none that this program can read."""
    try:
        # Of what was mounted earlier agents kept the kinds alone.
        values = {"files_on": {}, "identities": {}, **shapes.decode(str(path), path.read_bytes())}
        counts = {name: shapes.field(str(path), values, name, int) for name in ("entries", "files", "size")}
        by_mount = {name: shapes.field(str(path), values, name, dict) for name in ("mounts", "files_on", "identities")}
        return Baseline(shapes.field(str(path), values, "settings", str), **counts, **by_mount)
    except (OSError, PermanentError):
        return None


def keep_baseline(path: Path, baseline: Baseline) -> None:
    """Remember a night that was complete."""
    write_whole(path, shapes.encode(asdict(baseline)))


def baseline_of(config: Config, settings: str, counted: Counted | None, mounts: Mapping[bytes, str]) -> Baseline:
    """What was found tonight, for a later night, or a later look, to be compared with."""
    counted = counted or Counted(0, 0, 0)
    travelled = mounts_of(config, mounts)
    files_on, identities = _of(travelled, counted.files_on), _of(travelled, counted.identities)
    return Baseline(settings, counted.entries, counted.files, counted.size, travelled, files_on, identities)


def _of(mounts: Iterable[str], known: Mapping[bytes, Known]) -> dict[str, Known]:
    """What is known of each of these file systems, if it is."""
    return {point: known[where] for point in mounts if (where := os.fsencode(point)) in known}


def mounts_of(config: Config, mounts: Mapping[bytes, str]) -> dict[str, str]:
    """The file systems in the tree that travel, and that nobody but an operator unmounts."""
    root = root_of(config)
    selection = decidable_of(config)
    return {
        os.fsdecode(point): kind
        for point, kind in mounts.items()
        if kind in (*ON_A_DISK, *ON_THE_NETWORK) and (point + b"/").startswith(root + b"/")
        if _travels(point[len(root) + 1 :], config, selection)
    }


def find_losses(
    config: Config, before: Baseline, settings: str, now: Counted | None, mounts: Mapping[bytes, str]
) -> tuple[str, ...]:
    """What is there no more and should not simply go from the backup. `now` is None when nobody could count."""
    lost = list(_not_mounted_as_it_was(config, before, mounts))
    if config.shrink is not None and now is not None:
        fewer = _shrunk(before, now, config.shrink) if before.settings == settings else _chosen_away(before, now)
        lost += [f"{loss}{_unread(now)}" for loss in fewer]
    return tuple(f"{loss}{_IF_MEANT}" for loss in lost)


def is_mounted_as_it_was(config: Config, before: Baseline, now: Counted | None, mounts: Mapping[bytes, str]) -> bool:
    """Whether every file system that travelled is still there: what is gone then, somebody has deleted."""
    known = before.identities.items() if now else ()
    is_the_same = all(now and now.identities.get(os.fsencode(point)) == identity for point, identity in known)
    return is_the_same and not any(_not_mounted_as_it_was(config, before, mounts))


def find_rewriting(config: Config, before: Baseline, settings: str, rewritten: int) -> str | None:
    """What it is called when most files are gone or changed at once, whatever has come in their place."""
    if config.rewrite is None or before.settings != settings or rewritten < A_MASS:
        return None
    if rewritten * 100 <= before.files * config.rewrite:
        return None
    return (
        f"of {before.files} files of the last complete night {rewritten} are gone or rewritten, more than REWRITE="
        f"{config.rewrite} %. The nights before are kept. If it is meant: ebbtide-agent run --accept-rewrite"
    )


def _not_mounted_as_it_was(config: Config, before: Baseline, mounts: Mapping[bytes, str]) -> Iterator[str]:
    root = root_of(config)
    selection = decidable_of(config)
    for point, kind in before.mounts.items():
        where = os.fsencode(point)
        now = mounts.get(where)
        if now == AUTOMOUNT or _family(now) == _family(kind) or not _travels(where[len(root) + 1 :], config, selection):
            continue
        if now is not None:
            yield f"{point} was {kind} at the last complete night, and what is mounted there now is {now}"
        # A mount point that is gone as well was taken away by somebody.
        elif os.path.isdir(where):  # noqa: PTH112 - a path of bytes
            yield f"{point} is not mounted; at the last complete night it was ({kind})"


def _family(kind: str | None) -> str | None:
    """nfs and nfs4 are one: which of them it is, client and server agree on each time."""
    return kind.rstrip("0123456789") if kind else None


def _shrunk(before: Baseline, now: Counted, percent: int) -> Iterator[str]:
    for what, were, are in (("entries", before.entries, now.entries), ("bytes", before.size, now.size)):
        if _is_lost(were, are, percent):
            yield f"of {were} {what} of the last complete night {are} are left, a loss of more than SHRINK={percent} %"
    for point, were in before.files_on.items():
        is_empty = now.files_on.get(os.fsencode(point)) == 0
        if not were or not is_empty:
            continue
        doubt = _doubt_of(point, before, now)
        if were >= A_MASS or doubt:
            yield f"of {were} files on {point} at the last complete night none is left{doubt}"


def _doubt_of(point: str, before: Baseline, now: Counted) -> str:
    """Why it is not certainly the file system that was mounted there at the last complete night; else nothing."""
    earlier, identity = before.identities.get(point), now.identities.get(os.fsencode(point))
    if earlier is None or identity is None:
        kind = before.mounts.get(point, "it")
        return f", and of {kind} nobody can tell whether it is the file system that it was (findmnt {point})"
    return "" if earlier == identity else f", and it is not the file system that it was (findmnt {point})"


def _chosen_away(before: Baseline, now: Counted) -> Iterator[str]:
    """With other settings the operator has chosen another tree, but hardly none."""
    if _is_lost(before.files, now.files, MOST_CHOSEN_AWAY):
        yield (
            f"of {before.files} files of the last complete night {now.files} are left since what is backed up was"
            " chosen anew"
        )


def _unread(now: Counted) -> str:
    """What may be no loss at all, and is mended in another way."""
    if not now.unread:
        return ""
    first, *others = now.unread
    more = f", and {len(others)} more" if others else ""
    return f", and not all of it could be read: {first}{more}"


def _is_lost(before: int, now: int, percent: int) -> bool:
    return now * 100 < before * (100 - percent)


def root_of(config: Config) -> bytes:
    """Without links in it, and without a slash at its end."""
    return os.fsencode(os.path.realpath(config.root)).rstrip(b"/")


def _travels(path: bytes, config: Config, selection: Selection) -> bool:
    """Whether what is in a directory, given as seen from the root, travels."""
    if config.one_file_system and path:
        return False
    inside = b"/".join((path, _SOMETHING)) if path else _SOMETHING
    return is_reached(path, selection) and selection.takes(inside, False)


def is_reached(path: bytes, selection: Selection) -> bool:
    """Whether a directory itself, given as seen from the root, travels."""
    return all(selection.takes(each, True) for each in way_to(path))


def decidable_of(config: Config) -> Selection:
    """By all rules but those that only rsync can decide."""
    every = rules(config.include, config.exclude, config.whole_system)
    return Selection([rule for rule in every if is_decidable(rule)])


def is_decidable(rule: Rule) -> bool:
    """Whether rsync need not be asked what it means."""
    try:
        Selection([rule])
    except Undecidable:
        return False
    return True
