"""Taking stock before a push: scan, write the next index aside, find what changed; and keep it once all is recorded."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Callable

from ebbtide_agent import VERSION
from ebbtide_agent.beside import Interfered
from ebbtide_agent.errors import PermanentError
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.host.changes import Changes, Turnover, count_turnover, distrusted, find_changes
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.contents import ContentCheck, Sample, Turn, check_contents, find_known, find_turn, keep_known
from ebbtide_agent.host.course import Course, choice_of, choose, settings_of, with_tree, without_index
from ebbtide_agent.host.filters import rules
from ebbtide_agent.host.guards import find_baseline, root_of
from ebbtide_agent.host.history import find_nights
from ebbtide_agent.host.index import Block, DamagedIndex, Entry, Header, Index, Writer, commit, find_index
from ebbtide_agent.host.look import look
from ebbtide_agent.host.mounts import read_identities, read_mounts
from ebbtide_agent.host.named import Missed, Named
from ebbtide_agent.host.named import find_missed as missed_of
from ebbtide_agent.host.rsync_walk import read_entries
from ebbtide_agent.host.scan import YOUNG_NS, Tree, scan_beside
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host.tally import Counted, Tally, groups_among
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report

Say = Callable[[str], None]

_TOO_MUCH = "too much has changed to list it"


@dataclass(frozen=True)
class Survey:
    """What a push starts from. No tally: there is no next index, only a full push, and if a guard has to know what the
    tree amounts to it is counted `by_rsync`. No changes: they are not known.

    `settings` are those that an index is of, `choice` those that a guard goes by. `at` is when the night's first scan
    began, `mounts` what was mounted then, `full` when everything will last have been compared once this push is
    through. `described` is the generation of the tree that the index describes, `links_agree` says that it has the hard
    links of this index. `rewritten` are the files of the last complete push that are gone or have another size or time,
    `regrouped` the paths whose group has other permissions than the tree over there has for it (None: nobody knows, or
    too many). `sample` is what the content check is to read, and `checked` what it found, if it was done.
    `aside` is where the scan is written, `seconds` how long the night's first one took, and `unsure` that what changed
    during the push was not looked after.
    `may_be_linked`: names may be one file over there that are several here, and a push in full would leave them so;
    `read` reads all that travels, to find them.
    """

    course: Course
    tally: Tally | None = None
    changes: Changes | None = None
    settings: str = ""
    choice: str = ""
    at: datetime | None = None
    mounts: Mapping[bytes, str] = field(default_factory=dict)
    full: datetime | None = None
    described: int | None = None
    links_agree: bool = False
    rewritten: int = 0
    regrouped: Sequence[bytes] | None = ()
    sample: Sample = field(default_factory=Sample)
    checked: ContentCheck | None = None
    by_rsync: Counted | None = None
    aside: Path = Path()
    seconds: float = 0.0
    unsure: bool = False
    may_be_linked: bool = False
    read: Callable[[], Iterable[Entry]] = tuple

    @property
    def counted(self) -> Counted | None:
        return self.tally.counted() if self.tally else self.by_rsync

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to push."""
        return self.changes == Changes((), (), ()) and not self.course.in_full

    def __str__(self) -> str:
        known = ""
        if self.changes is not None and self.tally is not None:
            gone, changed = len(self.changes.gone), len(self.changes.changed) + len(self.changes.in_place)
            known = f"of {self.tally.entries} entries {changed} to push, {gone} to delete first"
        how = "a full push that compares contents" if self.course.in_content else "a full push"
        full = f"{how}: {self.course.why}" if self.course.in_full else ""
        return "; then ".join(filter(None, (known, full)))


def scanned(config: Config, paths: HostPaths, now: datetime) -> Survey:
    """Scan the tree, and find what a push would have to do into the tree that the index describes."""
    return take(config, find_index(paths.index), paths.new_index, now, Sample(_find_turn(config, paths)))


