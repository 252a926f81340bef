"""Which paths an operator means, by find's rules: a name wherever it is, or a whole path; and how they type one."""

import os
import re
from dataclasses import dataclass
from fnmatch import translate

_BY_NAME = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True)
class Pattern:
    """What is looked for: a glob for the last part of a path, as with `find -name`; one that has a slash is for all of
    it from `/` on, as with `find -path`, and there `*` goes beyond slashes.
    """

    glob: str
    means: re.Pattern[str]

    @property
    def part(self) -> bytes:
        """The longest text that is in every path of a manifest that is meant. Those do not begin with a slash."""
        without_choices = re.sub(r"\[.*\]", "*", self.glob, flags=re.DOTALL)
        return os.fsencode(max((text.lstrip("/") for text in re.split(r"[*?\[\]]", without_choices)), key=len))

    def matches(self, path: bytes) -> bool:
        """Whether a path of a manifest (`etc/fstab`, `.` for the root) is meant."""
        if "/" not in self.glob:
            return self.means.match(os.fsdecode(path.rpartition(b"/")[2])) is not None
        return self.means.match("/" if path == b"." else "/" + os.fsdecode(path)) is not None


@dataclass(frozen=True)
class Below:
    """One path of a manifest, and all that is below it."""

    part: bytes

    def matches(self, path: bytes) -> bool:
        return path == self.part or path.startswith(self.part + b"/")


def as_typed(path: bytes) -> str:
    """As it is, if a terminal can show that and a keyboard type it; else as $'…', of which a shell makes it."""
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "$'" + "".join(map(_typed, text)) + "'"


def _typed(letter: str) -> str:
    if letter in "\\'":
        return "\\" + letter
    if letter.isprintable():
        return letter
    return _BY_NAME.get(letter) or "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def parse_pattern(text: str) -> Pattern:
    """Raises ValueError for one that no path can match."""
    glob = text.rstrip("/") or text[:1]
    if not glob:
        raise ValueError("it is empty, expected a name like nginx.conf or a path like '/etc/nginx/*'")
    if "/" in glob and not glob.startswith(("/", "*", "?", "[")):
        raise ValueError(f"{text!r} has a slash and is for a whole path: expected '/{glob}' or '*/{glob}'")
    return Pattern(glob, re.compile(translate(glob)))
