"""The push: the host's tree, by rsync, into its place at the target; again when the connection breaks.

By the index it takes up to three passes: what must go is deleted, what changed is written anew, and large files are
changed in place. In full it is one, which looks at everything on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Callable

from ebbtide_agent.beside import Interfered
from ebbtide_agent.errors import PermanentError, Refused, TransientError
from ebbtide_agent.host.changes import Changes, as_list, find_mount_points, find_suspects, with_what_leads_to
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import attribute_filters, filters
from ebbtide_agent.host.index import ROOT
from ebbtide_agent.host.link import World, wait_or_give_up
from ebbtide_agent.host.look import look
from ebbtide_agent.host.named import EVERY_NAME, Named
from ebbtide_agent.host.outcome import (
    NEVER_CAME_ABOUT,
    NO_ADDRESS,
    OUT_OF_STEP,
    VANISHED,
    WORTH_ANOTHER_TRY,
    Counts,
    Outcome,
    as_out_of_step,
    as_refused,
    as_vanished,
    tell,
    together,
)
from ebbtide_agent.host.rsync import run_rsync
from ebbtide_agent.host.scratch import scratch
from ebbtide_agent.host.survey import Survey
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import FAILED, PARTIAL, REAL

# A far side that says nothing for so long is gone, whatever the connection believes.
SILENCE_SECONDS = 600
# It says nothing while it reads a large file to compare it; a connection that breaks then is noticed by ssh.
_READING_SECONDS = 6 * 3600

# What vanished meanwhile is not there the second time; what vanishes from that as well, not the third.
_MOST_TIMES_OUT_OF_STEP = 2

# Of a list: whatever is in its way goes, and a directory comes without what is in it.
_LISTED = ("--no-r", "--dirs", "--from0", "--files-from=-", "--force")
# A listed path that is not there is deleted over there.
DELETED = (*_LISTED, "--delete-missing-args")
# Size and time may be what they were. Written anew, a file leaves names behind that are its own no more.
_ANEW = (*_LISTED, "--ignore-times")
IN_PLACE = "--inplace"
# What is nowhere here goes over there, so whoever is told this has to look at everything.
_EXTRANEOUS = "--delete"
# Directory by directory rsync (3.5.0) waits for itself and never ends, whatever its time-out, when a file of several
# names is renamed meanwhile, or has one that is too long to be linked to. What is listed as a whole takes some 70 bytes
# of memory more for an entry over there.
ALL_AT_ONCE = "--no-inc-recursive"
# The root and nothing in it: named in a list, "." would bring along whatever is in it.
_ROOT_ALONE = ("--no-r", "--dirs", "--filter=- *")

Listener = Callable[[bytes], None]
# What rsync is told to reach the target at this attempt, the place itself last. Raises TransientError while nobody
# knows where that is.
Route = Callable[[int], "tuple[str, ...]"]


@dataclass(frozen=True)
class Pass:
    """One rsync: what it is told beyond what all are told, where it looks, and the list it reads.

    `from_nothing`: it looks into an empty directory, to have deleted what is listed. `heals`: it looks at everything
    over there, so that it does not matter what another one has left behind. `after_trouble`: it is for what another one
    may have left behind, and for nothing where all went well. `again`: the one that goes on where this one breaks, if
    it must not itself.
    """

    words: tuple[str, ...]
    source: Path
    listed: bytes = b""
    from_nothing: bool = False
    heals: bool = False
    after_trouble: bool = False
    again: Pass | None = None

    @property
    def is_in_full(self) -> bool:
        return _EXTRANEOUS in self.words


class CannotTell(PermanentError):
    """What is to be pushed after everything was compared could not be looked for."""


@dataclass(frozen=True)
class Watch:
    """What a push is run with: until when it may be tried, the world, its environment, and who sees its progress."""

    until: datetime
    world: World
    environment: Mapping[str, str]
    listener: Listener


def in_full(config: Config, in_content: bool = False) -> Pass:
    """The pass that makes the tree over there equal to ours, whatever it was.

    By size and time; `in_content` by what is in the files, which both sides read for it.
    """
    compared = ("--checksum", f"--timeout={_READING_SECONDS}") if in_content else ()
    words = (
        _EXTRANEOUS,
        "--delete-excluded",
        ALL_AT_ONCE,
        *(("--one-file-system",) if config.one_file_system else ()),
    )
    return Pass(
        (*compared, *words, *filters(config.include, config.hidden, config.whole_system)), config.root, heals=True
    )


def by_index(config: Config, changes: Changes, nothing: Path) -> Iterator[Pass]:
    """The passes that make a tree which was equal to ours equal again. `nothing` is an empty directory.

    There is always one that mends the root, so that a receiver sees a push.
    """
    if changes.gone:
        yield Pass((*DELETED, "--no-implied-dirs"), nothing, as_list(changes.gone), from_nothing=True)
    yield _listed(config, _ANEW, changes.changed)
    if changes.in_place:
        yield _listed(config, (*_ANEW, IN_PLACE), changes.in_place)


def passes_of(config: Config, taken: Survey, paths: HostPaths, into_empty: bool) -> Iterator[Pass]:
    """The passes that a survey asks for, into a tree which is the one of the last push."""
    if taken.changes is not None:
        paths.nothing.mkdir(exist_ok=True, mode=0o700)
        yield from by_index(config, taken.changes, paths.nothing)
    if taken.course.in_full:
        yield in_full(config)
        if taken.course.in_content:
            # Only now: what has the same content is the same to it, whatever the time, so it takes no link apart.
            yield in_full(config, in_content=True)
        if config.one_file_system and not (taken.course.by_index or into_empty):
            yield from with_mount_points_emptied(config, taken, paths)
        if taken.may_be_linked and not into_empty:
            yield from with_links_broken(config, taken, paths)
    if config.target.tree != REAL:
        yield from with_acls_mended(config, taken.regrouped)


def with_mount_points_emptied(config: Config, taken: Survey, paths: HostPaths) -> Iterator[Pass]:
    """The passes, if any are needed, after which nothing lies over there below what is mounted and does not travel.

    rsync (3.5.0) leaves alone what it finds there: the host's from before that was mounted, which nothing compares any
    more. By the index it is deleted. Raises CannotTell.
    """
    try:
        if points := find_mount_points(taken.read()):
            with scratch(paths) as nothing:
                yield from by_index(config, Changes(points, points, ()), nothing)
    except (PermanentError, OSError) as error:
        raise CannotTell(f"there may be files below what is mounted, and does not travel: {error}") from error


def with_links_broken(config: Config, taken: Survey, paths: HostPaths) -> Iterator[Pass]:
    """The passes, if any are needed, after which no two files of ours are one over there. Raises CannotTell."""
    try:
        with scratch(paths) as nothing:
            for suspects in find_suspects(taken.read):
                yield from by_index(config, suspects, nothing)
    except (PermanentError, OSError) as error:
        raise CannotTell(f"some files may have the owner and mode of others that look the same: {error}") from error


def with_acls_mended(config: Config, regrouped: Sequence[bytes] | None) -> Iterator[Pass]:
    """The pass, if one is needed, after which a store's ACLs are right where a mode has other group bits than before.

    An ACL is sent and stored without its owning group's entry where that is what the group bits are. rsync (3.5.0)
    reads a stored one with the group bits that it finds there, takes it for the new one if that has the same entry,
    and then sets the new group bits: so after a chmod, which is a change of the mask, the group is stored as having
    those. Compared once more it differs.
    """
    if regrouped is None:
        yield in_full(config)
        return
    if with_acls := look("a look at ACLs", lambda: _with_acls(config, regrouped)) if regrouped else ():
        yield _listed(config, _LISTED, with_acls)


def _listed(config: Config, words: tuple[str, ...], paths: Iterable[bytes]) -> Pass:
    below = [path for path in paths if path != ROOT]
    return Pass(words, config.root, as_list(with_what_leads_to(below))) if below else Pass(_ROOT_ALONE, config.root)


def _with_acls(config: Config, paths: Iterable[bytes]) -> list[bytes]:
    return [path for path in paths if _has_acl(config.top + b"/" + path)]


def _has_acl(where: bytes) -> bool:
    try:
        return bool(os.getxattr(where, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def rsync(config: Config, there: tuple[str, ...], what: Pass) -> tuple[str, ...]:
    """The command of a pass; `there` is what a route says."""
    words = [config.rsync, "-aHAXS", "--numeric-ids", f"--timeout={SILENCE_SECONDS}"]
    # Without it two times of the same second count as equal, and their nanoseconds are lost.
    words += ["--modify-window=-1"]
    words += ["--stats", "--no-human-readable", "--info=progress2"]
    words += EVERY_NAME if what.is_in_full else ()
    words += [f"--bwlimit={config.bandwidth}"] if config.bandwidth else []
    words += attribute_filters(os.geteuid() == 0, config.target.tree)
    *leading, place = there
    return (*words, *what.words, *leading, f"{str(what.source).rstrip('/')}/", place)


def push(config: Config, route: Route, passes: Iterator[Pass], watch: Watch) -> Outcome:
    """One pass after the other, as long as they get through, and what came of them together.

    A connection that breaks may leave a stray file behind, or it was the receiver that broke, and has forgotten what
    it was sent: then everything is compared once more.
    """
    outcomes: list[Outcome] = []
    is_broken, went_well = False, True
    for what in _as_far_as_known(passes, outcomes):
        if what.after_trouble and went_well:
            continue
        outcome, broke = _insist(config, route, what, watch)
        went_well = went_well and not broke and outcome.exit_code == 0
        outcomes.append(outcome)
        if outcome.status == FAILED or outcome.exit_code in WORTH_ANOTHER_TRY:
            return together(outcomes)
        is_broken = not what.heals and (is_broken or broke)
    if is_broken:
        watch.world.say("the connection broke on the way: everything is compared once more")
        outcomes.append(_insist(config, route, in_full(config), watch)[0])
    return together(outcomes)


def _as_far_as_known(passes: Iterator[Pass], outcomes: list[Outcome]) -> Iterator[Pass]:
    """The passes; where nobody can tell any more of them, that is the last outcome: what was pushed was pushed."""
    try:
        yield from passes
    except (CannotTell, Interfered) as error:
        outcomes.append(Outcome(PARTIAL, error.exit_code, Counts(), (str(error),)))


def _insist(config: Config, route: Route, what: Pass, watch: Watch) -> tuple[Outcome, bool]:
    """Push, again and again while the connection is what fails; how the last attempt went, and whether one broke.

    Each attempt goes on where the one before was cut off, so what they have sent adds up. Where the two sides got out
    of step nothing broke, and there is nothing to wait for.
    """
    attempt, sent, breaks, times_out_of_step = 0, 0, False, 0
    before: Outcome | None = None
    while True:
        outcome = _push_once(config, route, what, attempt, watch)
        what = what.again or what
        sent += outcome.counts.bytes_sent
        outcome = replace(outcome, counts=replace(outcome.counts, bytes_sent=sent))
        if before and breaks and outcome.exit_code == Refused.exit_code:
            # What an earlier attempt has moved was moved: the night ended in the middle of it.
            return replace(before, problems=(*before.problems, *outcome.problems)), breaks
        if outcome.exit_code == OUT_OF_STEP and times_out_of_step < _MOST_TIMES_OUT_OF_STEP:
            times_out_of_step += 1
            continue
        if outcome.exit_code not in WORTH_ANOTHER_TRY:
            return outcome, breaks
        before = outcome
        breaks = breaks or outcome.exit_code not in NEVER_CAME_ABOUT
        try:
            error = TransientError(f"push to {config.target}: {outcome.problems[-1]}")
            wait_or_give_up(attempt, watch.until, watch.world, error)
        except TransientError:
            return outcome, breaks
        attempt += 1


def _push_once(config: Config, route: Route, what: Pass, attempt: int, watch: Watch) -> Outcome:
    """One rsync; a target without an address is a connection that failed."""
    try:
        there = route(attempt)
    except TransientError as error:
        return Outcome(PARTIAL, NO_ADDRESS, Counts(), (str(error),))
    environment = {**watch.environment, "LC_ALL": "C"}
    argv = rsync(config, there, what)
    named = Named() if what.is_in_full else None
    listener = named.heard_by(watch.listener) if named else watch.listener
    ended = as_vanished(as_out_of_step(as_refused(run_rsync(argv, what.listed, environment, listener))))
    if what.from_nothing and ended.exit_code == VANISHED:
        # rsync misses the directories that lead to what it is to delete; they were never there.
        ended = replace(ended, exit_code=0)
    return replace(tell(ended, str(what.source)), named=named)
