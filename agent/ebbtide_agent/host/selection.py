"""Which entries travel, decided without rsync: by the same rules, refusing those whose meaning is not certain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

# Character classes, escapes and "***" have corners of their own; whoever needs them has the full push.
_BEYOND = re.compile(r"[\[\\]|\*\*\*|//|(^|/)\.{1,2}(/|$)")
_TOKENS = re.compile(r"\*\*|\*|\?|[^*?]+")


class Undecidable(Exception):
    """A rule, or a place, that only rsync itself can judge."""


class Selection:
    """Rules in rsync's order; the first that matches decides, and what none matches travels."""

    def __init__(self, rules: Iterable[str]) -> None:
        """Raises Undecidable naming the rule."""
        runs = [(sign, [rule[2:] for rule in run]) for sign, run in groupby(rules, key=_sign)]
        self._of_directories = [(sign == "+", _any_of(patterns)) for sign, patterns in runs]
        self._of_others = [
            (sign == "+", _any_of([pattern for pattern in patterns if not pattern.endswith("/")]))
            for sign, patterns in runs
        ]

    def takes(self, path: bytes, is_directory: bool) -> bool:
        """Whether an entry travels, if the directory it is in does."""
        for answer, pattern in self._of_directories if is_directory else self._of_others:
            if pattern.fullmatch(path):
                return answer
        return True


def _sign(rule: str) -> str:
    return rule[0]


def _any_of(patterns: Sequence[str]) -> re.Pattern[bytes]:
    matching = [b"(?:%s)" % _translated(pattern) for pattern in patterns]
    return re.compile(b"|".join(matching) or b"(?!)", re.DOTALL)


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