def in_view_of(generation: int | None, survey: Survey, config: Config, paths: HostPaths, say: Say) -> Survey:
    """What the push has to do, now that the generation of the tree is known that is there; and say it.

    It is here that the contents are checked: what comes of that is only of use to a push by the index.
    """
    course = with_tree(survey.course, survey.described, generation)
    full = survey.at if course.in_full else survey.full
    changes, links_agree = (survey.changes, survey.links_agree) if course.by_index else (None, False)
    # What a push that broke has left is as the index says, or as it is here. Without a scan nothing is known any night.
    is_known = survey.tally is None or generation in (None, survey.described)
    regrouped = survey.regrouped if is_known else None
    if course.in_content:
        # Everything is compared twice then.
        regrouped = ()
    survey = replace(survey, course=course, full=full, changes=changes, links_agree=links_agree, regrouped=regrouped)
    survey = replace(survey, read=_reader(survey, config, paths))
    may_be_linked = course.in_full and not links_agree and not _has_our_links(generation, survey, paths)
    survey = _with_contents_checked(replace(survey, may_be_linked=may_be_linked), config, paths)
    if survey.checked is not None:
        say(str(survey.checked))
    say(str(survey))
    return survey


def is_overtaken(pushed: Survey, config: Config, in_full: bool) -> bool:
    """Whether what was there when it was scanned may be by now where the push did not come by.

    At a path of its lists there is another file then, and that of the scan may be where no list leads. A push in full
    goes by no list, and takes its time: what moves meanwhile to where it has been from where it is still to come is
    in no directory that it reads, and what takes another one's name gets its owner and mode. That only another scan
    can tell, so it always may be. Whether there was one, `in_full`, the push has to say.
    """
    if in_full:
        return pushed.tally is not None
    inodes = pushed.changes.inodes if pushed.changes else {}
    try:
        return bool(inodes) and look("a look at what was pushed", partial(_has_others, config.top, inodes))
    except Interfered:
        return True


def once_more(
    pushed: Survey, vanished: Collection[bytes], missed: Collection[bytes], config: Config, paths: HostPaths
) -> Survey:
    """Scan again after a push, and find what is to be pushed after it. What the push was of stays as it is written.

    The tree over there is as the last scan found it, but for what vanished: that may be there as it was before, or not
    at all, and here it may be back. What a push in full missed is not there, nor is what is below it. What was checked
    stays so, and what was too young to be sure of when the night's first scan began, for the next night, too.
    """
    written = _written_aside(pushed)
    if written is None or pushed.at is None:
        return pushed
    later = paths.new_index if pushed.aside == paths.later_index else paths.later_index
    mounts = read_mounts()
    try:
        before = distrusted(written.blocks(), frozenset((*vanished, *missed)))
        tally, changes, turnover = _compared(
            config, later, before, pushed.links_agree, pushed.at, Sample(), of_one_night=True
        )
    except (Undecidable, Interfered, DamagedIndex, OSError) as error:
        with contextlib.suppress(OSError):
            later.unlink(missing_ok=True)
        return without_scan(pushed, error)
    # What was to be seen by looking at everything was seen.
    course = Course(True, False) if changes is not None else Course(False, True, _TOO_MUCH)
    again = replace(
        pushed,
        aside=later,
        course=course,
        may_be_linked=course.in_full,
        tally=tally,
        changes=changes,
        mounts=mounts,
        full=pushed.at if course.in_full else pushed.full,
        links_agree=pushed.links_agree and changes is not None,
        regrouped=_together(pushed.regrouped if vanished else (), turnover.regrouped),
    )
    rewritten = _rewritten_by_now(pushed, turnover, find_index(paths.index), _written_aside(again))
    return replace(again, rewritten=rewritten, read=_reader(again, config, paths))


def find_missed(pushed: Survey, named: Named | None, config: Config) -> Missed:
    """What its scan has found and the push in full after it did not come by."""
    written = _written_aside(pushed)
    if named is None or written is None:
        return Missed()
    try:
        return look("a look at what was missed", lambda: missed_of(config.top, named.lacking(written.entries())))
    except DamagedIndex:
        # Nor can a later scan be compared with it then, and that ends in a push in full.
        return Missed()
    except Interfered as error:
        return Missed(unseen=str(error))


def without_scan(pushed: Survey, error: Exception) -> Survey:
    """What is known after a push when the scan that was to follow it has failed."""
    return replace(pushed, course=_in_full_because(error), tally=None, changes=None, mounts=read_mounts())


