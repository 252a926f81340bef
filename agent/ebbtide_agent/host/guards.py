"""The guards: a night that looks like the end of the host's data is suspect until somebody says that it is meant.

What was lost (a file system that is not mounted, half of the tree gone) is not pushed: nothing is deleted over there.
What was rewritten is pushed, because the snapshots keep what was before; but it is no restore point.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.files import write_whole
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import Rule, rules
from ebbtide_agent.host.mounts import ON_A_DISK, ON_THE_NETWORK
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.report import Report
from ebbtide_agent.shapes import decode, encode, field

# A few files may all change in a night; from here on it is a mass of them.
FEWEST_REWRITTEN = 1000
# Some name in a directory, to ask whether what is in it travels.
_SOMETHING = b"something"
_IF_MEANT = "; nothing was pushed. If it is meant: ebbtide-agent run --accept-shrink"


@dataclass(frozen=True)
class Baseline:
    """What the last complete night was of. `settings` are what the operator had chosen for it (`course.choice_of`).

    `mounts` are the file systems that travelled: their kinds by mount point.
    """

    settings: str
    entries: int
    files: int
    size: int
    mounts: Mapping[str, str]


@dataclass(frozen=True)
class Counted:
    """What a scan amounts to."""

    entries: int
    size: int


def find_baseline(path: Path) -> Baseline | None:
    """The last complete night's, or None when there is none that this program can read."""
    try:
        values = decode(str(path), path.read_bytes())
        counts = {name: field(str(path), values, name, int) for name in ("entries", "files", "size")}
        mounts = field(str(path), values, "mounts", dict)
        return Baseline(field(str(path), values, "settings", str), mounts=mounts, **counts)
    except (OSError, PermanentError):
        return None


def keep_baseline(path: Path, recorded: Report, settings: str, mounts: Mapping[str, str]) -> None:
    """Remember a night that was complete."""
    baseline = Baseline(settings, recorded.entries, recorded.files, recorded.bytes_total, mounts)
    write_whole(path, encode(asdict(baseline)))


def baseline_of(config: Config, settings: str, counted: Counted | None, mounts: Mapping[bytes, str]) -> Baseline:
    """What a scan of tonight found, for a later one to be compared with."""
    entries, size = (counted.entries, counted.size) if counted else (0, 0)
    return Baseline(settings, entries, 0, size, mounts_of(config, mounts))


def mounts_of(config: Config, mounts: Mapping[bytes, str]) -> dict[str, str]:
    """The file systems in the tree that travel, and that nobody but an operator unmounts."""
    root = _root_of(config)
    selection = _selection_of(config)
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
    lost = list(_unmounted(config, before, mounts))
    # With other settings the operator has chosen another tree.
    if config.shrink is not None and now is not None and before.settings == settings:
        lost += _shrunk("entries", before.entries, now.entries, config.shrink)
        lost += _shrunk("bytes", before.size, now.size, config.shrink)
    return tuple(f"{loss}{_IF_MEANT}" for loss in lost)


def find_rewriting(config: Config, before: Baseline, settings: str, rewritten: int) -> str | None:
    """What it is called when most files are gone or changed at once, whatever has come in their place."""
    if config.rewrite is None or before.settings != settings or rewritten < FEWEST_REWRITTEN:
        return None
    if rewritten * 100 <= before.files * config.rewrite:
        return None
    return (
        f"of {before.files} files of the last complete night {rewritten} are gone or rewritten, more than REWRITE="
        f"{config.rewrite} %. The nights before are kept. If it is meant: ebbtide-agent run --accept-rewrite"
    )


def _unmounted(config: Config, before: Baseline, mounts: Mapping[bytes, str]) -> Iterator[str]:
    root = _root_of(config)
    selection = _selection_of(config)
    for point, kind in before.mounts.items():
        where = os.fsencode(point)
        if where in mounts or not _travels(where[len(root) + 1 :], config, selection):
            continue
        # A mount point that is gone as well was taken away by somebody.
        if os.path.isdir(where):  # noqa: PTH112 - a path of bytes
            yield f"{point} is not mounted; at the last complete night it was ({kind})"


def _shrunk(what: str, before: int, now: int, percent: int) -> Iterator[str]:
    if now * 100 < before * (100 - percent):
        yield f"of {before} {what} of the last complete night {now} are left, a loss of more than SHRINK={percent} %"


def _root_of(config: Config) -> bytes:
    return os.fsencode(os.path.realpath(config.root)).rstrip(b"/")


def _travels(path: bytes, config: Config, selection: Selection) -> bool:
    """Whether what is in a directory, given as seen from the root, travels."""
    if config.one_file_system and path:
        return False
    names = path.split(b"/") if path else []
    leading = [b"/".join(names[: depth + 1]) for depth in range(len(names))]
    inside = b"/".join((*names, _SOMETHING))
    return all(selection.takes(each, True) for each in leading) and selection.takes(inside, False)


def _selection_of(config: Config) -> Selection:
    """By all rules but those that only rsync can decide."""
    every = rules(config.include, config.exclude, config.whole_system)
    return Selection([rule for rule in every if _is_decidable(rule)])


def _is_decidable(rule: Rule) -> bool:
    try:
        Selection([rule])
    except Undecidable:
        return False
    return True
