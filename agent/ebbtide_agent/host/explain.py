"""Whether a path is backed up, and by which rule: the scan's own rules, followed from the root down to the path."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Protocol

from ebbtide_agent.host.config import Config
from ebbtide_agent.host.filters import Origin, Rule, rules
from ebbtide_agent.host.index import ROOT
from ebbtide_agent.host.rsync_rules import RsyncRules
from ebbtide_agent.host.selection import Selection, Undecidable
from ebbtide_agent.host.written import find_line
from ebbtide_agent.paths import HostPaths
from ebbtide_agent.printable import printable
from ebbtide_agent.walk import LONGEST_PATH, way_to


@dataclass(frozen=True)
class Verdict:
    """Whether something is backed up, and the reason as half a sentence. None: it cannot be told."""

    is_backed_up: bool | None
    why: str


@dataclass(frozen=True)
class Answer:
    """What becomes of a path tonight; of one that is not there, what would. None: it cannot be seen."""

    path: bytes
    is_there: bool | None
    verdict: Verdict


class Decider(Protocol):
    """Knows the rule that decides on an entry, if the directory it is in travels."""

    def find_rule(self, path: bytes, is_directory: bool) -> Rule | None:
        """None if no rule speaks of it: then it travels."""


def decider_of(config: Config, paths: HostPaths) -> Decider:
    """The scan's own, where it has one; else rsync itself is asked."""
    chosen = rules(config.include, config.hidden, config.whole_system)
    try:
        return Selection(chosen)
    except Undecidable:
        return RsyncRules(config.rsync, chosen, paths)


class Explainer:
    """Answers by one host's configuration."""

    def __init__(self, config: Config, paths: HostPaths) -> None:
        self._config = config
        self._paths = paths
        self._decider = decider_of(config, paths)
        self._root = os.fsencode(config.root)
        # Whoever has the agent in places of his own has it run as himself.
        self._runs_as_root = os.geteuid() == 0 or paths.etc == HostPaths.etc

    def explain(self, path: bytes) -> Answer:
        """The answer for an absolute path. One that is not there is a file's, or with a slash at its end a directory's.

        Raises PermanentError when rsync has to be asked and does not tell.
        """
        place = _tidy(path)
        inside = self._inside(place)
        if inside is None:
            why = f"it is not below ROOT, which is {printable(self._root)}"
            return Answer(place, os.path.lexists(place), Verdict(False, why))
        if len(place) > LONGEST_PATH:
            return Answer(place, False, Verdict(False, f"rsync takes no path of more than {LONGEST_PATH} bytes"))
        try:
            return self._explain(inside, place, path)
        except PermissionError:
            closed = next((above for above in (ROOT, *way_to(inside)) if not self._may(os.X_OK, above)), inside)
            return Answer(place, None, Verdict(None, f"{self._shown(closed)} is closed to this user: ask as root"))

    def _explain(self, inside: bytes, place: bytes, path: bytes) -> Answer:
        is_there = self._is_there(inside)
        if is_there or path.endswith(b"/"):
            return Answer(place, is_there, self._follow(inside, as_directory=True))
        either = _either(self._follow(inside, as_directory=False), self._follow(inside, as_directory=True))
        return Answer(place, is_there, either)

    def _inside(self, place: bytes) -> bytes | None:
        """The path within the tree."""
        root = _tidy(self._root)
        if place == root:
            return ROOT
        above = root.rstrip(b"/") + b"/"
        return place[len(above) :] if place.startswith(above) else None

    def _where(self, inside: bytes) -> bytes:
        return self._config.top + b"/" + inside

    def _follow(self, inside: bytes, as_directory: bool) -> Verdict:
        """The verdict on a path; `as_directory` is what it is if it is not there."""
        rule = None
        for path in way_to(inside):
            is_last = path == inside
            found = self._look(path)
            is_directory = stat.S_ISDIR(found.st_mode) if found else as_directory or not is_last
            rule = self._decider.find_rule(path, is_directory)
            # A link on the way to a place is not what the rules of that way take.
            if rule and not rule.takes and (is_last or rule.origin is not Origin.REST or is_directory or not found):
                return Verdict(False, self._excluded(rule, None if is_last else self._shown(path)))
            end = None if found is None else self._unread(path, found) if is_last else self._dead_end(path, found)
            if end:
                return Verdict(False, end)
        return Verdict(True, self._included(rule))

    def _look(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(self._where(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _is_there(self, path: bytes) -> bool | None:
        try:
            return self._look(path) is not None
        except PermissionError:
            return None

    def _may(self, what: int, path: bytes) -> bool:
        return os.access(self._where(path), what, effective_ids=True)

    def _unread(self, path: bytes, found: os.stat_result) -> str | None:
        """Why this entry itself cannot be read."""
        if self._runs_as_root or not stat.S_ISREG(found.st_mode) or self._may(os.R_OK, path):
            return None
        return "this user, who runs the backup, may not read it"

    def _dead_end(self, path: bytes, found: os.stat_result) -> str | None:
        """Why nothing below this entry is looked at, though it is backed up itself."""
        if not self._runs_as_root and stat.S_ISDIR(found.st_mode) and not self._may(os.R_OK | os.X_OK, path):
            return f"{self._shown(path)} is closed to this user, who runs the backup"
        if stat.S_ISLNK(found.st_mode):
            target = printable(os.readlink(self._where(path)))  # noqa: PTH115 - paths are bytes
            return f"{self._shown(path)} is a symbolic link to {target}, and what is there has a path of its own"
        if not stat.S_ISDIR(found.st_mode):
            return f"{self._shown(path)} is no directory"
        if self._config.one_file_system and found.st_dev != os.lstat(self._where(b".")).st_dev:
            return f"{self._shown(path)} is another file system, and ONE_FILE_SYSTEM is yes"
        return None

    def _shown(self, inside: bytes) -> str:
        return printable(_tidy(self._where(inside)))

    def _excluded(self, rule: Rule, above: str | None) -> str:
        """`above` is the directory that the rule is about, if that is not the path itself."""
        it_is_in = f" {above}, which it is in" if above else " it"
        if rule.origin is Origin.REST:
            return f"no line of {self._paths.include} asks for{it_is_in}"
        line = printable(os.fsencode(rule.line))
        if rule.origin is Origin.BUILT_IN:
            return f"{line}, never backed up of a whole system, excludes{it_is_in}"
        where = find_line(self._paths.exclude, rule.line)
        if where is None:
            ours = "the backup itself or what the agent keeps for itself"
            whose = "what the kernel makes up there" if rule.line in self._config.made_up else ours
            return f"{line}, {whose}, excludes{it_is_in}"
        return f"{where}: {line} excludes{it_is_in}"

    def _included(self, rule: Rule | None) -> str:
        if rule is None:
            return "nothing excludes it"
        line = f"{find_line(self._paths.include, rule.line)}: {printable(os.fsencode(rule.line))}"
        return f"it leads to {line}" if rule.origin is Origin.WAY else f"{line} asks for it"


def _either(as_file: Verdict, as_directory: Verdict) -> Verdict:
    """The verdict on what may be made as a file or as a directory."""
    if as_file.is_backed_up == as_directory.is_backed_up:
        return as_file
    becomes = "would be" if as_directory.is_backed_up else "would not be"
    return Verdict(as_file.is_backed_up, f"{as_file.why}; a directory {becomes}: {as_directory.why}")


def _tidy(path: bytes) -> bytes:
    return os.path.normpath(b"/" + path.lstrip(b"/"))