def take(config: Config, index: Index | None, aside: Path, now: datetime, sample: Sample) -> Survey:
    """Scan the tree, write the next index `aside`, find what a push has to do, and gather files for the sample."""
    began = time.monotonic()
    settings, mounts = settings_of(config, as_root=os.geteuid() == 0), read_mounts()
    course = choose(index.header if index else None, settings, now)
    try:
        survey = _scanned_despite_damage(config, aside, index, course, now, sample)
    except (Undecidable, Interfered, OSError) as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        survey = Survey(_in_full_because(error))
    if index:
        was = index.header
        survey = replace(survey, described=was.generation, full=was.full, links_agree=was.links_agree)
    choice = choice_of(config, as_root=os.geteuid() == 0)
    survey = replace(survey, aside=aside, seconds=time.monotonic() - began)
    return replace(survey, settings=settings, choice=choice, at=now, mounts=mounts, sample=sample)


def keep(survey: Survey, config: Config, paths: HostPaths, recorded: Report, say: Say) -> None:
    """Make the survey the index, if the receiver recorded that all of it arrived."""
    received = recorded.receiver
    if survey.tally is None or survey.full is None or received is None:
        return
    if not recorded.is_complete:
        paths.new_index.unlink(missing_ok=True)
        paths.later_index.unlink(missing_ok=True)
        return
    agree = received.links == digest_of(survey.tally.groups())
    entries, generation = survey.tally.entries, received.generation
    header = Header(VERSION, survey.settings, generation, survey.full, agree, entries, survey.unsure)
    try:
        commit(survey.aside, paths.index, header)
        paths.new_index.unlink(missing_ok=True)
        paths.later_index.unlink(missing_ok=True)
        if survey.checked is not None and not survey.checked.unread:
            keep_known(paths.contents, survey.checked.turn, survey.checked.known)
    except OSError as error:
        say(f"the index was not kept, the next push will be a full one: {error}")


def _find_turn(config: Config, paths: HostPaths) -> Turn | None:
    """None as long as there is nothing to compare with, and where nothing is to be checked."""
    before = find_baseline(paths.baseline)
    if before is None or config.check_days is None:
        return None
    return find_turn(paths.contents, config.check_days, before.files, before.size)


def _with_contents_checked(survey: Survey, config: Config, paths: HostPaths) -> Survey:
    """With what the content check found among what is to be pushed. A full push alone would not push it."""
    sample = survey.sample
    if sample.turn is None or survey.tally is None or survey.changes is None:
        return survey
    known = find_known(paths.contents, sample.turn)
    read = partial(check_contents, config.top, sample.turn, sample.files, known)
    try:
        checked = look("the content check", read)
    except Interfered as error:
        checked = ContentCheck(sample.turn, (), known, 0, unread=str(error))
    checked = replace(checked, too_large=sample.too_large)
    changed = Changes((), checked.names_of_changed(survey.tally.names), ())
    return replace(survey, checked=checked, changes=survey.changes.and_also(changed))


def _reader(survey: Survey, config: Config, paths: HostPaths) -> Callable[[], Iterable[Entry]]:
    """What reads all that travels: what the scan has written aside, or where there is none, rsync."""
    written = _written_aside(survey)
    return partial(_entries_of, written) if written else partial(read_entries, config, paths)


def _written_aside(survey: Survey) -> Index | None:
    """What its scan has written, which is of no generation yet; None where there is no scan."""
    if survey.tally is None or survey.at is None:
        return None
    header = Header(VERSION, survey.settings, 0, survey.at, survey.links_agree, survey.tally.entries)
    return Index(survey.aside, header)


def _entries_of(index: Index) -> Iterator[Entry]:
    """Raises PermanentError."""
    try:
        yield from index.entries()
    except DamagedIndex as error:
        raise PermanentError(f"what was scanned cannot be read again: {error}") from error


def _has_our_links(generation: int | None, survey: Survey, paths: HostPaths) -> bool:
    """Whether the tree of this generation, as it was recorded, has the hard links that are here, and no others.

    Those that cannot be read may be others.
    """
    links = _recorded_links(generation, paths)
    if not links:
        return False
    try:
        groups = survey.tally.groups() if survey.tally else groups_among(survey.read())
    except (PermanentError, OSError):
        return False
    return groups is not None and links == digest_of(groups)


