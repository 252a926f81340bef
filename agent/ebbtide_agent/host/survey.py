"""Taking stock before a push: scan, write the next index aside, find what changed; and keep it once all is recorded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Callable

from ebbtide_agent import VERSION
from ebbtide_agent.beside import Interfered
from ebbtide_agent.hardlinks import digest_of
from ebbtide_agent.host.changes import Changes, Turnover, find_changes, find_suspects
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.contents import ContentCheck, Sample, Turn, check_contents, find_known, find_turn, keep_known
from ebbtide_agent.host.course import Course, choice_of, choose, settings_of, with_tree, without_index
from ebbtide_agent.host.filters import rules
from ebbtide_agent.host.guards import find_baseline
from ebbtide_agent.host.index import Block, DamagedIndex, Header, Index, Writer, commit, find_index
from ebbtide_agent.host.mounts import read_mounts
from ebbtide_agent.host.scan import YOUNG_NS, Tree, scan_beside
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host.tally import Tally
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.report import Report

Say = Callable[[str], None]


@dataclass(frozen=True)
class Survey:
    """What a push starts from. No tally: there is no next index, only a full push. No changes: they are not known.

    `settings` are those that an index is of, `choice` those that a guard goes by. `at` is when the scan began,
    `mounts` what was mounted then, `full` when everything will last have been compared once this push is through.
    `described` is the generation of the tree that the index describes. `rewritten` are the files of the last
    complete push that are gone or have another size or time. `sample` is what the content check is to read, and
    `checked` what it found, if it was done.
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
    rewritten: int = 0
    sample: Sample = field(default_factory=Sample)
    checked: ContentCheck | None = None


def scanned(config: Config, paths: HostPaths, now: datetime) -> Survey:
    """Scan the tree, and find what a push would have to do into the tree that the index describes."""
    return take(config, find_index(paths.index), paths.new_index, now, Sample(_find_turn(config, paths)))


def in_view_of(generation: int | None, survey: Survey, config: Config, paths: HostPaths, say: Say) -> Survey:
    """What the push has to do, now that the generation of the tree is known that is there; and say it.

    It is here that the contents are checked: what comes of that is only of use to a push by the index.
    """
    course = with_tree(survey.course, survey.described, generation)
    full = survey.at if course.in_full else survey.full
    survey = replace(survey, course=course, full=full, changes=survey.changes if course.by_index else None)
    survey = _with_contents_checked(survey, config, paths)
    if survey.checked is not None:
        say(str(survey.checked))
    say(_sentence(survey))
    return survey


def take(config: Config, index: Index | None, aside: Path, now: datetime, sample: Sample) -> Survey:
    """Scan the tree, write the next index `aside`, find what a push has to do, and gather files for the sample."""
    settings, mounts = settings_of(config, as_root=os.geteuid() == 0), read_mounts()
    course = choose(index.header if index else None, settings, now)
    try:
        survey = _scanned_despite_damage(config, aside, index, course, now, sample)
    except (Undecidable, Interfered, OSError) as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        survey = Survey(Course(False, True, f"there can be no index: {error}"))
    if index:
        survey = replace(survey, described=index.header.generation, full=index.header.full)
    choice = choice_of(config, as_root=os.geteuid() == 0)
    return replace(survey, settings=settings, choice=choice, at=now, mounts=mounts, sample=sample)


def keep(survey: Survey, config: Config, paths: HostPaths, recorded: Report, say: Say) -> None:
    """Make the survey the index, if the receiver recorded that all of it arrived."""
    received = recorded.receiver
    if survey.tally is None or survey.full is None or received is None:
        return
    if not recorded.is_complete:
        paths.new_index.unlink(missing_ok=True)
        return
    agree = received.links == digest_of(survey.tally.groups())
    header = Header(VERSION, survey.settings, received.generation, survey.full, agree, survey.tally.entries)
    try:
        commit(paths.new_index, paths.index, header)
        if survey.checked is not None:
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
    checked = check_contents(os.fsencode(config.root), sample.turn, sample.files, known)
    checked = replace(checked, too_large=sample.too_large)
    changed = Changes((), checked.names_of_changed(survey.tally.names), ())
    return replace(survey, checked=checked, changes=survey.changes.and_also(changed))


def _scanned_despite_damage(
    config: Config, aside: Path, index: Index | None, course: Course, now: datetime, sample: Sample
) -> Survey:
    try:
        return _scanned(config, aside, index, course, now, sample)
    except DamagedIndex as error:
        return _scanned(config, aside, None, without_index(f"the index is damaged: {error}"), now, sample)


def _scanned(config: Config, aside: Path, old: Index | None, course: Course, now: datetime, sample: Sample) -> Survey:
    selection = Selection(rules(config.include, config.exclude, config.whole_system))
    young_ns = int(now.timestamp()) * 10**9 - YOUNG_NS
    tree = Tree(os.fsencode(config.root), selection, config.one_file_system, young_ns)
    tally = Tally()
    with scan_beside(tree) as met:
        blocks = sample.watch(tally.watch(_written(met, Writer(aside))))
        if old is None:
            for _ in blocks:
                pass
            return Survey(course, tally)
        turnover = Turnover()
        changes = find_changes(old.blocks(), blocks, tally.names, old.header.links_agree, turnover)
    if changes is not None and course.in_full and not old.header.links_agree:
        written = Index(aside, replace(old.header, entries=tally.entries))
        suspects = find_suspects(written.entries, tally.names)
        changes = changes.and_also(suspects) if suspects else changes
    if changes is None:
        return Survey(Course(False, True, "too much has changed to list it"), tally, rewritten=turnover.files)
    return Survey(course, tally, changes, rewritten=turnover.files)


def _written(blocks: Iterator[Block], writer: Writer) -> Iterator[Block]:
    for block in blocks:
        writer.add(block)
        yield block
    writer.close()


def _sentence(survey: Survey) -> str:
    known = ""
    if survey.changes is not None and survey.tally is not None:
        gone, changed = len(survey.changes.gone), len(survey.changes.changed) + len(survey.changes.in_place)
        known = f"of {survey.tally.entries} entries {changed} to push, {gone} to delete first"
    how = "a full push that compares contents" if survey.course.in_content else "a full push"
    full = f"{how}: {survey.course.why}" if survey.course.in_full else ""
    return "; then ".join(filter(None, (known, full)))
