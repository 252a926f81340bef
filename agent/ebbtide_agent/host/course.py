"""Which way tonight's push goes: by the index, in full, or by the index and then in full. Values in, values out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ebbtide_agent import VERSION
from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import attribute_filters, attributes_that_travel, rules
from ebbtide_agent.host.index import Header

# An index never sees what went wrong over there. Half a day less than a week, so that it stays the same night.
FULL_EVERY = timedelta(days=6, hours=12)


@dataclass(frozen=True)
class Course:
    """`by_index`: the index tells what the receiver has. `why` says what a push in full is for.

    With both the index goes first: it knows changes that rsync does not see, for instance of a file that kept its
    size and time. `in_content` makes the push in full see those, by reading every file on both sides.
    """

    by_index: bool
    in_full: bool
    why: str = ""
    in_content: bool = False


def choose(header: Header | None, settings: str, now: datetime) -> Course:
    """The course for a host that holds this index, if its target holds the tree which that describes."""
    if header is None:
        return without_index("no index of an earlier push is here")
    if header.agent != VERSION:
        return Course(True, True, f"the index is of agent {header.agent}")
    if header.settings != settings:
        return Course(True, True, "the configuration has changed")
    if header.unsure:
        return Course(True, True, "what changed during the last push was not looked after")
    if not timedelta(0) <= now - header.full < FULL_EVERY:
        return Course(True, True, "the last one is a week ago")
    return Course(True, False)


def without_index(why: str) -> Course:
    """The course where what was pushed earlier is not known any more."""
    return Course(False, True, why, in_content=True)


def with_tree(course: Course, described: int | None, generation: int | None) -> Course:
    """The same in view of the tree that is there: of this generation, while the index describes that one."""
    # Without a tree that a push has left whole there is nothing to compare contents with.
    course = replace(course, in_content=course.in_content and generation is not None)
    if not course.by_index or described == generation:
        return course
    if generation is None:
        return Course(False, True, "the receiver has no tree of a push that came to its end")
    return Course(False, True, "the receiver's tree is not the one that the index describes")


def settings_of(config: Config, as_root: bool) -> str:
    """A digest of all that decides which entries travel, and what of them arrives."""
    return _digest(config, attribute_filters(as_root, config.target.tree))


def choice_of(config: Config, as_root: bool) -> str:
    """A digest of what the operator has chosen to travel: a tree is as large as it was by the same choice.

    It outlives an agent that only has it arrive in another way: the night of an update is guarded as any other.
    """
    return _digest(config, attributes_that_travel(as_root, config.target.tree))


def _digest(config: Config, about_attributes: Iterable[str]) -> str:
    chosen = map(str, rules(config.include, config.exclude, config.whole_system))
    words = (str(config.root), str(config.one_file_system), *about_attributes, *chosen)
    return hashlib.sha256(b"\0".join(os.fsencode(word) for word in words)).hexdigest()
