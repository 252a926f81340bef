"""What an operator writes, line by line: KEY=value, and patterns. Each with where it stands; nothing is executed."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Of the largest list of patterns that a program may have made.
MOST_BYTES = 16 << 20
# /dev/null, which people put in the place of a list: every other device might keep us reading.
_NOTHING = os.makedev(1, 3)
_LINE = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")
_COMMENT = re.compile(r"(^|\s+)#")
_AT = re.compile(r"(?P<file>.*?)(?::(?P<line>[0-9]+))?: ")


@dataclass(frozen=True)
class Value:
    """What stands behind a key, and where."""

    text: str
    where: str


def read_values(
    path: Path, required: Sequence[str], defaults: Mapping[str, str], faults: list[str]
) -> dict[str, Value]:
    """Each key's value, those that are not written by default. What is wrong with the lines is added to the faults."""
    values: dict[str, Value] = {}
    for number, line in _lines(path, faults, must_exist=True):
        where = f"{path}:{number}"
        match = _LINE.fullmatch(line.strip())
        if not match:
            faults.append(f"{where}: {line.strip()!r:.80} is not KEY=value")
            continue
        key = match["key"]
        if key not in required and key not in defaults:
            faults.append(f"{where}: {key} is not a key; expected one of {', '.join((*required, *defaults))}")
        elif key in values:
            faults.append(f"{where}: {key} was given already at {values[key].where}")
        else:
            values[key] = Value(_unquoted(match["value"].strip(), where, key, faults), where)
    for key in required:
        if key not in values and path.is_file():
            faults.append(f"{path}: {key} is missing")
    for key, default in defaults.items():
        values.setdefault(key, Value(default, f"{path}: {key}"))
    return values


def _unquoted(text: str, where: str, key: str, faults: list[str]) -> str:
    """A value may stand in quotes, as in a shell; nothing in it is ever expanded.

    A comment behind it a shell would pass over, and a path may end so.
    """
    is_open = text[:1] in ("'", '"')
    if is_open and len(text) > 1 and text[-1] == text[0]:
        return text[1:-1]
    if comment := _COMMENT.search(text):
        to_do = "give that a line of its own, or put a value with # in it into quotes"
        faults.append(f"{where}: {key} has a comment behind it; {to_do}")
        return _unquoted(text[: comment.start()], where, key, faults)
    if is_open:
        faults.append(f"{where}: {key} opens a quote and does not close it")
    return text


def read_patterns(path: Path, faults: list[str]) -> dict[str, str]:
    """The patterns by where they stand."""
    if _is_nothing(path):
        return {}
    patterns = {}
    for number, line in _lines(path, faults, must_exist=False):
        if line.startswith(("+ ", "- ")):
            faults.append(f"{path}:{number}: {line!r:.80} starts with a sign; expected one bare rsync pattern a line")
        else:
            patterns[f"{path}:{number}"] = line
    return patterns


def find_line(path: Path, pattern: str) -> str | None:
    """Where a pattern stands: file and line of the first that decides; None if it does not come from that file."""
    return find_lines(path).get(pattern)


def find_lines(path: Path) -> dict[str, str]:
    """Where each pattern stands that comes from that file, as `find_line` says it."""
    return {line: where for where, line in reversed(read_patterns(path, []).items())}


def in_order(faults: Iterable[str]) -> tuple[str, ...]:
    """Faults that begin with where they stand, as people mend them."""
    return tuple(sorted(faults, key=_where_it_stands))


def _where_it_stands(fault: str) -> tuple[str, int]:
    """File after file, and line after line; what has no line comes after those of its file."""
    found = _AT.match(fault)
    return (found["file"], int(found["line"] or sys.maxsize)) if found else (fault, 0)


def _is_nothing(path: Path) -> bool:
    try:
        seen = path.stat()
    except OSError:
        return False
    return stat.S_ISCHR(seen.st_mode) and seen.st_rdev == _NOTHING


def _read(path: Path) -> bytes:
    """Raises ValueError for what would keep us reading for ever; OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file; expected lines of text in one, or a link to one")
    with path.open("rb") as file:
        body = file.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB; expected lines that somebody has written")
    return body


def _lines(path: Path, faults: list[str], must_exist: bool) -> list[tuple[int, str]]:
    """The lines that say something, numbered from 1."""
    try:
        # Some editors begin a file with a mark that says it is UTF-8.
        text = _read(path).decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        if must_exist:
            faults.append(f"{path} does not exist: ebbtide-agent install makes it, of HOST=, TARGET= and KEEP=")
        return []
    except OSError as error:
        faults.append(f"{path} cannot be read: {error.strerror}")
        return []
    except ValueError as expected:
        faults.append(f"{path}: {expected}")
        return []
    numbered = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1)]
    zeros = [number for number, line in numbered if "\0" in line]
    faults += [
        f"{path}:{number}: there are zero bytes, as a crash leaves them; write this line anew" for number in zeros
    ]
    said = ((number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith("#"))
    return [(number, line) for number, line in said if number not in zeros]
