"""Which entries travel, decided without rsync: by the same rules, refusing those whose meaning is not certain."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Callable

from ebbtide_agent.host.filters import Rule

# Character classes, escapes and "***" have corners of their own; whoever needs them has the full push.
_BEYOND = re.compile(r"[\[\\]|\*\*\*|//|(^|/)\.{1,2}(/|$)")
_TOKENS = re.compile(r"\*\*|\*|\?|[^*?]+")
# In a regular expression what each branch costs grows with the groups before it: of fifteen thousand rules in one, an
# eighth of a second for every entry that none of them matches.
_RULES_IN_ONE = 64


_Match = Callable[[bytes], "re.Match[bytes] | None"]


class Undecidable(Exception):
    """A rule, or a place, that only rsync itself can judge."""


class Selection:
    """Rules in rsync's order; the first that matches decides, and what none matches travels."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Raises Undecidable naming the rule."""
        self._of_directories = _in_parts(rules)
        self._of_others = _in_parts([rule for rule in rules if not rule.pattern.endswith("/")])
        self._match_above = re.compile(b"|".join(map(_above, rules)) or b"(?!)", re.DOTALL).fullmatch

    def find_rule(self, path: bytes, is_directory: bool) -> Rule | None:
        """The rule that decides whether an entry travels, if the directory it is in does; None if none speaks of it."""
        for match, part in self._of_directories if is_directory else self._of_others:
            found = match(path)
            if found and found.lastindex:
                return part[found.lastindex - 1]
        return None

    def takes(self, path: bytes, is_directory: bool) -> bool:
        """Whether an entry travels, if the directory it is in does."""
        rule = self.find_rule(path, is_directory)
        return rule is None or rule.takes

    def speaks_of(self, directory: bytes) -> bool:
        """Whether any rule can match something in this directory. If none does, all of it travels."""
        return self._match_above(directory) is not None


def _above(rule: Rule) -> bytes:
    """The directories in which a rule can match, as a regular expression over their paths; the root's is empty."""
    pattern = rule.pattern.rstrip("/")
    above, slash, _ = pattern.rpartition("/")
    if "**" in pattern or not slash:
        return b".*"
    return b"(?:%s)" % (_translated(above) if above else b"")


def _in_parts(rules: Sequence[Rule]) -> list[tuple[_Match, Sequence[Rule]]]:
    """The rules in their order, some at a time, each time with what finds the first of them that matches a path.

    That is the match's last group.
    """
    parts = [rules[start : start + _RULES_IN_ONE] for start in range(0, len(rules), _RULES_IN_ONE)]
    return [(_any_of(part).fullmatch, part) for part in parts]


def _any_of(rules: Sequence[Rule]) -> re.Pattern[bytes]:
    """A regular expression with a group for each rule."""
    return re.compile(b"|".join(b"(%s)" % _translated(rule.pattern) for rule in rules), re.DOTALL)


def _translated(pattern: str) -> bytes:
    """rsync's pattern as a regular expression over the whole path, a directory's without its last slash."""
    text = pattern[:-1] if pattern.endswith("/") else pattern
    if not text.strip("/") or text.endswith("/") or _BEYOND.search(text):
        raise Undecidable(f"only rsync can decide the pattern {pattern!r}")
    if text.startswith("/"):
        return _body(text[1:])
    if text.startswith("**/"):
        return b"(?:.*/)?" + _body(text[3:])
    # Without a leading slash it may match at the end of any path, from the beginning of a name.
    return b"(?:.*/)?" + _body(text)


def _body(text: str) -> bytes:
    wild = {"**": b".*", "*": b"[^/]*", "?": b"[^/]"}
    return b"".join(wild.get(token) or re.escape(os.fsencode(token)) for token in _TOKENS.findall(text))
