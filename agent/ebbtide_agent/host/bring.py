"""Bringing files back by rsync: which, to where, with what of them; and never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ebbtide_agent import procs
from ebbtide_agent.errors import PermanentError, Refused
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import rules
from ebbtide_agent.host.outcome import SOME_IS_MISSING, VANISHED, Outcome, tell, why
from ebbtide_agent.host.past import WHOLE, Source
from ebbtide_agent.host.push import ALL_AT_ONCE, Listener
from ebbtide_agent.host.resume import ASIDE
from ebbtide_agent.printable import printable
from ebbtide_agent.report import PARTIAL
from ebbtide_agent.walk import leading_to

# Everything of a file that root may set; who is not root may set less, and must not own another's set-user-id program.
AS_ROOT = ("-aHAXS", "--numeric-ids", "--modify-window=-1")
AS_SOMEBODY = ("-rlptHAXS", "--specials", "--chmod=u-s,g-s", "--modify-window=-1")
_ONLY_THESE = ("--no-r", "--dirs", "--no-implied-dirs")
_AND_WHAT_LEADS_THERE = ("--recursive",)
WITH_ALL_BELOW = (*_AND_WHAT_LEADS_THERE, "--no-implied-dirs")
_ASIDE = f"--partial-dir={ASIDE}"
# What a disk has rotted has the size and time that it had. While a large file is read for this, rsync says nothing, and
# would take the far side for gone; ssh asks by itself whether it is still there.
_BY_CONTENT = ("--checksum", "--timeout=0")
# What rsync says of something that was no directory, where a directory is that it may not empty.
IN_THE_WAY = "could not make way for new "
TO_MAKE_WAY = (
    "--delete takes away a directory that is in the way with what is in it, unless some of that is not backed up; else"
    " take it away yourself, or restore --into DIR"
)

_NOT_EVEN_FOR_ROOT = "Operation not permitted (1)"
_TO_TAKE_FLAGS_OFF = (
    "what not even root may change may have a flag of chattr, or the directory that it is in: lsattr shows it, and"
    " chattr -i -a takes it off"
)


@dataclass(frozen=True)
class RestoreRequest:
    """Which paths of the tree are to be below which directory. `as_root`: with their owners.

    `protect` is what is never deleted, as rsync's arguments; None: nothing is deleted at all. `is_own`: nobody else has
    anything in that directory, so that what leads to a path may come with it, and what arrived of a file wait there.
    `by_content`: what is there is in order if its content is, and not by its size and time already.
    """

    paths: tuple[bytes, ...]
    into: Path
    as_root: bool
    protect: tuple[str, ...] | None = None
    is_own: bool = False
    by_content: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        delete = () if self.protect is None else ("--delete", "--one-file-system", *self.protect)
        contents = _BY_CONTENT if self.by_content else ()
        return (*(AS_ROOT if self.as_root else AS_SOMEBODY), *contents, *delete)

    @property
    def leading(self) -> list[bytes]:
        """The directories that lead to what is wanted, the topmost first."""
        return sorted({above for path in self.paths for above in leading_to(path)})

    def place_of(self, path: bytes) -> bytes:
        """Where a path of the tree is to be."""
        base = os.fsencode(self.into)
        return base if path == WHOLE else os.path.join(base, path)  # noqa: PTH118 - paths are bytes


def protection(config: Config) -> tuple[str, ...]:
    """What is not in the backup must not be deleted because it is not: rsync's filters for the receiving side."""
    chosen = rules(config.include, config.hidden, config.whole_system)
    return tuple(f"--filter={'R' if rule.takes else 'P'} {rule.pattern}" for rule in chosen)


def compared(request: RestoreRequest) -> RestoreRequest:
    """By content, where some of it is there already; in a directory of our own only we have put it there."""
    is_there = any(os.path.lexists(request.place_of(path)) for path in request.paths)
    return replace(request, by_content=is_there and not request.is_own)


def check_destination(request: RestoreRequest) -> None:
    """Raises Refused when what leads to a path over here is a link: nothing is written to where it leads."""
    for above in request.leading:
        where = request.place_of(above)
        try:
            mode = os.lstat(where).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no directory"
            raise Refused(
                f"{printable(where)} is {what}, and nothing is written through it; take it away, or --into DIR"
            )


def bring(source: Source, request: RestoreRequest, listener: Listener) -> Outcome:
    """Bring it back, with what leads there as far as that is missing."""
    if request.is_own:
        return _brought(source, request, (*_AND_WHAT_LEADS_THERE, _ASIDE), listener)
    missing = [above for above in request.leading if not os.path.lexists(request.place_of(above))]
    # First, for nobody to look in meanwhile; and again in the end, for their times.
    _only(source, request, missing)
    outcome = _brought(source, request, WITH_ALL_BELOW, listener)
    _only(source, request, missing)
    return outcome


def _brought(source: Source, request: RestoreRequest, how: Sequence[str], listener: Listener) -> Outcome:
    shown = ("--stats", "--no-human-readable", "--info=progress2")
    ended = source.run((*request.words, *how, ALL_AT_ONCE, *shown), request.paths, request.into, listener)
    outcome = tell(ended)
    if any(problem.startswith(IN_THE_WAY) for problem in outcome.problems):
        outcome = replace(outcome, problems=(*outcome.problems, TO_MAKE_WAY))
    if request.as_root and any(problem.endswith(_NOT_EVEN_FOR_ROOT) for problem in outcome.problems):
        outcome = replace(outcome, problems=(*outcome.problems, _TO_TAKE_FLAGS_OFF))
    # Elsewhere it may be everyday life that a file vanishes; of a restore point some is missing then.
    return replace(outcome, status=PARTIAL) if ended.exit_code == VANISHED else outcome


def _only(source: Source, request: RestoreRequest, directories: Sequence[bytes]) -> None:
    if directories:
        owners = AS_ROOT if request.as_root else AS_SOMEBODY
        _checked(source.run((*owners, *_ONLY_THESE), directories, request.into))


def _checked(ended: procs.Ended) -> None:
    if ended.exit_code not in (0, SOME_IS_MISSING):
        raise PermanentError(f"what leads there could not be made: {why(ended)}")


def within(root: Path, paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Absolute paths of this host as the tree has them. Raises ValueError for one that is not below the root."""
    base = os.path.normpath(os.fsencode(root))
    return tuple(dict.fromkeys(_within(base, path) for path in paths))


def _within(base: bytes, path: bytes) -> bytes:
    tidy = os.path.normpath(path)
    if not path.startswith(b"/") or b".." in path.split(b"/"):
        raise ValueError(f"{printable(path)} is not an absolute path without ..")
    relative = os.path.relpath(tidy, base)
    if relative == b".." or relative.startswith(b"../"):
        raise ValueError(f"{printable(path)} is not below ROOT {printable(base)}: it was never backed up")
    return relative