def _recorded_links(generation: int | None, paths: HostPaths) -> str:
    """The digest of the hard links that the target found in its tree of this generation; empty if nobody knows."""
    try:
        recorded = [night.receiver for night in find_nights(paths) if night.receiver]
    except OSError:
        return ""
    return next((each.links for each in recorded if each.generation == generation), "")


def _scanned_despite_damage(
    config: Config, aside: Path, index: Index | None, course: Course, now: datetime, sample: Sample
) -> Survey:
    try:
        return _scanned(config, aside, index, course, now, sample)
    except DamagedIndex as error:
        return _scanned(config, aside, None, without_index(f"the index is damaged: {error}"), now, sample)


def _scanned(config: Config, aside: Path, old: Index | None, course: Course, now: datetime, sample: Sample) -> Survey:
    if old is None:
        tally = _new_tally(config)
        with _scanning(config, aside, tally, now, sample) as blocks:
            for _ in blocks:
                pass
        return Survey(course, tally)
    tally, changes, turnover = _compared(config, aside, old.blocks(), old.header.links_agree, now, sample)
    if changes is None:
        course = Course(False, True, _TOO_MUCH)
    return Survey(course, tally, changes, rewritten=turnover.files, regrouped=turnover.regrouped)


def _compared(
    config: Config,
    aside: Path,
    before: Iterator[Block],
    links_agree: bool,
    now: datetime,
    sample: Sample,
    of_one_night: bool = False,
) -> tuple[Tally, Changes | None, Turnover]:
    """What is there now, what changed since, and what of it is counted or listed however much that is."""
    tally, turnover = _new_tally(config), Turnover()
    with _scanning(config, aside, tally, now, sample) as blocks:
        changes = find_changes(before, blocks, tally.names, links_agree, turnover, of_one_night)
    return tally, changes, turnover


def _rewritten_by_now(pushed: Survey, since: Turnover, last: Index | None, now: Index | None) -> int:
    """The files of the last complete push that are gone or rewritten at a later scan of the night, each counted once.

    Where that push is not known any more, those of the night's own scans.
    """
    if last and now and since.files:
        with contextlib.suppress(DamagedIndex):
            return count_turnover(last.blocks(), now.blocks()).files
    return max(pushed.rewritten, since.files)


def _together(earlier: Sequence[bytes] | None, later: Sequence[bytes] | None) -> Sequence[bytes] | None:
    return None if earlier is None or later is None else (*earlier, *later)


def _new_tally(config: Config) -> Tally:
    return Tally(root_of(config), dict.fromkeys(read_mounts(), 0))


@contextlib.contextmanager
def _scanning(config: Config, aside: Path, tally: Tally, now: datetime, sample: Sample) -> Iterator[Iterator[Block]]:
    """The blocks of a scan, which are counted, written `aside` and shown to the sample while they go by."""
    selection = Selection(rules(config.include, config.hidden, config.whole_system))
    young_ns = int(now.timestamp()) * 10**9 - YOUNG_NS
    tree = Tree(config.top, selection, config.one_file_system, young_ns)
    before = _identities()
    with scan_beside(tree) as met:
        yield sample.watch(tally.watch(_written(met, Writer(aside))))
    after = _identities()
    tally.identities = {point: each for point, each in after.items() if before.get(point) == each}


def _identities() -> Mapping[bytes, str]:
    return look("a look at what is mounted", lambda: read_identities(read_mounts()))


def _has_others(root: bytes, inodes: Mapping[bytes, int]) -> bool:
    return any(_inode_at(root + b"/" + path) not in (None, inode) for path, inode in inodes.items())


def _inode_at(where: bytes) -> int | None:
    try:
        return os.lstat(where).st_ino
    except OSError:
        return None


def _in_full_because(error: Exception) -> Course:
    return Course(False, True, f"there can be no index: {error}")


def _written(blocks: Iterator[Block], writer: Writer) -> Iterator[Block]:
    for block in blocks:
        writer.add(block)
        yield block
    writer.close()
