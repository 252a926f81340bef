"""Asking rsync itself which rule decides: a dry run of one path that leads through empty directories."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ebbtide_agent.errors import PermanentError
from ebbtide_agent.host.filters import Rule
from ebbtide_agent.host.outcome import SOME_IS_MISSING, VANISHED, why
from ebbtide_agent.host.rsync import run_rsync
from ebbtide_agent.host.scratch import scratch
from ebbtide_agent.paths import NOWHERE, HostPaths

# What rsync would not print as it is, even if it is asked for bytes above 127 as they are.
_ESCAPED = re.compile(rb"[\x00-\x08\x0a-\x1f]|\\(?=#[0-9]{3})")

_SHOWN = b"[sender] showing "


class RsyncRules:
    """Rules whose meaning only rsync knows; `find_rule` answers as a Selection's does."""

    def __init__(self, program: str, rules: Sequence[Rule], paths: HostPaths) -> None:
        self._program = program
        self._rules = rules
        self._paths = paths

    def find_rule(self, path: bytes, is_directory: bool) -> Rule | None:
        """The rule that decides whether an entry travels, if the directory it is in does; None if none speaks of it.

        Raises PermanentError when rsync does not tell.
        """
        said = self._ask(path, is_directory)
        kind = b"directory" if is_directory else b"file"
        for takes, does in ((True, b"showing"), (False, b"hiding")):
            begin = b"[sender] %s %s %s because of pattern " % (does, kind, _as_printed(path))
            pattern = next((line[len(begin) :] for line in said if line.startswith(begin)), None)
            if pattern is not None:
                return self._rule(takes, pattern)
        return None

    def _rule(self, takes: bool, printed: bytes) -> Rule:
        for rule in self._rules:
            if rule.takes == takes and _as_printed(os.fsencode(rule.pattern)) == printed:
                return rule
        raise PermanentError(f"rsync decides by {printed!r}, which is none of the rules it was given")

    def _ask(self, path: bytes, is_directory: bool) -> list[bytes]:
        with scratch(self._paths) as tree:
            made = os.fsencode(tree) + b"/" + path
            os.makedirs(made if is_directory else os.path.dirname(made), exist_ok=True)  # noqa: PTH103,PTH120 - paths are bytes
            if not is_directory:
                os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            filters = [f"--filter={rule}" for rule in self._rules]
            words = (self._program, "-n", "-r", "--debug=FILTER", "--8-bit-output", *filters)
            ended = run_rsync((*words, f"{tree}/", f"{NOWHERE}/"))
        if ended.exit_code != 0:
            raise PermanentError(f"rsync cannot say what becomes of {path!r}: {why(ended)}")
        return ended.out.splitlines()


def finds(program: str, root: Path, rules: Sequence[Rule], one_file_system: bool) -> bool:
    """Whether rsync, with these rules, finds anything below the root that the first one which takes something takes.

    Raises PermanentError when rsync does not tell.
    """
    taking = next(rule for rule in rules if rule.takes)
    found = _Lines(b" because of pattern " + _as_printed(os.fsencode(taking.pattern)))
    words = [program, "-n", "-a", "--debug=FILTER", "--8-bit-output", *(["-x"] if one_file_system else [])]
    words += [f"--filter={rule}" for rule in rules]
    argv = (*words, f"{str(root).rstrip('/')}/", f"{NOWHERE}/")
    ended = run_rsync(argv, listener=found.feed)
    if ended.exit_code not in (0, SOME_IS_MISSING, VANISHED):
        raise PermanentError(f"rsync cannot say whether {taking.line} is there: {why(ended)}")
    return found.any


class _Lines:
    """Takes rsync's output as it comes, in any pieces; `any` line says that something is shown and ends like this."""

    def __init__(self, end: bytes) -> None:
        self.any = False
        self._end = end
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.any = self.any or any(line.startswith(_SHOWN) and line.endswith(self._end) for line in lines)


def _as_printed(raw: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: b"\\#%03o" % found[0][0], raw)
